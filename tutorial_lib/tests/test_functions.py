"""one_hot, sigmoid and binary cross-entropy against torch, and what they refuse."""

import re

import numpy as np
import pytest

from tutorial_lib import binary_cross_entropy, one_hot, sigmoid, xp
from tutorial_lib.backend import to_numpy


def test_one_hot_is_a_row_for_each_label_and_of_zeros_for_one_that_is_no_class():
    result = one_hot(xp.array([2, 0, 3, -1, 2**40]), 3)
    assert result.dtype == xp.float32
    assert to_numpy(result).tolist() == [[0, 0, 1], [1, 0, 0], *[[0, 0, 0]] * 3]
    assert one_hot(xp.array([], dtype=int), 10).shape == (0, 10)


def test_what_does_not_fit_is_refused():
    for labels in (xp.ones((2, 10), int), xp.ones(2), xp.ones(2, bool)):
        refusal = f"must be integers (n,), not {labels.dtype} {labels.shape}"
        with pytest.raises(ValueError, match=re.escape(refusal)):
            one_hot(labels, 10)
    with pytest.raises(ValueError, match=r"differ: predictions \(2, 10\), targets \(1, 10\)"):
        binary_cross_entropy(xp.ones((2, 10)), xp.ones((1, 10)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sigmoid_against_torch_and_without_overflow(dtype):
    import torch

    ends = [0, 88, 89, -89, -745, 100, -100, 1e4, -1e4, 65504, -65504]
    x = np.concatenate([np.linspace(-30, 30, 601), ends]).astype(dtype)
    ours = to_numpy(sigmoid(xp.asarray(x)))  # a warning is an error
    theirs = torch.sigmoid(torch.tensor(x.astype(np.float64))).numpy()
    tiny = 1e-7 if dtype == "float16" else np.finfo(dtype).tiny * 10  # exp loses digits below
    np.testing.assert_allclose(ours, theirs, rtol=1e-3 if dtype == "float16" else 1e-6, atol=tiny)
    assert (ours.dtype, ours[601]) == (dtype, 0.5)


def test_binary_cross_entropy_against_torch_and_at_the_ends(rng):
    import torch

    p, t = rng.random((7, 10)), (rng.random((7, 10)) < 0.1).astype(float)
    expected = torch.nn.functional.binary_cross_entropy(torch.tensor(p), torch.tensor(t))
    ours = binary_cross_entropy(xp.asarray(p), xp.asarray(t))
    assert float(ours) == pytest.approx(float(expected), abs=1e-6)
    p, t = xp.array([[0.0, 1.0]]), xp.array([[1.0, 0.0]])  # eps = 1e-8 keeps both finite
    assert float(binary_cross_entropy(p, t)) == pytest.approx(-np.log(1e-8), rel=1e-6)
    assert float(binary_cross_entropy(t, t)) == pytest.approx(0, abs=1e-7)
