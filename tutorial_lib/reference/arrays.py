"""NumPy arrays as a capture sees them: what is done to them is written down, or refused."""

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tutorial_lib.reference import streams
from tutorial_lib.reference.streams import launch, plain, refuse

# CuPy 14 refuses in a capture what it hands to cuBLAS or cuSOLVER, and a look at values.
LIBRARIES = {np.dot, np.vdot, np.inner, np.outer, np.tensordot, np.einsum, np.kron}
VALUES = {np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.extract, np.compress}
VALUES |= {np.array_str, np.array_repr, np.array2string, np.save, np.allclose}
READS = {"item", "tolist", "tobytes", "tofile", "dump", "dumps", "nonzero", "get", "compress"}
READS |= {"__float__", "__int__", "__bool__", "__index__", "__complex__", "__contains__"}
READS |= {"__str__", "__repr__", "__format__"}
# Methods that NumPy lets no array overrule otherwise, and functions that make an array.
METHODS = {"copy", "astype", "flatten", "ravel", "reshape", "take", "repeat", "argmax", "argmin"}
METHODS |= {"argsort", "cumsum", "fill", "put", "sort", "partition", "round", "clip", "__setitem__"}
CREATE = {"array", "asarray", "ascontiguousarray", "zeros", "ones", "full", "arange", "eye"}

OPAQUE = (ModuleType, type, BuiltinFunctionType, str, bytes)  # hold no arrays of the work


def record(work: Callable[[], None]) -> streams.Recording:
    """Run `work` and write down its launches; RuntimeError unless all branches are joined."""
    capture = streams.Recording(CapturedArray)
    with standing_in(work, CapturedArray) as work, _numpy_captures(capture):
        work()
    capture.ended = True
    if capture.last[streams.current_stream().name] != capture.given:
        raise RuntimeError("cudaErrorStreamCaptureUnjoined: a branch was not joined")
    return capture


class CapturedArray(np.ndarray):
    """An array that a capture may reach. Once the capture is over, it is like any other."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if ufunc is np.matmul:
            refuse("calling cuBLAS, as `@` does,", NotImplementedError)
        if out is None:
            return launch(getattr(ufunc, method), *inputs, **kwargs)
        launch(getattr(ufunc, method), *inputs, out=out, **kwargs)
        return out[0] if len(out) == 1 else out

    def __array_function__(self, function, types, args, kwargs):
        if function in LIBRARIES or function.__module__ == "numpy.linalg":
            refuse(f"calling cuBLAS, as {function.__name__} does,", NotImplementedError)
        if function in VALUES:
            refuse(f"reading values on the host, as {function.__name__} does,")
        if function is np.empty_like:
            return _allocated(function(*plain(args), **plain(kwargs)))
        return launch(function, *args, **kwargs)

    def __getitem__(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        lists = [np.asarray(plain(part)) for part in parts if isinstance(part, (np.ndarray, list))]
        if any(part.dtype == bool for part in lists):
            refuse("counting the elements of a mask on the host")
        if lists:
            return launch(np.ndarray.__getitem__, self, key)
        if streams.recording is not None and Ellipsis not in parts:
            key = (*parts, Ellipsis)  # a single element, too, stays on the device
        return super().__getitem__(key)


def _launching(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: launch(function, *args, **kwargs)


def _reading(name: str) -> Callable[..., Any]:
    def method(self, *args, **kwargs):
        refuse(f"reading a value on the host, as {name} does,")
        return getattr(plain(self), "copy" if name == "get" else name)(*args, **kwargs)

    return method


CapturedArray.dot = lambda self, *args, **kwargs: np.dot(self, *args, **kwargs)
for _name in METHODS:
    setattr(CapturedArray, _name, _launching(getattr(np.ndarray, _name)))
for _name in READS:
    setattr(CapturedArray, _name, _reading(_name))


@contextlib.contextmanager
def _numpy_captures(capture: streams.Recording) -> Iterator[None]:
    """Under way, and with NumPy's functions that make an array, which no array may overrule."""
    from unittest.mock import patch  # not at import: it brings asyncio along

    real = {name: getattr(np, name) for name in CREATE | {"empty", "asfortranarray", "random"}}

    def asfortranarray(x, *args, **kwargs):
        given = real["asarray"](plain(x))
        row_major = given.flags.c_contiguous and not given.flags.f_contiguous
        if given.ndim == 2 and given.dtype.char in "fd" and row_major:
            refuse("calling cuBLAS, as asfortranarray does (geam),", NotImplementedError)
        return launch(real["asfortranarray"], x, *args, **kwargs)

    class Random:
        def __getattr__(self, name):
            refuse("drawing random numbers", NotImplementedError)
            return getattr(real["random"], name)

    def from_host(name: str) -> Callable[..., Any]:
        def made(x, *args, **kwargs):
            if isinstance(x, (list, tuple)):  # a number goes as an argument of a kernel
                refuse(f"copying from the host, as {name} of a {type(x).__name__} does,")
            return launch(real[name], x, *args, **kwargs)

        return made

    recording = patch.object(streams, "recording", capture)
    replaced = {name: _launching(real[name]) for name in CREATE}
    replaced |= {name: from_host(name) for name in ("array", "asarray", "ascontiguousarray")}
    replaced["empty"] = lambda *args, **kwargs: _allocated(real["empty"](*args, **kwargs))
    with patch.multiple(np, **replaced, asfortranarray=asfortranarray, random=Random()), recording:
        yield


