"""Checkpoints: what is written, what is read again, and what is refused."""

import os
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutorial_lib import MnistNetNaive
from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed import checkpoint
from tutorial_lib.distributed.rendezvous import Refused

RUN = {"net": "MnistNetNaive", "batch": 256, "images": 600}  # two steps an epoch
LOSSES = [0.5, 0.25, 0.125, 0.0625]


def network():
    return MnistNetNaive(784, 3, 10)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.save(path, network(), LOSSES, 2, RUN)
    return path


def refusal(path, run=RUN):
    """Why `path` is refused; the file is as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(Refused) as refused:
        checkpoint.load(path, network(), run)
    assert before is None or path.read_bytes() == before
    assert str(path) in str(refused.value), "the file is named"
    return str(refused.value)


def test_what_is_saved_is_loaded(saved):
    arrays = checkpoint.load(saved, network(), RUN)
    assert arrays["losses"].tolist() == LOSSES
    assert int(arrays["epoch"]) == 2
    for name in checkpoint.PARAMETERS:
        np.testing.assert_array_equal(arrays[name], to_numpy(getattr(network(), name)))


@pytest.mark.parametrize("fault", ["cut", "flipped", "empty", "text", "pickle", "other arrays"])
def test_a_damaged_checkpoint_is_refused(fault, saved):
    content = bytearray(saved.read_bytes())
    if fault == "cut":
        saved.write_bytes(content[: len(content) // 2])
    elif fault == "flipped":
        content[len(content) // 3] ^= 1
        saved.write_bytes(content)
    elif fault == "other arrays":
        np.savez(saved, weights=np.zeros(3))
    elif fault == "pickle":
        names = (*checkpoint.PARAMETERS, "losses", "epoch", *(f"run_{name}" for name in RUN))
        np.savez(saved, **dict.fromkeys(names, np.array({})))
    else:
        saved.write_bytes(b"" if fault == "empty" else b"not a checkpoint")
    assert "is damaged or no checkpoint" in refusal(saved)


def test_a_single_array_is_no_checkpoint(saved):
    with saved.open("wb") as file:
        np.save(file, np.zeros(3))
    assert "is damaged or no checkpoint" in refusal(saved)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_is_a_traceback(data, saved):
    content = bytearray(saved.read_bytes())
    begin = data.draw(st.integers(0, len(content) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=40))
    damaged = saved.with_name("damaged.npz")
    damaged.write_bytes(content[:begin] + noise + content[begin + len(noise) :])
    try:
        arrays = checkpoint.load(damaged, network(), RUN)
    except Refused:
        return
    intact = checkpoint.load(saved, network(), RUN)
    for name, array in intact.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights_hidden", np.zeros(1, np.float32)),
        ("weights_hidden", np.zeros(784, np.float32)),
        ("weights_hidden", np.zeros((784, 3), np.float32)),
        ("weights_hidden", np.zeros((3, 784), np.complex64)),
        ("weights_hidden", np.zeros((3, 784), np.float64)),
        ("weights_output", np.full((10, 3), np.nan, np.float32)),
        ("bias_hidden", np.full(3, np.inf, np.float32)),
        ("bias_output", np.array(["0"] * 10)),
        ("losses", np.array(["0.5"] * 4)),
        ("losses", np.array([0.5, 0.25, np.nan, 0.1])),
        ("losses", np.array(LOSSES)[:3]),
        ("losses", np.array([*LOSSES, 0.1])),
        ("losses", np.array(LOSSES)[:, None]),
        ("epoch", np.array(-1)),
        ("epoch", np.array(0)),
        ("epoch", np.array(2.0)),
        ("epoch", np.array([2])),
        ("epoch", np.array("2")),
        ("epoch", np.array(3)),
    ],
    ids=str,
)
def test_an_array_that_no_run_can_have_left_is_refused(name, value, saved):
    with np.load(saved) as file:
        arrays = dict(file)
    np.savez(saved, **arrays | {name: value})
    message = refusal(saved)
    assert "is damaged or no checkpoint" in message
    assert ("losses" if name == "epoch" and value.tolist() == 3 else name) in message


@pytest.mark.parametrize("value", [np.array([256]), np.array([256, 256]), np.array("256")])
def test_a_setting_of_another_kind_is_another_run(value, saved):
    with np.load(saved) as file:
        arrays = dict(file)
    np.savez(saved, **arrays | {"run_batch": value})
    assert "is of another run: batch was" in refusal(saved)


def test_each_setting_must_be_the_same(saved):
    for name in RUN:
        assert f"another run: {name} was {RUN[name]}, it is" in refusal(saved, RUN | {name: 7})


def test_a_first_epoch_is_the_least(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.save(path, network(), LOSSES[:2], 1, RUN)
    assert int(checkpoint.load(path, network(), RUN)["epoch"]) == 1


def test_a_checkpoint_that_nobody_may_read_is_not_called_damaged(saved, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(saved), "open", forbidden)  # the tests may run as root
    with pytest.raises(Refused, match=r"cannot be read \(Permission denied\)"):
        checkpoint.load(saved, network(), RUN)


def test_a_packed_checkpoint_is_one_too(saved):
    with np.load(saved) as file:
        arrays = dict(file)
    np.savez_compressed(saved, **arrays)
    assert zipfile.is_zipfile(saved)
    assert int(checkpoint.load(saved, network(), RUN)["epoch"]) == 2


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match="cannot be written: no space left"):
        checkpoint.save(saved, network(), [], 3, RUN)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_folder_that_is_gone_is_refused_and_not_a_second_error(tmp_path):
    with pytest.raises(Refused, match=r"cannot be written: .*No such file"):
        checkpoint.save(tmp_path / "gone" / "run.npz", network(), LOSSES, 2, RUN)


def test_the_content_is_whole_when_it_is_sent_to_the_disk(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    checkpoint.save(tmp_path / "run.npz", network(), LOSSES, 2, RUN)
    assert sizes == [(tmp_path / "run.npz").stat().st_size]


def test_looking_at_the_place_changes_nothing(saved):
    before = saved.read_bytes()
    checkpoint.check_place(saved)
    checkpoint.check_place(saved.with_name("new.npz"))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("kind", ["folder", "device"])
def test_a_place_that_is_no_file_is_refused(kind, tmp_path):
    path = tmp_path if kind == "folder" else type(tmp_path)(os.devnull)
    with pytest.raises(Refused, match="is no file but a folder or a device: name a file"):
        checkpoint.check_place(path)
