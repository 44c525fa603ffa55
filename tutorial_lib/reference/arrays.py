"""NumPy arrays as a capture sees them: what is done to them is written down, or refused.

What is refused is what CuPy 14 refuses while a stream captures: calls of cuBLAS and its relatives,
and whatever reads a value on the host.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

from tutorial_lib.reference import graphs
from tutorial_lib.reference.graphs import launch, plain, refuse
from tutorial_lib.reference.reach import standing_in

# What CuPy hands to cuBLAS or cuSOLVER, and what it cannot do without a look at the values.
LIBRARIES = {np.dot, np.vdot, np.inner, np.outer, np.tensordot, np.einsum, np.kron}
VALUES = {np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.extract, np.compress}
VALUES |= {np.array_str, np.array_repr, np.array2string, np.save, np.allclose}
READS = [
    "item",
    "tolist",
    "tobytes",
    "tofile",
    "dump",
    "dumps",
    "nonzero",
    "get",
    "compress",
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__complex__",
    "__str__",
    "__repr__",
    "__format__",
    "__contains__",
]
# Methods that NumPy lets no array overrule otherwise, and functions that make an array.
METHODS = [
    "copy",
    "astype",
    "flatten",
    "ravel",
    "reshape",
    "take",
    "repeat",
    "argmax",
    "argmin",
    "argsort",
    "cumsum",
    "fill",
    "put",
    "sort",
    "partition",
    "round",
    "clip",
    "__setitem__",
]
CREATE = ["array", "asarray", "ascontiguousarray", "zeros", "ones", "full", "arange", "eye"]


def record(work: Callable[[], None]) -> graphs.Recording:
    """Run `work`, and write down what it launches; its plans must have been made before."""
    capture = graphs.Recording(CapturedArray)
    with standing_in(work, CapturedArray) as work, _numpy_captures(), graphs.recorded_by(capture):
        work()
    capture.end()
    return capture


class CapturedArray(np.ndarray):
    """An array that a capture may reach. Once the capture is over, it is like any other."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if ufunc is np.matmul:
            refuse("calling cuBLAS, as `@` does,", NotImplementedError)
        if out is not None:
            kwargs["out"] = out
        result = launch(getattr(ufunc, method), *inputs, **kwargs)
        if out is None:
            return result
        return out[0] if len(out) == 1 else out

    def __array_function__(self, function, types, args, kwargs):
        if function in LIBRARIES or function.__module__ == "numpy.linalg":
            refuse(f"calling cuBLAS, as {function.__name__} does,", NotImplementedError)
        if function in VALUES:
            refuse(f"reading values on the host, as {function.__name__} does,")
        if function is np.empty_like and graphs.recording is not None:
            return graphs.recording.keep(_poisoned(function(*plain(args), **kwargs)))
        return launch(function, *args, **kwargs)

    def __getitem__(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        lists = [np.asarray(plain(part)) for part in parts if isinstance(part, (np.ndarray, list))]
        if any(part.dtype == bool for part in lists):
            refuse("counting the elements of a mask on the host")
        if lists:
            return launch(np.ndarray.__getitem__, self, key)
        if graphs.recording is not None and Ellipsis not in parts:
            key = (*parts, Ellipsis)  # a single element, too, stays on the device
        return super().__getitem__(key)


def _launching(name: str) -> Callable[..., Any]:
    def method(self, *args, **kwargs):
        return launch(getattr(np.ndarray, name), self, *args, **kwargs)

    return method


def _dot(self, *args, **kwargs):
    refuse("calling cuBLAS, as dot does,", NotImplementedError)
    return np.ndarray.dot(self, *args, **kwargs)


def _reading(name: str) -> Callable[..., Any]:
    def method(self, *args, **kwargs):
        refuse(f"reading a value on the host, as {name} does,")
        name_here = "copy" if name == "get" else name  # CuPy's way to a NumPy array
        return getattr(plain(self), name_here)(*args, **kwargs)

    return method


CapturedArray.dot = _dot
for _name in METHODS:
    setattr(CapturedArray, _name, _launching(_name))
for _name in READS:
    setattr(CapturedArray, _name, _reading(_name))


@contextlib.contextmanager
def _numpy_captures() -> Iterator[None]:
    """NumPy's functions that make an array, which NumPy lets no array overrule."""
    real = {name: getattr(np, name) for name in [*CREATE, "empty", "asfortranarray", "random"]}

    def creating(original: Callable[..., Any]) -> Callable[..., Any]:
        def create(*args, **kwargs):
            if graphs.recording is None:
                return original(*args, **kwargs)
            return launch(original, *args, **kwargs)

        return create

    def empty(*args, **kwargs):
        new = real["empty"](*args, **kwargs)
        return new if graphs.recording is None else graphs.recording.keep(_poisoned(new))

    def asfortranarray(x, *args, **kwargs):
        given = real["asarray"](plain(x))
        row_major = given.flags.c_contiguous and not given.flags.f_contiguous
        if given.ndim == 2 and given.dtype.char in "fd" and row_major:
            refuse("calling cuBLAS, as asfortranarray does (geam),", NotImplementedError)
        return creating(real["asfortranarray"])(x, *args, **kwargs)

    class Random:
        def __getattr__(self, name):
            refuse("drawing random numbers", NotImplementedError)
            return getattr(real["random"], name)

    replaced = {name: creating(real[name]) for name in CREATE}
    replaced |= {"empty": empty, "asfortranarray": asfortranarray, "random": Random()}
    with mock.patch.multiple(np, **replaced):
        yield


def _poisoned(x: np.ndarray) -> np.ndarray:
    """What has been allocated but not written holds anything: here, NaN or 77."""
    x.fill(np.nan if x.dtype.kind == "f" else 77)
    return x
