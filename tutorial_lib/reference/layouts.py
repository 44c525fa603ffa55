"""What cuBLASLt knows of an array: a pointer, a shape, a memory order and one stride.

nvmath derives these when a matmul is stated and planned, and does not look at the array again. A
view whose strides do not follow from them is read as other memory, without an error.
"""

from dataclasses import dataclass

import numpy as np


def memory_order(x: "np.ndarray | Layout") -> str:
    """F if a matrix is column-major, C if row-major; one row or column counts as in cuBLASLt.

    Raises ValueError if it is neither.
    """
    rows, columns = (stride / x.dtype.itemsize for stride in x.strides)
    if rows == 1 or (columns != 1 and x.shape[0] == 1):
        return "F"
    if columns == 1 or x.shape[1] == 1:
        return "C"
    raise ValueError(
        f"a matrix of strides {x.strides} bytes is neither row- nor column-major: copy it first"
    )


@dataclass(frozen=True)
class Layout:
    """The shape, the strides in bytes and the dtype that a plan was made for."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls: type["Layout"], x: np.ndarray) -> "Layout":
        """The layout of an array."""
        return cls(x.shape, x.strides, x.dtype)

    def check_read_as_meant(self, name: str, *, columns: int | None = None) -> None:
        """Raise ValueError if cuBLASLt would read other memory than this matrix.

        For a single column that stands for `columns` equal ones, give `columns`.
        """
        size, (rows, cols) = self.dtype.itemsize, self.strides
        column_major = memory_order(self) == "F"
        if columns is None:
            extents, meant = self.shape, (rows, cols)
            line = max(
                self.shape[0 if column_major else 1], (cols if column_major else rows) // size
            )
        else:
            extents, meant, line = (self.shape[0], columns), (rows, 0), 0
        read = (size, line * size) if column_major else (line * size, size)
        if any(n > 1 and ours != theirs for n, ours, theirs in zip(extents, meant, read)):
            raise ValueError(
                f"{name} has strides {meant} bytes, but nvmath would read it with {read}, which is "
                "other memory: copy it first"
            )

    def read(self, x: np.ndarray) -> np.ndarray:
        """The memory that starts at x, read with this layout, whatever the layout of x.

        Raises ValueError where that leaves the memory that x is a part of.
        """
        if Layout.of(x) == self:
            return x
        start = x.__array_interface__["data"][0]
        end = start + self.dtype.itemsize
        end += sum((n - 1) * stride for n, stride in zip(self.shape, self.strides))
        low, high = np.lib.array_utils.byte_bounds(_owner(x))
        if not low <= start <= end <= high:
            raise ValueError(
                f"the plan reads {self.dtype} of shape {self.shape} and strides {self.strides} "
                f"bytes, but the array of shape {x.shape} and strides {x.strides} that was given "
                "unchecked has no such memory: on a GPU, other numbers or a crash"
            )
        return np.asarray(_Pointer(x, start, self))


class _Pointer:
    """An address and a layout, for NumPy to read; keeps the owner of the memory alive."""

    def __init__(self, x: np.ndarray, start: int, layout: Layout) -> None:
        self.base = x
        self.__array_interface__ = {
            "version": 3,
            "data": (start, not x.flags.writeable),
            "typestr": layout.dtype.str,
            "shape": layout.shape,
            "strides": layout.strides,
        }


def _owner(x: np.ndarray) -> np.ndarray:
    """The array that x is a view of, or of which it is a view of a view."""
    owner = x
    while x is not None:
        owner = x if isinstance(x, np.ndarray) else owner
        x = getattr(x, "base", None)
    return owner
