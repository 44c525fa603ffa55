"""Checkpoints: what is written, what is read again, and what is refused."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    arrays = checkpoint.load(saved, RUN)
    assert arrays["losses"].tolist() == LOSSES
    assert int(arrays["epoch"]) == 2
    for name in checkpoint.PARAMETERS:
        np.testing.assert_array_equal(arrays[name], to_numpy(getattr(network(), name)))


def test_another_run_is_refused_with_both_settings(saved):
    other = RUN.replace("256", "128")
    with pytest.raises(ValueError, match=f"run.npz is of another run: {RUN}; this is {other}"):
        checkpoint.load(saved, other)


def test_nothing_is_unpickled(saved):
    np.savez(saved, settings=np.array({}))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        checkpoint.load(saved, RUN)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_goes_into_the_weights(data, saved):
    content, damaged = saved.read_bytes(), saved.with_name("damaged.npz")
    begin = data.draw(st.integers(0, len(content) - 1))
    noise = data.draw(st.binary(max_size=40))
    end = data.draw(st.sampled_from([begin + len(noise), len(content)]))  # or cut
    damaged.write_bytes(content[:begin] + noise + content[end:])
    try:
        arrays = checkpoint.load(damaged, RUN)
    except Exception:  # each layer of the format raises its own
        return
    for name, array in checkpoint.load(saved, RUN).items():
        np.testing.assert_array_equal(arrays.get(name, array), array)  # train misses one


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
