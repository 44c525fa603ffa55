"""Checkpoints: what is written, what is read again, and what is refused."""

import os

import numpy as np
import pytest

from tutorial_lib import MnistNetNaive
from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed import checkpoint

RUN = "MnistNetNaive, 3 units, 60000 images in batches of 256, learning rate 0.1"
LOSSES = [0.5, 0.25, 0.125, 0.0625]


def network():
    return MnistNetNaive(784, 3, 10)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.save(path, network(), LOSSES, 2, RUN)
    return path


def test_what_is_saved_is_loaded(saved):
    arrays = checkpoint.load(saved, RUN, resume=True)
    assert arrays["losses"].tolist() == LOSSES
    assert int(arrays["epoch"]) == 2
    for name in checkpoint.PARAMETERS:
        np.testing.assert_array_equal(arrays[name], to_numpy(getattr(network(), name)))


def test_another_run_is_refused_with_both_settings(saved):
    other = RUN.replace("256", "128")
    with pytest.raises(ValueError, match=f"run.npz is of another run: {RUN}; this is {other}"):
        checkpoint.load(saved, other, resume=True)


def test_a_new_run_overwrites_nothing_and_makes_no_folder(saved):
    for path, why in ((saved, "it is there: --resume"), (saved / "run", "no such folder")):
        with pytest.raises(ValueError, match=f"{path} cannot become a new checkpoint, {why}"):
            checkpoint.load(path, RUN, resume=False)


def test_nothing_is_unpickled(saved):
    np.savez(saved, settings=np.array({}))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        checkpoint.load(saved, RUN, resume=True)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(saved, monkeypatch):
    sizes, before = [], saved.read_bytes()

    def full(file):
        sizes.append(os.fstat(file).st_size)
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(saved, network(), LOSSES, 2, RUN)
    assert sizes == [len(before)], "whole when it is sent to the disk"
    assert saved.read_bytes() == before
