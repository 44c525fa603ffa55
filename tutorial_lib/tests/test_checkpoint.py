"""Checkpoints: what is written, what is read again, and what is refused."""

import os

import numpy as np
import pytest

from tutorial_lib import MnistNetNaive
from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed import checkpoint
from tutorial_lib.networks.base import PARAMETERS

RUN = "MnistNetNaive, 3 units, 60000 images in batches of 256, learning rate 0.1"
LOSSES = [0.5, 0.25, 0.125, 0.0625]
NETWORK = MnistNetNaive(784, 3, 10)
PARAMETERS_BY_NAME = {name: getattr(NETWORK, name) for name in PARAMETERS}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.npz"
    checkpoint.save(path, PARAMETERS_BY_NAME, LOSSES, 2, RUN)
    return path


def test_what_is_saved_is_loaded(saved):
    arrays = checkpoint.load(saved, RUN, resume=True)
    assert arrays["losses"].tolist() == LOSSES
    assert int(arrays["epoch"]) == 2
    for name in PARAMETERS:
        np.testing.assert_array_equal(arrays[name], to_numpy(getattr(NETWORK, name)))


def test_another_run_is_refused_with_both_settings_and_a_new_one_overwrites_nothing(saved):
    other, new = RUN.replace("256", "128"), "run.* cannot become a new checkpoint, "
    message = f"run.npz is of another run: {RUN}; this is {other}"
    refused = [(saved, True, message), (saved, False, f"{new}it is there: --resume")]
    refused += [(saved / "run", resume, f"{new}no such folder") for resume in (True, False)]
    for path, resume, message in refused:
        with pytest.raises(ValueError, match=message):
            checkpoint.load(path, other, resume=resume)


def test_without_a_checkpoint_resume_begins_anew_and_says_so(tmp_path, capsys):
    path = tmp_path / "run.npz"
    for resume, said in {
        False: "",
        True: f"No checkpoint at {path} yet: from the first epoch\n",
    }.items():
        assert checkpoint.load(path, RUN, resume=resume) == {}
        assert capsys.readouterr().out == said


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
        checkpoint.save(saved, PARAMETERS_BY_NAME, LOSSES, 2, RUN)
    assert sizes == [len(before)], "whole when it is sent to the disk"
    assert saved.read_bytes() == before
