"""When does fusion pay? Host and GPU time of one step, over width and batch size.

Each case is a contestant in a process of its own, checked, then timed over `STEPS` steps: launched
one by one, these stay below what CUDA's queue holds, so that the host is timed and not the queue.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.benchmarks.ladder import FIELD, chosen, row_of
from tutorial_lib.dataset import describe_dataset

WIDTHS = (30, 128, 512, 2048, 8192)
BATCHES = (64, 256, 1024, 4096)
STEPS = 14  # of the largest batches, there are no more
NAMES = ("naive CuPy", "published loop", "update in the matmul", "captured epoch")


def run(
    *, widths: Sequence[int] = WIDTHS, quick: bool = False, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Measure, print, and write ``book/results/sweep.json``, ``_cpu`` or ``_part``, as it goes."""
    field = chosen([e for e in FIELD if e.name in NAMES and e.arithmetic == "float32"], only)
    part = quick or only or tuple(widths) != WIDTHS
    name = "sweep_cpu" if backend.name == "cpu" else "sweep_part" if part else "sweep"
    record: dict[str, Any] = {
        "what": f"{STEPS} training steps of four networks over width and batch size",
        "unit": f"milliseconds for {STEPS} steps",
        "data": describe_dataset(),
        "cases": [],
    }
    for width, batch, entrant in itertools.product(widths, BATCHES, field):
        size = {"hidden": width, "batch": batch, "steps": STEPS, "repeats": 5 if quick else 11}
        case = {"network": entrant.name, "width": width, "batch": batch}
        record["cases"].append(case | row_of(entrant.script, **size))
        print(record["cases"][-1], flush=True)
        results.write(name, record)
    return record
