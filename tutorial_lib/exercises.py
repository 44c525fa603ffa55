"""Checks a reader's answer to an exercise, and says what is wrong with it."""

import dis
import inspect
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from tutorial_lib.backend import to_numpy


def check(
    answer: Any,
    expected: Any,
    *arguments: Any,
    through: Callable | None = None,
    why: Mapping[Any, str] | Iterable[tuple[Any, str]] = (),
    misfit: str = "",
    rtol: float = 1e-4,
) -> None:
    """Print "Right." or, after "Not yet:", what is wrong.

    `answer` and `expected` are values, or functions that are called with `arguments`, or classes
    that the function `through` turns into values when called with one and the `arguments`. A value
    is a number, an array, a text, a member of an enumeration, or several in a tuple, list or dict.
    Numbers may differ by `rtol` of the largest in their array. ``...`` in the answer is a blank
    that is still to be filled. `why` pairs known wrong values, of a dict also single entries, with
    what is to be said of them; `misfit` is said of a ValueError, as shapes raise that do not fit.
    """
    if _has_blank(answer):
        print("Not yet: fill in the blanks (...), then run this cell again.")
        return
    want = _value(expected, arguments, through)
    try:
        got = _value(answer, arguments, through)
    except Exception as error:
        known = isinstance(error, ValueError) and misfit
        print("Not yet:", known or f"your code raises {type(error).__name__}: {error}")
        return
    wrong = _difference(got, want, "your answer", rtol)
    mistakes = why.items() if isinstance(why, Mapping) else why
    known = [text for value, text in mistakes if not _difference(got, value, "", rtol)]
    print(f"Not yet: {known[0] if known else wrong}" if wrong else "Right.")


def _has_blank(answer: Any) -> bool:
    if inspect.isclass(answer):
        return any(map(_has_blank, vars(answer).values()))
    if inspect.isfunction(answer):  # `x[...] = y` is none
        steps = [step for step in dis.get_instructions(answer) if step.opname != "COPY"]
        indices = [a for a, b in pairwise(steps) if "SUBSCR" in b.opname or b.argrepr == "[]"]
        return any(step.argval is ... and step not in indices for step in steps)
    if isinstance(answer, dict | tuple | list):
        return any(map(_has_blank, answer.values() if isinstance(answer, dict) else answer))
    return answer is ...


def _value(thing: Any, arguments: tuple, through: Callable | None) -> Any:
    if through and callable(thing):
        return through(thing, *arguments)
    return thing(*arguments) if inspect.isfunction(thing) else thing


def _difference(got: Any, want: Any, name: str, rtol: float) -> str:
    """What is wrong with `got`, in words; empty if nothing is."""
    if isinstance(want, dict | tuple | list):
        if not isinstance(got, type(want)) or (len(got) != len(want) and type(want) is not dict):
            return f"{name} should be a {type(want).__name__} of {len(want)}, not {got!r}."
        if isinstance(want, dict) and (missing := [key for key in want if key not in got]):
            return f"{name} has no entry {missing[0]!r}."
        keys = want if isinstance(want, dict) else range(len(want))
        parts = (_difference(got[key], want[key], f"{name}[{key!r}]", rtol) for key in keys)
        return next(filter(None, parts), "")
    if not hasattr(want, "dtype") and not isinstance(want, int | float):
        same = isinstance(got, type(want)) and got == want  # an array may be no answer at all
        return "" if same else f"{name} is {got}, which is not right."
    if got is None:
        return f"{name} is None: does your function return its result?"
    try:
        got, want = (np.asarray(to_numpy(each), float) for each in (got, want))
    except (TypeError, ValueError):
        return f"{name} is {got!r}, and it should be a number or an array of numbers."
    if got.shape != want.shape:
        return f"the shape of {name} is {got.shape}, and it should be {want.shape}."
    with np.errstate(invalid="ignore"):
        error = np.nan_to_num(abs(got - want), nan=np.inf, posinf=np.inf)
    if error.max(initial=0) <= rtol * abs(want).max(initial=0):
        return ""
    if want.ndim == 0:
        return f"{name} is {got:.6g}, which is not right."
    worst = np.unravel_index(error.argmax(), error.shape)
    place = ", ".join(map(str, worst))
    return f"{name} has the right shape, but at [{place}] {got[worst]:.4g} is not right."
