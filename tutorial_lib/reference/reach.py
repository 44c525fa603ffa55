"""The arrays that a piece of work can reach: its closure, its globals, the objects found there.

On a GPU a capture sees every array, since it watches the device. NumPy's arrays cannot be watched,
so for the time of a capture each of them gives place to a view that can.
"""

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

OPAQUE = (ModuleType, type, BuiltinFunctionType, str, bytes)


@contextlib.contextmanager
def standing_in(work: Callable[[], None], view: type[np.ndarray]) -> Iterator[Callable[[], None]]:
    """Inside the block, what `work` reaches are arrays of the type `view`, on the same memory.

    Yields the work to call. What the work itself binds to a name stays bound.
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
