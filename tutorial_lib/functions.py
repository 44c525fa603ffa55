"""The three functions around the matmuls: one-hot targets, sigmoid, binary cross-entropy.

Chapter "Network and loss".
"""

import numpy as np

from tutorial_lib.backend import xp


def one_hot(labels: xp.ndarray, num_classes: int) -> xp.ndarray:
    """Labels (n,) as rows of zeros with a single 1: (n, num_classes), float32.

    Raises TypeError for labels that are not integers, ValueError for a shape other than (n,) or
    a label outside 0 … num_classes - 1.
    """
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, they are {labels.dtype}")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (n,), they have {labels.shape}")
    if labels.size and labels.astype(xp.uint64).max() >= num_classes:  # below 0 wraps to huge
        raise ValueError(
            f"labels must lie in 0 … {num_classes - 1}, "
            f"they run from {labels.min()} to {labels.max()}"
        )
    result = xp.zeros((len(labels), num_classes), xp.float32)
    result[xp.arange(len(labels)), labels] = 1
    return result


def sigmoid(x: xp.ndarray) -> xp.ndarray:
    """``1 / (1 + exp(-x))``, elementwise, for any float x; exp is kept from overflowing."""
    if x.dtype.kind != "f":
        raise TypeError(f"sigmoid takes floats, not {x.dtype}")
    largest = float(np.log(np.finfo(x.dtype).max)) - 1
    return 1 / (1 + xp.exp(xp.minimum(-x, largest)))


def binary_cross_entropy(predictions: xp.ndarray, targets: xp.ndarray) -> xp.ndarray:
    """The mean of ``-(t log(p + eps) + (1 - t) log(1 - p + eps))`` with eps = 1e-8: a scalar array.

    `predictions` p and `targets` t have one shape, (n, classes). Raises ValueError if they do not.
    """
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions {predictions.shape} and targets {targets.shape} must have one shape"
        )
    eps = 1e-8  # keeps log finite at p = 0 and p = 1
    return -xp.mean(
        targets * xp.log(predictions + eps) + (1 - targets) * xp.log(1 - predictions + eps)
    )
