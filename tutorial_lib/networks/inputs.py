"""What a network accepts: images, labels, a gradient, numbers. Each array as a kernel needs it."""

import math
import numbers
from typing import Any

from tutorial_lib.backend import Array, xp


def check_array(name: str, x: Array, dtype: type, shape: tuple) -> Array:
    """`x`, row-major, of that shape, "n" being any number but 0; TypeError, ValueError if not."""
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


def row_major(x: Array) -> Array:
    """`x` where it is dense, row-major and begins at a multiple of 16 bytes; otherwise a copy. A
    kernel gets a pointer, which knows no strides; an algorithm may load 16 bytes at once."""
    strides = (x.itemsize * x.shape[-1], x.itemsize)[-x.ndim :]
    return x if x.strides == strides and address(x) % 16 == 0 else xp.array(x, order="C")


def address(x: Array) -> int:
    """Where the first element of an array lies, in bytes."""
    return x.ctypes.data if hasattr(x, "ctypes") else x.data.ptr


def place(x: Any) -> Any:
    """Where an array lies, and how, or each array of a dict: what a plan or a graph remembers."""
    if isinstance(x, dict):
        return {name: place(y) for name, y in x.items()}
    return (address(x), x.shape, x.strides, x.dtype) if isinstance(x, xp.ndarray) else ()
