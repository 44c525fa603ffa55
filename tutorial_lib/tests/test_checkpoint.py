"""Checkpoints: what is written, what is read again, and what is refused."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutorial_lib import MnistNetNaive
from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed import checkpoint
from tutorial_lib.distributed.ranks import RunRefused

RUN = {"net": "MnistNetNaive", "batch": 256, "learning_rate": 0.1}
LOSSES = [0.5, 0.25, 0.125, 0.0625]


def network():
    return MnistNetNaive(784, 3, 10)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.save(path, network(), LOSSES, 2, RUN)
    return path


def test_what_is_saved_is_found(saved):
    arrays = checkpoint.find(saved, True, RUN)
    assert arrays["losses"].tolist() == LOSSES
    assert int(arrays["epoch"]) == 2
    for name in checkpoint.PARAMETERS:
        np.testing.assert_array_equal(arrays[name], to_numpy(getattr(network(), name)))


def check_damaged(path):
    before = path.read_bytes()
    with pytest.raises(RunRefused, match="is damaged or no checkpoint"):
        checkpoint.find(path, True, RUN)
    assert path.read_bytes() == before


def test_what_is_no_checkpoint_is_refused_and_never_unpickled(saved):
    names = (*checkpoint.PARAMETERS, "losses", "epoch", *RUN)
    for arrays in (dict.fromkeys(names, np.array({})), {"weights": np.zeros(3)}):
        np.savez(saved, **arrays)
        check_damaged(saved)
    for content in (b"", b"not a checkpoint"):
        saved.write_bytes(content)
        check_damaged(saved)
    with saved.open("wb") as file:
        np.save(file, np.zeros(3))
    check_damaged(saved)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_is_a_traceback_or_goes_into_the_weights(data, saved):
    content, damaged = saved.read_bytes(), saved.with_name("damaged.npz")
    begin = data.draw(st.integers(0, len(content) - 1))
    noise = data.draw(st.binary(max_size=40))
    end = data.draw(st.sampled_from([begin + len(noise), len(content)]))  # or cut
    damaged.write_bytes(content[:begin] + noise + content[end:])
    try:
        arrays = checkpoint.find(damaged, True, RUN)
    except RunRefused:
        return
    for name, array in checkpoint.find(saved, True, RUN).items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("name", RUN)
def test_each_setting_must_be_the_same(name, saved):
    with pytest.raises(RunRefused, match=f"another run: {name} was {RUN[name]}, it is now 7"):
        checkpoint.find(saved, True, RUN | {name: 7})


def test_a_checkpoint_that_is_not_there_starts_a_new_run_or_is_refused(tmp_path, saved):
    assert checkpoint.find(tmp_path / "new.npz", False, RUN) is None
    with pytest.raises(RunRefused, match=r"there is no checkpoint .*new.npz: leave out --resume"):
        checkpoint.find(tmp_path / "new.npz", True, RUN)
    with pytest.raises(RunRefused, match="is there already: --resume goes on from it, or delete"):
        checkpoint.find(saved, False, RUN)


@pytest.mark.parametrize("place", ["missing/run.npz", "", "run.npz/run.npz", os.devnull])
@pytest.mark.parametrize("resume", [False, True])
def test_a_place_that_cannot_be_written_is_found_before_training(place, resume, saved):
    path = saved.parent / place
    with pytest.raises(RunRefused, match="cannot be written: name a file") as refused:
        checkpoint.find(path, resume, RUN)
    assert str(path) in str(refused.value)
    assert [found.name for found in saved.parent.iterdir()] == [saved.name]


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(saved, monkeypatch):
    sizes, before = [], saved.read_bytes()

    def full(file):
        sizes.append(os.fstat(file).st_size)
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunRefused, match="cannot be written: no space left"):
        checkpoint.save(saved, network(), LOSSES, 2, RUN)
    assert sizes == [len(before)], "whole when it is sent to the disk"
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    with pytest.raises(RunRefused, match=r"cannot be written: .*No such file"):
        checkpoint.save(saved.parent / "gone" / "run.npz", network(), LOSSES, 2, RUN)
