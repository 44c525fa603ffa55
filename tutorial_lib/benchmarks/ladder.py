"""The ladder: every rung of the book and every peer, each in a process of its own.

One that hangs, crashes, or takes its GPU context down with it ends as failed, with the reason; the
rest runs on. Two rounds in opposite order, their samples joined, even out what changes with time.
"""

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import readme
from tutorial_lib.benchmarks.contest import FLOAT32, TF32, Absent
from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, raw

WIDTHS = (30, 512, 8192)
LIMIT = 150.0  # seconds for a process


class Entrant(NamedTuple):
    """A line of the field: a name, "rung" or "peer", a script of this folder with its options."""

    name: str
    kind: str
    script: str
    arithmetic: str = FLOAT32
    widest: int = sys.maxsize


def _both(*line: str) -> list[Entrant]:
    return [Entrant(*line, arithmetic) for arithmetic in (FLOAT32, TF32)]


LOADER = "rung --network fused --images loaded --repeats 2"  # each takes seconds
FIELD = (
    Entrant("published loader", "rung", LOADER, widest=30),
    Entrant("published loop", "peer", "rung --network fused"),
    Entrant("naive CuPy", "peer", "rung --network naive"),
    Entrant("unchecked resets", "rung", "rung --network unchecked"),
    *_both("update in the matmul", "rung", "rung --network inplace"),
    *_both("captured epoch", "rung", "rung --network captured"),
    *_both("tuned algorithms", "rung", "rung --network tuned"),
    *_both("merged kernels", "rung", "rung --network merged"),
    Entrant("one kernel", "rung", "rung --network one-kernel", widest=512),
    *_both("PyTorch eager", "peer", "torch_peer --form eager"),
    *_both("PyTorch, one CUDA graph", "peer", "torch_peer --form graph"),
    *_both("torch.compile, one CUDA graph", "peer", "torch_peer --form compiled"),
    *_both("JAX scan", "peer", "jax_peer --unroll 1"),
    *_both("JAX scan, unrolled by 9", "peer", "jax_peer --unroll 9"),
)


def row_of(script: str, *, limit: float = LIMIT, **options: Any) -> dict[str, Any]:
    """The row that a script of this folder prints, within `limit` seconds, or why there is none."""
    name, *own = script.split()
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    command = [sys.executable, "-m", f"{__package__}.{name}", *given, *own]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {limit:g} s"}
    if done.returncode < 0:
        return {"failed": f"ended by {signal.Signals(-done.returncode).name}"}
    if done.returncode:
        return {"failed": done.stderr.strip().rpartition("\n")[2][:300]}
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"failed": f"printed no row but {done.stdout[-100:]!r}"}


def chosen(field: Sequence[Entrant], only: Sequence[str]) -> list[Entrant]:
    """Those whose "name, arithmetic" contains a part of `only`; Absent for a part that none has."""
    keys = [f"{entrant.name}, {entrant.arithmetic}" for entrant in field]
    if missing := [part for part in only if not any(part in key for key in keys)]:
        raise Absent(f"no name contains {missing[0]!r}; the names are: {'; '.join(keys)}")
    return [e for e, key in zip(field, keys) if any(part in key for part in only or ("",))]


def time_field(
    name: str, field: Sequence[Entrant], widths: Sequence[int], *, repeats: int, rounds: int = 2
) -> dict[str, Any]:
    """Check and time the field at each width, every other round reversed; print it; its record.

    The record is ``book/results/{name}.json``, written as it goes.
    """
    outcomes: dict[Entrant, dict[str, Any]] = {entrant: {} for entrant in field}
    record = {
        "what": "One epoch by every contestant, each in a process of its own, up to "
        f"{rounds} x {repeats} times",
        "unit": "milliseconds",
        "backend": backend.name,
        "data": describe_dataset(),
        "steps": len(raw(True)[1]) // BATCH_SIZE,
        "widths": list(widths),
        "contestants": [
            {"name": e.name, "kind": e.kind, "arithmetic": e.arithmetic, "widths": outcomes[e]}
            for e in field
        ],
    }
    turns = [entrant for turn in range(rounds) for entrant in field[:: (-1) ** turn]]
    for width, entrant in itertools.product(widths, turns):
        before = outcomes[entrant].get(str(width), {"wall": None})
        if width > entrant.widest or "wall" not in before:
            continue
        given = {"hidden": width, "arithmetic": entrant.arithmetic, "repeats": repeats}
        row = outcomes[entrant][str(width)] = row_of(entrant.script, **given)
        for clock in ("host", "gpu", "wall") if before["wall"] else ():
            if row.get(clock):
                row[clock] = results.summary(before[clock]["samples"] + row[clock]["samples"])
        said = row.get("absent") or row.get("failed") or f"{row['wall']['median']:g} ms"
        print(f"{width:5} {entrant.name}, {entrant.arithmetic}: {said}", flush=True)
        results.write(name, record)
    found = results.load(name)
    print(f"{readme.ladder(found)}\n\nWritten to {name}.json in book/results")
    return found


def run(
    command: str, *, widths: Sequence[int] = WIDTHS, quick: bool = False, only: Sequence[str] = ()
) -> None:
    """Check and time the contestants of the command, ladder or peers, whose names contain `only`.

    Writes ``book/results/{command}_cpu.json``, ``_quick`` or ``_part`` as it goes. Once a run is
    whole, on a GPU, it becomes ``{command}.json``, and the ladder's table goes into the README.
    """
    field = chosen([e for e in FIELD if command == "ladder" or e.kind == "peer"], only)
    name = f"{command}_{'cpu' if backend.name == 'cpu' else 'quick' if quick else 'part'}"
    found = time_field(name, field, widths, repeats=5 if quick else 8, rounds=1 if quick else 2)
    if name == f"{command}_part" and not only and tuple(widths) == WIDTHS:
        results.write(command, found)
        if command == "ladder":
            put()


def put() -> None:
    """Write the table of the ladder's record into the README."""
    readme.put(readme.BEGIN, readme.ladder(results.ladder()))
