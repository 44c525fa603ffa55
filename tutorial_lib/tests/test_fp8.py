"""Numbers of 8 bits: how they round, how their scales follow, and that a network trains on them."""

import numpy as np
import pytest

from tutorial_lib import MnistNetNaive, xp
from tutorial_lib.backend import to_numpy
from tutorial_lib.dataset import normalized
from tutorial_lib.networks import Graph, Loop
from tutorial_lib.networks.e4m3 import HISTORY, DelayedScaling, quantize
from tutorial_lib.networks.fp8 import MnistNetFP8

pytest.importorskip("ml_dtypes", reason="FP8 without a GPU needs ml_dtypes")
SIZES = 784, 64, 10


def number(byte):
    """What a byte stands for: 4 bits of exponent, 3 of mantissa, as the format is defined."""
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = mantissa * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)
    return np.nan if byte & 127 == 127 else size if byte < 128 else -size


NUMBERS = np.array([number(byte) for byte in range(256)])


def test_a_number_becomes_the_nearest_in_both_orders_and_no_larger_than_448(rng):
    x = rng.standard_normal((21, 40)).astype(np.float32) * np.float32(100)
    x[0, :4] = 1e30, -np.inf, 0, 2.0**-10
    amax = xp.full(1, 3, xp.float32)
    values, turned, _ = map(to_numpy, quantize(xp.asarray(x), xp.full(1, 2, xp.float32), amax))
    wanted = np.zeros((32, 48))
    wanted[:21, :40] = np.clip(x / 2, -448, 448)
    off = abs(NUMBERS - wanted[..., None])
    np.testing.assert_array_equal(abs(NUMBERS[values] - wanted), np.nanmin(off, axis=2))
    np.testing.assert_array_equal(turned, values.T)
    quantize(xp.ones((16, 16), xp.float32), xp.ones(1, xp.float32), amax)
    assert to_numpy(amax) == np.inf  # of both calls


def test_a_scale_follows_the_largest_value_a_step_later_until_it_leaves_the_history():
    scaling, stored, scales = DelayedScaling(), [], []
    for largest in [1, 100, *[1] * (HISTORY + 1)]:
        values, _, scale = scaling.quantize("grad", xp.full((16, 16), largest, xp.float32))
        stored.append(NUMBERS[int(values[0, 0])] * float(scale[0]))
        scales.append(float(scale[0]))
        scaling.next_step()
    assert stored == [1, 448 / 32, *[1] * (HISTORY + 1)]  # 100 came with the scale of 1
    assert scales == [2**-5, 2**-5, *[2**1] * (HISTORY - 1), 2**-5, 2**-5]


def test_a_step_goes_nearly_where_that_of_the_plain_network_goes():
    images, labels = (x[:100].copy() for x in normalized(True))
    moved = []
    for net in (MnistNetFP8(*SIZES), MnistNetNaive(*SIZES)):
        before = [to_numpy(p).copy() for p in net.parameters]
        net.epoch(images, labels, batch_size=100)
        moved.append([to_numpy(p) - q for p, q in zip(net.parameters, before)])
    for ours, theirs in zip(*moved):
        assert np.linalg.norm(ours - theirs) < 0.1 * np.linalg.norm(theirs)


@pytest.mark.parametrize("launch", [Loop, Graph])
def test_its_losses_are_nearly_those_of_the_plain_network(launch):
    images, labels = (x[: 40 * 256].copy() for x in normalized(True))
    with MnistNetFP8(*SIZES, launch=launch) as net:
        losses = to_numpy(net.epoch(images, labels))
    expected = to_numpy(MnistNetNaive(*SIZES).epoch(images, labels))
    assert 1e-5 < abs(losses - expected).max() < 1e-2


def test_what_fp8_cannot_do_is_refused(monkeypatch):
    for sizes in ((784, 30, 10), (100, 64, 10)):
        with pytest.raises(ValueError, match="multiples of 16"):
            MnistNetFP8(*sizes)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install"):
        MnistNetFP8(*SIZES)
