"""The ladder: every rung of the book and every peer, each in a process of its own.

One that hangs, crashes, or takes its GPU context down with it ends as failed, with the reason; the
rest runs on. Two rounds in opposite order, their samples joined, even out what changes with time.
"""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import readme
from tutorial_lib.benchmarks.contest import ARITHMETICS, BFLOAT16, FLOAT32, HALF, TF32, Absent
from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, raw

WIDTHS = (30, 512, 8192)


class Entrant(NamedTuple):
    """A line of the field: a name, "rung" or "peer", a script of this folder with its options."""

    name: str
    kind: str
    script: str
    arithmetic: str = FLOAT32
    widest: int | None = None  # hidden units
    narrowest: int = 1


def _in(arithmetics: Sequence[str], *line: str, narrowest: int = 1) -> list[Entrant]:
    starts = {a: 512 if a in HALF else narrowest for a in arithmetics}
    return [Entrant(*line, a, narrowest=start) for a, start in starts.items()]


BOTH = FLOAT32, TF32
LOADER = "rung --network fused --images loaded --repeats 2"  # each takes seconds
OWN_HALF = "rung --network half --plans OwnEpilogPlans"
FIELD = (
    Entrant("published loader", "rung", LOADER, widest=30),
    Entrant("published loop", "peer", "rung --network fused"),
    Entrant("naive CuPy", "peer", "rung --network naive"),
    Entrant("unchecked resets", "rung", "rung --network unchecked"),
    *_in(BOTH, "update in the matmul", "rung", "rung --network inplace"),
    *_in(BOTH, "captured epoch", "rung", "rung --network captured"),
    *_in(BOTH, "tuned algorithms", "rung", "rung --network tuned"),
    *_in(BOTH, "own epilog", "rung", "rung --network own-epilog", narrowest=512),
    *_in(BOTH, "merged kernels", "rung", "rung --network merged"),
    Entrant("one kernel", "rung", "rung --network one-kernel", widest=512),
    *_in(HALF, "half precision", "rung", "rung --network half"),
    *_in([BFLOAT16], "half precision, own epilog", "rung", OWN_HALF),
    *_in(BOTH, "PyTorch eager", "peer", "torch_peer --form eager"),
    *_in(ARITHMETICS, "PyTorch, one CUDA graph", "peer", "torch_peer --form graph"),
    *_in(ARITHMETICS, "torch.compile, one CUDA graph", "peer", "torch_peer --form compiled"),
    *_in(BOTH, "JAX scan", "peer", "jax_peer --unroll 1"),
    *_in(ARITHMETICS, "JAX scan, unrolled by 9", "peer", "jax_peer --unroll 9"),
)
CPU_FIELD = (
    Entrant("bare NumPy loop", "peer", "numpy_loop"),
    Entrant("MnistNetNaive", "rung", "rung --network naive"),
    Entrant("MnistNet", "rung", "rung --network fused"),
)


def row_of(script: str, *, limit: float = 150, **options: Any) -> dict[str, Any]:
    """The row that a script of this folder prints, within `limit` seconds, or why there is none."""
    name, *own = script.split()
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    command = [sys.executable, "-m", f"{__package__}.{name}", *given, *own]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {limit:g} s"}
    rows = re.findall(r"^{.*}$", done.stdout, re.MULTILINE)
    if done.returncode or not rows:
        said = done.stderr.strip().rpartition("\n")[2]
        return {"failed": f"status {done.returncode} after {len(rows)} rows: {said[:300]}"}
    return json.loads(rows[-1])


def take_turn(contestant: dict[str, Any], width: int, **options: Any) -> None:
    """Run a contestant at a width, unless it failed there; its samples join the earlier ones."""
    before = contestant["widths"].get(str(width))
    fits = contestant["narrowest"] <= width <= (contestant["widest"] or width)
    if not fits or (before and "wall" not in before):
        return
    options |= {"hidden": width, "arithmetic": contestant["arithmetic"]}
    row = contestant["widths"][str(width)] = row_of(contestant["script"], **options)
    for clock in ("host", "gpu", "wall"):
        if before and row.get(clock):
            row[clock] = results.summary(before[clock]["samples"] + row[clock]["samples"])
    said = row.get("absent") or row.get("failed") or f"{row['wall']['median']:g} ms"
    print(f"{width:5} {contestant['name']}, {contestant['arithmetic']}: {said}", flush=True)


def run(
    command: str,
    field: Sequence[Entrant],
    all_widths: Sequence[int],
    steps: int | None = None,
    sources: Sequence[str] = (),
    rounds: int = 2,
    *,
    widths: Sequence[int] | None = None,
    quick: bool = False,
    only: Sequence[str] = ("",),
) -> None:
    """Check and time those of the field whose "name, arithmetic" contains a part of `only`.

    In so many `rounds`, 16 times in all. Writes ``book/results/{command}_cpu.json``, ``_quick`` or
    ``_part`` as it goes, with digests of the `sources`. Once a run is whole, on a GPU, it becomes
    ``{command}.json``, and the ladder's table goes into the README.
    """
    chosen = [e for e in field if any(part in f"{e.name}, {e.arithmetic}" for part in only)]
    if not chosen:
        raise Absent(f"no name contains any of {only}: {'; '.join(e.name for e in field)}")
    rounds, repeats = (1, 5) if quick else (rounds, 16 // rounds)
    name = f"{command}_{'cpu' if backend.name == 'cpu' else 'quick' if quick else 'part'}"
    record = {
        "what": f"One epoch by every contestant, in its own process, {rounds} x {repeats} times",
        "unit": "milliseconds",
        "backend": backend.name,
        "data": describe_dataset(),
        "steps": steps or len(raw(True)[1]) // BATCH_SIZE,
        "widths": list(widths or all_widths),
        "contestants": [entrant._asdict() | {"widths": {}} for entrant in chosen],
    }
    for width, turn in itertools.product(record["widths"], range(rounds)):
        for contestant in record["contestants"][:: (-1) ** turn]:
            take_turn(contestant, width, repeats=repeats, steps=record["steps"])
            results.write(name, record, sources=sources)
    if name == f"{command}_part" and len(chosen) == len(field) and not widths:
        results.write(command, record, sources=sources)
        if command == "ladder":
            put()
    print(f"{readme.ladder(results.load(name))}\n\nWritten to {name}.json in book/results")


def put() -> None:
    """Write the table of the ladder's record into the README."""
    readme.put(readme.BEGIN, readme.ladder(results.ladder()))
