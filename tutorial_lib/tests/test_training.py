"""The published run, the format of what is printed, and the command line."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tutorial_lib import (
    BATCH_SIZE,
    MnistNet,
    MnistNetNaive,
    binary_cross_entropy,
    one_hot,
    results,
    test,
    train,
    training,
    xp,
)
from tutorial_lib.__main__ import main
from tutorial_lib.dataset import DatasetError
from tutorial_lib.networks import NETWORKS

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
    rng = np.random.default_rng(0)
    images = rng.standard_normal((25 * BATCH_SIZE, 784)).astype(np.float32)
    data = xp.asarray(images), xp.asarray(images[:, :10].argmax(axis=1))
    monkeypatch.setattr(training, "normalized", lambda train: data)
    monkeypatch.setattr(training, "get_loader", lambda *, train: iter([data]))
    return data


@pytest.mark.usefixtures("few_batches")
@pytest.mark.parametrize("network", [MnistNetNaive, MnistNet])
def test_output_format_and_epochs(network, capsys):
    with network(784, 30, 10) as model:
        before = test(model)
        losses = train(model, epochs=2, learning_rate=0.5)
        assert test(model) > before + 0.2
    assert len(losses) == 2 * 25
    assert losses[-1] < losses[0]
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\d\.\d{4}$", "#", line) for line in lines] == [
        "Batch 0  Loss: #",
        "Batch 20  Loss: #",
    ] * 2
    assert f"{losses[20]:.4f}" in lines[1]


@pytest.mark.parametrize("batch", [BATCH_SIZE, 100])
def test_one_step_is_gradient_descent(few_batches, batch):
    """The loss is that of the initial weights, the step -learning_rate * gradient of the mean."""
    images, labels = (array[:batch] for array in few_batches)
    model, copy = MnistNetNaive(784, 30, 10), MnistNetNaive(784, 30, 10)
    predictions, targets = copy.forward(images), one_hot(labels, 10)
    grad = (predictions - targets) / batch
    expected = [p - 0.25 * g for p, g in zip(copy.parameters, copy.backward(grad))]
    loss = xp.zeros(1, xp.float32)
    model.step(images, labels, loss, 0.25)
    assert float(loss[0]) == float(binary_cross_entropy(predictions, targets))
    for ours, theirs in zip(model.parameters, expected):
        assert abs(ours - theirs).max() < 1e-7


@pytest.mark.usefixtures("few_batches")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_trained_in_its_own_way(name, monkeypatch, capsys):
    calls = []
    network = NETWORKS[name]
    with network(784, 8, 10) as model:
        own = model.epoch
        monkeypatch.setattr(model, "epoch", lambda *a, **k: calls.append(k) or own(*a, **k))
        monkeypatch.setattr(model, "forward", None if "step" in vars(network) else model.forward)
        losses = train(model, epochs=2, learning_rate=0.3)
    assert calls == [{"learning_rate": 0.3}] * 2
    plain = MnistNetNaive(784, 8, 10)
    np.testing.assert_allclose(losses, train(plain, epochs=2, learning_rate=0.3), rtol=1e-3)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_train_refuses_a_learning_rate(rate):
    with pytest.raises(ValueError, match="finite and above 0"):
        train(MnistNetNaive(784, 30, 10), learning_rate=rate)


def test_train_refuses_no_epochs_and_what_is_no_number():
    with pytest.raises(ValueError, match="at least one epoch, got 0"):
        train(MnistNetNaive(784, 30, 10), epochs=0)
    with pytest.raises(TypeError, match="must be a number, not str"):
        train(MnistNetNaive(784, 30, 10), learning_rate="0.1")


@pytest.mark.parametrize("net", NETWORKS)
@pytest.mark.usefixtures("few_batches")
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
        ["train", "--learning-rate", "inf"],
        ["train", "--learning-rate", "nan"],
        ["train", "--epochs", "0"],
        ["train", "--net", "one-kernel", "--hidden", "513"],
        [],
    ],
)
def test_command_line_refuses(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "error" in capsys.readouterr().err


def test_a_damaged_data_set_is_an_error_of_the_command_line(monkeypatch, capsys):
    def damaged():
        raise DatasetError("t10k-labels is damaged: delete it")

    monkeypatch.setattr("tutorial_lib.doctor.describe_dataset", damaged)
    with pytest.raises(SystemExit) as exit_:
        main(["train"])
    assert exit_.value.code == 2
    assert "error: t10k-labels is damaged: delete it" in capsys.readouterr().err


def test_doctor_as_a_program():
    run = subprocess.run(
        [sys.executable, "-m", "tutorial_lib", "doctor"], capture_output=True, text=True, check=True
    )
    for word in ("Python", "numpy", "nvmath-python", "GPU", "Backend", "Weights", "Data", "MNIST"):
        assert word in run.stdout
