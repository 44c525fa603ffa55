"""What cuBLASLt knows of an array: a pointer, a shape, a memory order and, of a batch, a stride.

A view whose strides do not follow from these is read as other memory, without an error.
"""

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

HALF = ("float16", "bfloat16")  # by name: NumPy has the second only where ml_dtypes is imported


def memory_order(x: "np.ndarray | Layout") -> str:
    """F if column-major, C if row-major, ValueError if neither; vectors count as in cuBLASLt."""
    rows, columns = (stride / x.dtype.itemsize for stride in x.strides[-2:])
    if rows == 1 or (columns != 1 and x.shape[-2] == 1):
        return "F"
    if columns == 1 or x.shape[-1] == 1:
        return "C"
    found = f"a matrix of strides {x.strides} bytes"
    raise ValueError(f"{found} is neither row- nor column-major: copy it first")


class Layout(NamedTuple):
    """The shape, the strides in bytes and the dtype that a plan was made for."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls: type["Layout"], x: np.ndarray) -> "Layout":
        """The layout of an array."""
        return cls(x.shape, x.strides, x.dtype)

    def check_read_as_meant(self, name: str, *, columns: int | None = None) -> None:
        """Raise ValueError if cuBLASLt would read other memory; `columns`: c stands for so many."""
        size, shape, strides = self.dtype.itemsize, self.shape, self.strides
        dense, other = (-2, -1) if memory_order(self) == "F" else (-1, -2)
        line = max(shape[dense], strides[other] // size)  # the leading dimension
        if columns is not None:
            shape, strides, line = (*shape[:-1], columns), (*strides[:-1], 0), 0
        batch = [max(stride // size, 0) * size for stride in strides[:-2]]
        read = (*batch, *((size, line * size) if dense == -2 else (line * size, size)))
        if any(n > 1 and ours != theirs for n, ours, theirs in zip(shape, strides, read)):
            found = f"{name} has strides {strides} bytes, but nvmath would read it with {read}"
            raise ValueError(f"{found}, which is other memory: copy it first")

    def is_unique(self) -> bool:
        """Whether each element has memory of its own, by nvmath's rule."""
        axes = sorted(zip(self.strides, self.shape))
        spans = itertools.accumulate(((n - 1) * stride for stride, n in axes), initial=0)
        return all(n == 1 or stride > span for (stride, n), span in zip(axes, spans))

    def read(self, x: np.ndarray) -> np.ndarray:
        """The memory from x on, read with this layout; ValueError if it leaves that of x."""
        if Layout.of(x) == self:
            return x
        start = x.__array_interface__["data"][0]
        last = start + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides))
        owner = base = x
        while (base := getattr(base, "base", None)) is not None:  # x may be a view of a view
            owner = base if isinstance(base, np.ndarray) else owner
        low, high = np.lib.array_utils.byte_bounds(owner)
        if not low <= start <= last <= high - self.dtype.itemsize:
            plan = f"the plan reads {self.dtype} of shape {self.shape} and strides {self.strides}"
            given = f"the array given unchecked, of shape {x.shape} and strides {x.strides}"
            effect = "on a GPU, other numbers or a crash"
            raise ValueError(f"{plan} bytes, but {given}, has no such memory: {effect}")
        interface = {"version": 3, "typestr": self.dtype.str, "shape": self.shape}
        interface |= {"strides": self.strides, "data": (start, not x.flags.writeable)}
        # NumPy keeps the object, and with it the owner of the memory, alive.
        read = np.asarray(SimpleNamespace(base=x, __array_interface__=interface))
        return read.view(self.dtype)  # as a text, bfloat16 is any two bytes


def batch_of(a: np.ndarray | Layout, b: np.ndarray | Layout) -> tuple[int, ...]:
    """The extent of the batch in a tuple, which is empty for two matrices."""
    return a.shape[:-2] or b.shape[:-2]


def matrix(x: np.ndarray | None, i: int) -> np.ndarray | None:
    """Matrix i of a batch, in float32 if it is of half precision; what is no batch serves all."""
    x = x if x is None or x.ndim < 3 else x[i]
    return x.astype(np.float32) if x is not None and x.dtype.name in HALF else x


def stack(matrices: Sequence[np.ndarray], order: str) -> np.ndarray:
    """A batch of matrices, each in `order`, one after the other; vectors (M,) become (M, 1)."""
    if order == "C":
        return np.stack(matrices)
    return np.stack([x.reshape(len(x), -1).T for x in matrices]).swapaxes(1, 2)
