"""What a network accepts: images, labels, a gradient, numbers. Each array as a kernel needs it."""

import math
import numbers
from typing import TYPE_CHECKING

from tutorial_lib.backend import Array, xp

if TYPE_CHECKING:
    from tutorial_lib.networks.base import MnistNetBase


def check_array(name: str, x: Array, dtype: type, shape: tuple) -> Array:
    """`x` as a row-major array of that shape, in which "n" stands for any number but 0.

    Raises TypeError for another type, ValueError for another shape.
    """
    if not isinstance(x, xp.ndarray) or x.dtype != dtype:
        got = f"{type(x).__module__}.{type(x).__name__} {getattr(x, 'dtype', '')}".rstrip()
        raise TypeError(f"{name} must be a {xp.__name__}.ndarray of {xp.dtype(dtype)}, not a {got}")
    fits = x.ndim == len(shape) and all(a in ("n", b) for a, b in zip(shape, x.shape))
    if not fits or not len(x):
        wanted = str(shape).replace("'", "")
        raise ValueError(f"{name} must have shape {wanted}, n at least 1, not {x.shape}")
    return row_major(x)


def check_learning_rate(learning_rate: float) -> None:
    """Raises TypeError or ValueError for anything but a finite number above 0."""
    if not isinstance(learning_rate, numbers.Real):
        raise TypeError(f"the learning rate must be a number, not {type(learning_rate).__name__}")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"the learning rate must be finite and above 0, it is {learning_rate}")


def check_epoch(
    net: "MnistNetBase", images: Array, labels: Array, learning_rate: float, batch_size: int
) -> tuple[Array, Array]:
    """The images (N, num_inputs) and labels (N,) of an epoch, row-major. Looks at each label.

    Raises TypeError or ValueError.
    """
    images = net.check_images(images)
    labels = check_array("labels", labels, xp.int64, (len(images),))
    if not isinstance(batch_size, int) or not 1 <= batch_size <= len(images):
        raise ValueError(f"a batch of {batch_size} cannot be had from {len(images)} images")
    check_learning_rate(learning_rate)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= net.num_outputs:
        raise ValueError(f"labels must be 0 to {net.num_outputs - 1}, they go from {low} to {high}")
    return images, labels


def row_major(x: Array) -> Array:
    """`x` where it is dense, row-major and begins at a multiple of 16 bytes; otherwise a copy.

    A kernel gets a pointer, which knows no strides; an algorithm may load 16 bytes at once.
    """
    strides = (x.itemsize * x.shape[-1], x.itemsize)[-x.ndim :]
    return x if x.strides == strides and address(x) % 16 == 0 else xp.array(x, order="C")


def address(x: Array) -> int:
    """Where the first element of an array lies, in bytes."""
    return x.data.ptr if hasattr(x.data, "ptr") else x.ctypes.data


def place(x: Array) -> tuple:
    """Where an array lies, and how: what a plan or a graph remembers of it; () of no array."""
    return (address(x), x.shape, x.strides, x.dtype) if isinstance(x, xp.ndarray) else ()
