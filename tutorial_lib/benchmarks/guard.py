"""One contestant must not end the run of all: errors, hangs and broken contexts are contained."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import checks
from tutorial_lib.benchmarks.contestant import Absent, Contestant, Entry, Problem

PATIENCE = 150  # seconds for building and checking one contestant
UNFINISHED = f"its process ended, or it took more than {PATIENCE} s"


class DeviceLost(RuntimeError):
    """The GPU takes no more work from this process: a new one has to go on."""


def admit(
    entry: Entry, problem: Problem, expected: np.ndarray
) -> tuple[Contestant | None, dict[str, Any]]:
    """The contestant, built and checked, or None; and what is to be recorded of it."""
    start, contestant = time.perf_counter(), None
    try:
        contestant = entry.make(problem, entry.arithmetic)
        report = checks.check(contestant, entry.arithmetic, problem, expected)
        return contestant, {"check": report, "seconds": round(time.perf_counter() - start, 1)}
    except (Absent, ImportError) as error:
        outcome = {"absent": reason(error)}
    except Exception as error:
        outcome = {"failed": reason(error)}
    if contestant is not None:
        with contextlib.suppress(Exception):
            contestant.close()
    return None, outcome | {"seconds": round(time.perf_counter() - start, 1)}


@contextlib.contextmanager
def patience(restart: Callable[[], None] | None) -> Iterator[None]:
    """Within the block, call `restart` from another thread once `PATIENCE` seconds have passed."""
    if restart is None:
        yield
        return
    timer = threading.Timer(PATIENCE, restart)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def require_device(key: str) -> None:
    """Raise DeviceLost if CUDA's context no longer works, as after an illegal memory access."""
    if backend.name != "gpu":
        return
    try:
        xp.cuda.Device().synchronize()
        float(xp.ones(3).sum())
    except Exception as error:
        raise DeviceLost(f"after {key}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What to record of an error: its message, and its type unless it is one of ours."""
    text = " ".join(str(error).split())[:300]
    known = isinstance(error, (Absent, checks.Refused))
    return text if known else f"{type(error).__name__}: {text}"
