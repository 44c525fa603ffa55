"""One-hot targets, sigmoid and binary cross-entropy, which chapters 1 and 2 derive.

None of them looks at a value on the device: the host would wait for the GPU in every step.
`MnistNetBase.epoch` checks the labels instead, once.
"""

import numpy as np

from tutorial_lib.backend import Array, xp


def one_hot(labels: Array, num_classes: int) -> Array:
    """Integer labels (n,) as rows of zeros with a single 1: (n, num_classes), float32.

    A label outside 0 … num_classes - 1 gives a row of zeros.
    Raises ValueError for an array of another type or shape.
    """
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"labels must be integers (n,), not {labels.dtype} {labels.shape}")
    return (labels[:, None] == xp.arange(num_classes)).astype(xp.float32)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, elementwise, in the float type of x."""
    if x.dtype == xp.float16:  # whose exp ends at x = 11
        return sigmoid(x.astype(xp.float32)).astype(xp.float16)
    with np.errstate(over="ignore"):  # exp becomes infinite, and 1 / inf is 0, as it should be
        return 1 / (1 + xp.exp(-x))


def binary_cross_entropy(predictions: Array, targets: Array) -> Array:
    """The mean of ``-(t log(p + eps) + (1 - t) log(1 - p + eps))`` with eps = 1e-8: a scalar array.

    `predictions` p and `targets` t: floats (n, classes). Raises ValueError if their shapes differ.
    """
    if predictions.shape != targets.shape:
        raise ValueError(f"shapes differ: predictions {predictions.shape}, targets {targets.shape}")
    eps = 1e-8  # keeps log finite at p = 0 and p = 1
    return -xp.mean(
        targets * xp.log(predictions + eps) + (1 - targets) * xp.log(1 - predictions + eps)
    )
