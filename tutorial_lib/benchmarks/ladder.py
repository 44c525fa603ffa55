"""The ladder: every rung of the book and every peer, checked, then timed, in one run.

Written to ``book/results/ladder.json`` as it goes, so that a run that is killed leaves what it had;
``--resume`` goes on from there. A contestant that fails, hangs or takes the GPU down with it ends
as failed, with the reason; the rest runs on.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import checks, guard, record, table, timing
from tutorial_lib.benchmarks.contestant import Absent, Entry, Problem, chosen
from tutorial_lib.benchmarks.peers import PEERS
from tutorial_lib.benchmarks.rungs import LOOPS, PUBLISHED, RUNGS
from tutorial_lib.dataset import describe_dataset, normalized

WIDTHS = (30, 512, 8192)
FIELD: list[Entry] = [*PUBLISHED, *LOOPS, *RUNGS, *PEERS]
REPEATS, QUICK, SLOW = 15, 5, 2  # timed epochs of a contestant; in a quick run; of a slow one


def run(
    command: str = "ladder",
    *,
    widths: Sequence[int] = WIDTHS,
    quick: bool = False,
    only: Sequence[str] = (),
    resume: bool = False,
    restart: Callable[[], None] | None = None,
    field: Sequence[Entry] = tuple(FIELD),
    data: tuple[xp.ndarray, xp.ndarray] | None = None,
) -> dict[str, Any]:
    """Check and time all contestants of the command (ladder or peers) at each width.

    `only`: parts of names. `restart` is called, from a timer, when a contestant hangs. Returns the
    record. The README's table is written anew from a full ladder on a GPU, and from no other.
    Raises guard.DeviceLost if a contestant has broken the GPU's context, Absent for a part that is
    in no name, or if there is no such run to resume.
    """
    field = [e for e in field if command == "ladder" or e.kind == "peer"]
    keys = chosen([e.key for e in field], only)
    field = [e for e in field if e.key in keys]
    images, labels = data or normalized(True)
    whole = not only and tuple(widths) == WIDTHS and data is None
    name = command if whole else f"{command}_part"
    if backend.name != "gpu":
        name = f"{command}_cpu"
    content = _blank(field, widths, quick, Problem(widths[0], images, labels).steps)
    if resume:
        _take_over(content, name)

    packages = record.installed()

    def write() -> None:
        record.write(name, packages, content)
        if name == "ladder":
            table.update_readme(results.load(name))

    start = time.perf_counter()
    for width in widths:
        if width not in content["done"]:
            _say(f"\nWidth {width}")
            _run_width(content, field, Problem(width, images, labels), write, restart)
            content["done"].append(width)
            write()
    content["seconds"] = round(time.perf_counter() - start, 1)
    write()
    written = results.load(name)
    _say(f"\n{table.table(written)}\n\n{table.notes(written)}")
    _say(f"\nWritten to {name}.json in book/results; {content['seconds']:.0f} s")
    return written


def _blank(
    field: Sequence[Entry], widths: Sequence[int], quick: bool, steps: int
) -> dict[str, Any]:
    return {
        "what": "one epoch by every contestant, from the same weights, images on the device",
        "unit": "milliseconds",
        "clocks": timing.__doc__,
        "machine": record.device(),
        "backend": backend.name,
        "data": describe_dataset(),
        "network": "784-H-10, batch 256, learning rate 0.1, file order",
        "steps": steps,
        "repeats": QUICK if quick else REPEATS,
        "bounds": {"early": checks.EARLY, "later": checks.LATER, "width 30": checks.NARROW},
        "widths": list(widths),
        "done": [],
        "contestants": [
            {"name": e.name, "kind": e.kind, "arithmetic": e.arithmetic, "widths": {}}
            for e in field
        ],
    }


def _take_over(content: dict[str, Any], name: str) -> None:
    """What an earlier run finished, and who failed in it."""
    try:
        before = results.load(name)
    except FileNotFoundError as error:
        raise Absent(f"nothing to resume: {error}") from error
    for key in ("machine", "data", "steps", "repeats"):
        if before[key] != content[key]:
            raise Absent(
                f"the run in {name}.json cannot be resumed, its {key} differ from this run's: "
                f"{before[key]}, now {content[key]}"
            )
    content["done"] = before["done"]
    known = {(c["name"], c["arithmetic"]): c["widths"] for c in before["contestants"]}
    for contestant in content["contestants"]:
        contestant["widths"] |= known.get((contestant["name"], contestant["arithmetic"]), {})


def _run_width(
    content: dict[str, Any],
    field: Sequence[Entry],
    problem: Problem,
    write: Callable[[], None],
    restart: Callable[[], None] | None,
) -> None:
    width, built = str(problem.num_hidden), {}
    outcomes = {e.key: c["widths"] for e, c in zip(field, content["contestants"])}
    expected = checks.naive_losses(problem)
    try:
        for entry in field:
            outcome = outcomes[entry.key].get(width, {})
            if "failed" not in outcome:
                outcomes[entry.key][width] = {"failed": guard.UNFINISHED}
                write()
                with guard.patience(restart):
                    contestant, outcome = guard.admit(entry, problem, expected)
                outcomes[entry.key][width] = outcome
                if contestant is not None:
                    built[entry.key] = contestant
            _say(f"  {entry.key:40} {_line(outcome)}")
            if "failed" in outcome:
                write()
                guard.require_device(entry.key)
        start = time.perf_counter()

        def failed(key: str, error: Exception) -> None:
            outcomes[key][width] = {"failed": guard.reason(error)}
            _say(f"  {key:40} {_line(outcomes[key][width])}")
            guard.require_device(key)

        def watch(key: str) -> AbstractContextManager[None]:
            def hangs() -> None:
                outcomes[key][width] = {"failed": guard.UNFINISHED}
                write()
                restart()

            return guard.patience(hangs if restart else None)

        few = 1 if content["repeats"] == QUICK else SLOW
        repeats = {key: few if c.slow else content["repeats"] for key, c in built.items()}
        for key, times in timing.measure(built, repeats, failed=failed, watch=watch).items():
            outcomes[key][width] |= times
            host, wall = times["host"]["median"], times["wall"]["median"]
            gpu = f", GPU {times['gpu']['median']:g}" if times["gpu"] else ""
            _say(f"  {key:40} {wall:8g} ms, host {host:g}{gpu}")
        _say(f"  timed in {time.perf_counter() - start:.1f} s")
    finally:
        write()
        for contestant in built.values():
            with contextlib.suppress(Exception):
                contestant.close()


def _line(outcome: dict[str, Any]) -> str:
    for what in ("absent", "failed"):
        if what in outcome:
            return f"{what}: {outcome[what]}"
    return f"checked, {outcome['check']}, {outcome['seconds']} s"


def _say(text: str) -> None:
    print(text)
    sys.stdout.flush()
