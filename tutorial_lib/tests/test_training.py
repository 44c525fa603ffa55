"""The published run by every network, what is printed, and the command line."""

import re

import numpy as np
import pytest

from tutorial_lib import BATCH_SIZE, MnistNetNaive, results, test, train, training, xp
from tutorial_lib.__main__ import main
from tutorial_lib.dataset import DatasetError
from tutorial_lib.networks import NETWORKS

PUBLISHED = results.load("published_h200")


@pytest.mark.usefixtures("full_mnist")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_run(name, capsys):
    exact = name in ("naive", "fused")  # the others may sum in another order, or round
    near, few = (5e-3, 10) if name == "half" else (1e-5, 2)
    with NETWORKS[name](784, 30, 10) as model:
        losses, correct = train(model), test(model) * PUBLISHED["tested"]
    lines = capsys.readouterr().out.splitlines()
    assert [type(loss) for loss in losses] == [float] * 234
    assert lines == [f"Batch {b}  Loss: {losses[b]:.4f}" for b in range(0, 234, 20)]
    for line, (batch, loss) in zip(lines, PUBLISHED["losses"].items(), strict=True):
        assert losses[int(batch)] == pytest.approx(loss, abs=1e-6 if exact else near)
        assert not exact or line == f"Batch {batch}  Loss: {loss:.4f}"
    assert PUBLISHED["correct"] == 9131
    assert abs(round(correct) - 9131) <= (0 if exact else few)


@pytest.fixture
def few_batches(monkeypatch):
    """A small data set that can be learned: the label is the brightest of ten pixels."""
    images = np.random.default_rng(0).standard_normal((25 * BATCH_SIZE, 784)).astype(np.float32)
    data = xp.asarray(images), xp.asarray(images[:, :10].argmax(axis=1))
    monkeypatch.setattr(training, "normalized", lambda train: data)
    monkeypatch.setattr(training, "get_loader", lambda *, train: iter([data]))


@pytest.mark.usefixtures("few_batches")
@pytest.mark.parametrize("name", NETWORKS)
def test_several_epochs_by_the_command_line_and_as_a_function(name, capsys):
    with NETWORKS[name](784, 8, 10) as model:
        before = test(model)
        losses = train(model, epochs=2, learning_rate=0.5)
        accuracy = test(model)
    assert accuracy > before + 0.2
    expected = train(MnistNetNaive(784, 8, 10), epochs=2, learning_rate=0.5)
    np.testing.assert_allclose(losses, expected, rtol=0.05 if name == "half" else 1e-3)
    lines = [f"Batch {b}  Loss: {losses[e + b]:.4f}" for e in (0, 25) for b in (0, 20)]
    assert capsys.readouterr().out.splitlines()[:4] == lines
    main(["train", "--net", name, "--hidden", "8", "--epochs", "2", "--learning-rate", "0.5"])
    first, *printed, last, time = capsys.readouterr().out.splitlines()
    assert "MNIST" in first
    for line, again in zip([*lines, f"Accuracy: {accuracy:.4f}"], [*printed, last], strict=True):
        assert line[:-6] == again[:-6]
        assert float(line[-6:]) == pytest.approx(float(again[-6:]), abs=2e-3)
    assert re.fullmatch(r"Time: \d+\.\d\d s for 2 epochs", time)


def test_train_refuses_what_is_no_number_above_0():
    model, finite = MnistNetNaive(784, 30, 10), "finite and above 0"
    for rate, error, message in ((-1, ValueError, finite), ("0.1", TypeError, "not str")):
        with pytest.raises(error, match=message):
            train(model, learning_rate=rate)
    with pytest.raises(ValueError, match="at least one epoch, got 0"):
        train(model, epochs=0)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train --hidden 0", "at least one unit"),
        ("train --net deep", "invalid choice"),
        ("train --learning-rate inf", "--learning-rate finite and above 0"),
        ("train --learning-rate nan", "--learning-rate finite and above 0"),
        ("train --epochs 0", "--epochs must be at least 1"),
        ("train --net one-kernel --hidden 8449", "--net one-kernel --hidden 8449: the kernel"),
        ("train", "t10k-labels is damaged: delete it"),
        ("", "required: command"),
    ],
)
def test_the_command_line_refuses(command, message, monkeypatch, capsys):
    def damaged():
        raise DatasetError("t10k-labels is damaged: delete it")

    monkeypatch.setattr("tutorial_lib.doctor.describe_dataset", damaged)
    with pytest.raises(SystemExit) as exit_:
        main(command.split())
    assert exit_.value.code == 2
    assert re.search(f"error: .*{message}", capsys.readouterr().err)
