"""The published run, the format of what is printed, and the command line."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tutorial_lib import MnistNet, MnistNetNaive, results, test, train, training
from tutorial_lib.__main__ import main

PUBLISHED = results.load("published_h200")


@pytest.mark.usefixtures("full_mnist")
@pytest.mark.parametrize("network", [MnistNetNaive, MnistNet])
def test_the_published_run(network, capsys):
    with network(784, 30, 10) as model:
        losses = train(model)
        accuracy = test(model)
    assert len(losses) == 234
    assert all(type(loss) is float for loss in losses)
    for batch, loss in PUBLISHED["losses"].items():
        assert losses[int(batch)] == pytest.approx(loss, abs=1e-6)
    assert round(accuracy * PUBLISHED["tested"]) == PUBLISHED["correct"] == 9131
    assert accuracy == PUBLISHED["accuracy"]
    expected = [f"Batch {b}  Loss: {loss:.4f}" for b, loss in PUBLISHED["losses"].items()]
    assert capsys.readouterr().out.splitlines() == expected


@pytest.fixture
def few_batches(monkeypatch):
    """A small data set that can be learned: the label is the brightest of ten pixels."""
    from tutorial_lib import xp

    rng = np.random.default_rng(0)
    images = rng.standard_normal((25, 32, 784)).astype(np.float32)
    batches = [(xp.asarray(x), xp.asarray(x[:, :10].argmax(axis=1))) for x in images]
    monkeypatch.setattr(training, "get_loader", lambda *, train: iter(batches))


@pytest.mark.usefixtures("few_batches")
@pytest.mark.parametrize("network", [MnistNetNaive, MnistNet])
def test_output_format_and_epochs(network, capsys):
    with network(784, 30, 10) as model:
        before = test(model)
        losses = train(model, epochs=8, learning_rate=0.5)
        assert test(model) > before + 0.2
    assert len(losses) == 8 * 25
    assert losses[-1] < losses[0]
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\d\.\d{4}$", "#", line) for line in lines] == [
        "Batch 0  Loss: #",
        "Batch 20  Loss: #",
    ] * 8
    assert f"{losses[20]:.4f}" in lines[1]


@pytest.mark.usefixtures("few_batches")
def test_one_step_is_gradient_descent(capsys):
    """The first loss is that of the initial weights; the step is -learning_rate * gradient."""
    from tutorial_lib import binary_cross_entropy, one_hot

    images, labels = next(training.get_loader(train=True))
    model, copy = MnistNetNaive(784, 30, 10), MnistNetNaive(784, 30, 10)
    grad = (copy.forward(images) - one_hot(labels, 10)) / len(labels)
    expected = [p - 0.25 * g for p, g in zip(copy.parameters, copy.backward(grad))]
    training.get_loader = lambda *, train: iter([(images, labels)])
    losses = train(model, learning_rate=0.25)
    assert losses == [float(binary_cross_entropy(copy.forward(images), one_hot(labels, 10)))]
    for ours, theirs in zip(model.parameters, expected):
        assert abs(ours - theirs).max() < 1e-7


@pytest.mark.parametrize(
    "arguments", [{"epochs": 0}, {"learning_rate": 0}, {"learning_rate": float("nan")}]
)
def test_train_refuses(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        train(MnistNetNaive(784, 30, 10), **arguments)


@pytest.mark.parametrize("net", ["fused", "naive"])
def test_command_line_train(net, capsys):
    main(["train", "--net", net, "--hidden", "8", "--epochs", "2", "--learning-rate", "0.2"])
    lines = capsys.readouterr().out.splitlines()
    assert "MNIST" in lines[0]
    assert re.fullmatch(r"Batch 0  Loss: \d\.\d{4}", lines[1])
    assert re.fullmatch(r"Accuracy: [01]\.\d{4}", lines[-2])
    assert re.fullmatch(r"Time: \d+\.\d\d s for 2 epochs", lines[-1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--hidden", "0"],
        ["train", "--net", "deep"],
        ["train", "--learning-rate", "-1"],
        [],
    ],
)
def test_command_line_refuses(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "error" in capsys.readouterr().err


def test_doctor_as_a_program():
    run = subprocess.run(
        [sys.executable, "-m", "tutorial_lib", "doctor"], capture_output=True, text=True, check=True
    )
    for word in ("Python", "numpy", "nvmath-python", "GPU", "Backend", "Weights", "Data", "MNIST"):
        assert word in run.stdout
