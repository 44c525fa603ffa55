"""one_hot, sigmoid and binary cross-entropy against torch, and what they refuse."""

import warnings

import numpy as np
import pytest

from tutorial_lib import binary_cross_entropy, one_hot, sigmoid, xp
from tutorial_lib.backend import to_numpy
from tutorial_lib.graphs import CapturedWork


def test_one_hot():
    result = one_hot(xp.array([2, 0]), 3)
    assert to_numpy(result).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert result.dtype == xp.float32
    assert one_hot(xp.array([], dtype=int), 10).shape == (0, 10)


@pytest.mark.parametrize(
    ("labels", "error", "match"),
    [
        ([[1, 2]], ValueError, r"shape \(n,\)"),
        ([1.0, 2.0], TypeError, "integers"),
        ([True, False], TypeError, "integers"),
    ],
)
def test_one_hot_refuses(labels, error, match):
    with pytest.raises(error, match=match):
        one_hot(xp.array(labels), 10)


def test_a_label_that_is_no_class_is_a_row_of_zeros():
    result = to_numpy(one_hot(xp.array([3, -1, 0, 2**40]), 3))
    assert result.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("function", [lambda x: one_hot(x, 10), sigmoid])
@pytest.mark.parametrize("x", [[1, 2], 0.5, None])
def test_what_is_no_array_is_refused(function, x):
    with pytest.raises(
        TypeError, match=f"must be a {xp.__name__} array of .*, not {type(x).__name__}"
    ):
        function(x)


def test_binary_cross_entropy_takes_arrays_of_floats():
    good = xp.full((2, 10), 0.5)
    for bad in ([[0.5] * 10] * 2, xp.ones((2, 10), int)):
        with pytest.raises(TypeError, match="predictions must be"):
            binary_cross_entropy(bad, good)
        with pytest.raises(TypeError, match="targets must be"):
            binary_cross_entropy(good, bad)


def test_nothing_in_a_step_looks_at_a_value_on_the_device():
    """Or the published loop would wait for the GPU: a capture refuses to be looked at."""
    z, labels = xp.zeros((4, 10), xp.float32), xp.arange(4)
    loss = xp.zeros(1, xp.float32)

    def work():
        p = sigmoid(z)
        loss[...] = binary_cross_entropy(p, one_hot(labels, 10))

    CapturedWork(work).replay()
    assert float(loss[0]) == pytest.approx(np.log(2))


def test_sigmoid_in_half_precision():
    x = np.concatenate([np.linspace(-20, 20, 401), [-65504, 65504]]).astype(np.float16)
    ours = to_numpy(sigmoid(xp.asarray(x)))
    assert ours.dtype == np.float16
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(ours, exact, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_against_torch_and_without_overflow(dtype):
    import torch

    x = np.concatenate(
        [np.linspace(-30, 30, 601), [0, 88, 89, -89, -745, 100, -100, 1e4, -1e4]]
    ).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = to_numpy(sigmoid(xp.asarray(x)))
    assert ours.dtype == dtype
    tiny = np.finfo(dtype).tiny * 10  # below it float32's own exp loses digits
    np.testing.assert_allclose(ours, torch.sigmoid(torch.tensor(x)).numpy(), rtol=1e-6, atol=tiny)
    assert sigmoid(xp.zeros(1, dtype))[0] == 0.5


def test_sigmoid_refuses_integers():
    with pytest.raises(TypeError, match="int"):
        sigmoid(xp.array([1, 2]))


def test_binary_cross_entropy_against_torch(rng):
    import torch

    p = rng.random((7, 10))
    t = (rng.random((7, 10)) < 0.1).astype(float)
    expected = torch.nn.functional.binary_cross_entropy(torch.tensor(p), torch.tensor(t))
    ours = binary_cross_entropy(xp.asarray(p), xp.asarray(t))
    assert float(ours) == pytest.approx(float(expected), abs=1e-6)


def test_binary_cross_entropy_at_the_ends():
    """eps = 1e-8: a certain mistake costs -log(1e-8), a certain hit nothing."""
    p, t = xp.array([[0.0, 1.0]]), xp.array([[1.0, 0.0]])
    assert float(binary_cross_entropy(p, t)) == pytest.approx(-np.log(1e-8), rel=1e-6)
    assert float(binary_cross_entropy(t, t)) == pytest.approx(0, abs=1e-7)


def test_binary_cross_entropy_refuses_to_broadcast():
    with pytest.raises(ValueError, match="one shape"):
        binary_cross_entropy(xp.ones((4, 10)), xp.ones((1, 10)))