def _allocated(x: np.ndarray) -> np.ndarray:
    """Memory that nobody has written holds anything: in a capture, NaN or 77."""
    if streams.recording is None:
        return x
    x.fill(np.nan if x.dtype.kind == "f" else 77)
    return streams.recording.keep(x)


@contextlib.contextmanager
def standing_in(work: Callable[[], None], view: type[np.ndarray]) -> Iterator[Callable[[], None]]:
    """Inside the block, what `work` reaches are arrays of the type `view`, on the same memory.

    A GPU sees every array that is used; NumPy's cannot be watched, so each gives place to a view
    that can. Yields the work to call. What the work itself binds to a name stays bound.
    """
    swapped: list[tuple[Any, ...]] = []
    seen: set[int] = set()

    def stand_in(value: Any) -> Any:
        """A view of an array, a tuple with views of its arrays, anything else as it is."""
        if type(value) is np.ndarray:
            return value.view(view)
        if type(value) is tuple and any(type(part) in (np.ndarray, tuple) for part in value):
            return tuple(stand_in(part) for part in value)
        visit(value)
        return value

    def swap(container: Any, key: Any, value: Any) -> None:
        new = stand_in(value)
        if new is not value:
            cell = isinstance(container, CellType)
            get, put = (getattr, setattr) if cell else (operator.getitem, operator.setitem)
            put(container, key, new)
            swapped.append((get, put, container, key, value, new))

    def visit(value: Any) -> None:
        if id(value) in seen or isinstance(value, OPAQUE):
            return
        seen.add(id(value))
        if isinstance(value, MethodType):
            visit(value.__self__)
            visit(value.__func__)
        elif isinstance(value, FunctionType):
            for cell in value.__closure__ or ():
                swap(cell, "cell_contents", cell.cell_contents)
            for name in _names(value.__code__) & value.__globals__.keys():
                found = value.__globals__[name]
                if not isinstance(found, FunctionType) or found.__module__ == value.__module__:
                    swap(value.__globals__, name, found)
        elif isinstance(value, (dict, list)):
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                swap(value, key, value[key])
        elif isinstance(value, tuple):
            for part in value:
                visit(part)
        elif hasattr(value, "__dict__"):
            visit(vars(value))

    if isinstance(work, functools.partial):
        work = functools.partial(stand_in(work.func), *stand_in(work.args), **work.keywords)
    visit(work.func if isinstance(work, functools.partial) else work)
    try:
        yield work
    finally:
        for get, put, container, key, old, new in reversed(swapped):
            if get(container, key) is new:
                put(container, key, old)


def _names(code: CodeType) -> set[str]:
    inner = (part for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*map(_names, inner))
