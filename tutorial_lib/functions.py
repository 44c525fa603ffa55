"""The three functions around the matmuls: one-hot targets, sigmoid, binary cross-entropy.

Chapter "Network and loss". None of them looks at a value on the device, which would make the host
wait for the GPU in every step. Labels are checked where they come in: see `dataset` and
`MnistNetBase.epoch`.
"""

from typing import Any

import numpy as np

from tutorial_lib.backend import Array, xp


def one_hot(labels: Array, num_classes: int) -> Array:
    """Integer labels (n,) as rows of zeros with a single 1: (n, num_classes), float32.

    A label outside 0 … num_classes - 1 gives a row of zeros. Raises TypeError for anything but an
    array of integers, ValueError for a shape other than (n,).
    """
    _check_array("labels", labels, "iu", "integers")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (n,), they have {labels.shape}")
    return (labels[:, None] == xp.arange(num_classes)).astype(xp.float32)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, elementwise, in the float type of x; TypeError for other types."""
    _check_array("x", x, "f", "floats")
    if x.dtype == xp.float16:  # whose exp ends at x = 11
        return sigmoid(x.astype(xp.float32)).astype(xp.float16)
    with np.errstate(over="ignore"):  # exp becomes infinite, and 1 / inf is 0, as it should be
        return 1 / (1 + xp.exp(-x))


def binary_cross_entropy(predictions: Array, targets: Array) -> Array:
    """The mean of ``-(t log(p + eps) + (1 - t) log(1 - p + eps))`` with eps = 1e-8: a scalar array.

    `predictions` p and `targets` t: floats (n, classes), else TypeError or ValueError is raised.
    """
    _check_array("predictions", predictions, "f", "floats")
    _check_array("targets", targets, "f", "floats")
    if predictions.shape != targets.shape:
        shapes = f"predictions {predictions.shape} and targets {targets.shape}"
        raise ValueError(f"{shapes} must have one shape")
    eps = 1e-8  # keeps log finite at p = 0 and p = 1
    return -xp.mean(
        targets * xp.log(predictions + eps) + (1 - targets) * xp.log(1 - predictions + eps)
    )


def _check_array(name: str, x: Any, kinds: str, what: str) -> None:
    if not isinstance(x, (xp.ndarray, np.generic)) or x.dtype.kind not in kinds:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{name} must be a {xp.__name__} array of {what}, not {got}")
