"""The ladder: every rung of the book and every peer in one run, its record and its table."""

from collections.abc import Sequence
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import readme
from tutorial_lib.benchmarks.contest import FLOAT32, HALF, TF32, Absent
from tutorial_lib.benchmarks.field import FIELD, WIDTHS, Entrant, sources
from tutorial_lib.benchmarks.turns import race
from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, raw
from tutorial_lib.networks.base import step_flops


def run(
    *,
    widths: Sequence[int] = WIDTHS,
    quick: bool = False,
    only: Sequence[str] = ("",),
    field: Sequence[Entrant] = FIELD,
    steps: int | None = None,
) -> None:
    """Check and time those of the field whose "name, arithmetic" contains a part of `only`.

    Writes ``book/results/ladder_cpu.json``, ``_quick`` or ``_part`` as it goes. Once a run is
    whole, on a GPU, it becomes ``ladder.json``, and its table goes into the README.
    """
    chosen = [e for e in field if any(part in f"{e.name}, {e.arithmetic}" for part in only)]
    if not chosen:
        raise Absent(f"no name contains any of {only}: {'; '.join(e.name for e in field)}")
    rounds, repeats = (1, 5) if quick else (2, 8)
    steps = steps or len(raw(True)[1]) // BATCH_SIZE
    name = f"ladder_{'cpu' if backend.name == 'cpu' else 'quick' if quick else 'part'}"
    digests = {e: {"sources": {s: results.digest(s) for s in sources(e)}} for e in chosen}
    lines = {e: e._asdict() | digests[e] | {"widths": {}} for e in chosen}
    record = {
        "what": f"One epoch by every contestant, in its own process, {rounds} x {repeats} times",
        "unit": "milliseconds",
        "backend": backend.name,
        "data": describe_dataset(),
        "steps": steps,
        "widths": list(widths),
        "contestants": list(lines.values()),
    }
    for width in widths:
        fit = [e for e in chosen if e.narrowest <= width <= (e.widest or width)]
        for contestant in race(fit, rounds, hidden=width, steps=steps, repeats=repeats):
            lines[contestant.entrant]["widths"][str(width)] = contestant.row
            results.write(name, record)
    if name == "ladder_part" and (len(chosen), widths) == (len(FIELD), WIDTHS):
        results.write("ladder", record)
        put()
    print(f"{readme.ladder(results.load(name))}\n\nWritten to {name}.json in book/results")


def floor(record: dict[str, Any], contestant: dict[str, Any], width: int) -> float:
    """Milliseconds that its epoch takes at least: its matmuls at the card's peak for their
    arithmetic, or its images read from memory once, whichever is longer."""
    card, arithmetic = results.card(record["machine"]), contestant["arithmetic"]
    rate = {FLOAT32: card.peak, TF32: card.tf32}.get(arithmetic, 2 * card.tf32)
    rate = card.tf32 / 3 if "3xTF32" in contestant["name"] else rate
    images = BATCH_SIZE * 784 * (2 if arithmetic in HALF else 4)
    seconds = record["steps"] * max(step_flops(width) / rate, images / card.bandwidth)
    return 1e3 * seconds


def put() -> None:
    """Write the table of the ladder's record into the README."""
    readme.put(readme.BEGIN, readme.ladder(results.load("ladder")))
