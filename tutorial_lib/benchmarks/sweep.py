"""When does fusion pay? Host and GPU time of one step, apart, over width and batch size.

The steps of the plain and the published network are those of the book: forward, ``(p - t) / n``,
backward, update, with targets prepared beforehand and no loss. The faster networks take their own
steps, loss included. All times are per step: *host* until all steps are enqueued, *wall*
until they are done, *gpu* behind a delay (`delay`), None where the host cannot get ahead.
"""

import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import delay, guard, record
from tutorial_lib.benchmarks.contestant import FLOAT32, Absent, Contestant, Problem, chosen
from tutorial_lib.benchmarks.rungs import Rung
from tutorial_lib.benchmarks.steps import NETWORKS
from tutorial_lib.benchmarks.timing import rounded
from tutorial_lib.dataset import describe_dataset, normalized

WIDTHS = (30, 128, 512, 2048, 8192)
BATCHES = (64, 256, 1024, 4096)
REPEATS, QUICK = 11, 5


def run(
    *,
    widths: Sequence[int] = WIDTHS,
    batches: Sequence[int] = BATCHES,
    quick: bool = False,
    only: Sequence[str] = (),
    data: tuple[xp.ndarray, xp.ndarray] | None = None,
) -> dict[str, Any]:
    """Measure, print, and write ``book/results/sweep.json`` after each case; returns the record.

    Without a GPU, ``sweep_cpu.json``; with a part of the cases, ``sweep_part.json``. `only`: parts
    of names; raises Absent for one that is in no name.
    """
    images, labels = data or normalized(True)
    repeats = QUICK if quick else REPEATS
    part = only or data or (tuple(widths), tuple(batches)) != (WIDTHS, BATCHES)
    name = "sweep_cpu" if backend.name != "gpu" else "sweep_part" if part else "sweep"
    content: dict[str, Any] = {
        "what": "one training step of four networks over width and batch size, host and GPU apart",
        "unit": "microseconds a step",
        "clocks": __doc__,
        "machine": record.device(),
        "backend": backend.name,
        "data": describe_dataset(),
        "repeats": repeats,
        "widths": list(widths),
        "batches": list(batches),
        "cases": [],
    }
    networks = {name: NETWORKS[name] for name in chosen(NETWORKS, only)}
    packages, start = record.installed(), time.perf_counter()
    for case in itertools.product(widths, batches, networks.items()):
        content["cases"].append(_case(*case, images, labels, repeats))
        _show(content["cases"][-1], time.perf_counter() - start)
        path = record.write(name, packages, content)
    print(f"Written to {path.name} in book/results")
    return content


def _case(
    width: int,
    batch: int,
    named: tuple[str, tuple[type[Rung], str, int]],
    images: xp.ndarray,
    labels: xp.ndarray,
    repeats: int,
) -> dict[str, Any]:
    name, (cls, network, limit) = named
    steps = min(limit, len(images) // batch)
    case: dict[str, Any] = {"network": name, "width": width, "batch": batch, "steps": steps}
    contestant = None
    try:
        if not steps:
            raise Absent(f"{len(images)} images do not fill a batch")
        m = steps * batch
        problem = Problem(width, images[:m], labels[:m], batch_size=batch)
        contestant = cls(problem, FLOAT32, network=network)
        return case | measure(contestant, steps, repeats)
    except (Absent, ImportError) as error:
        return case | {"absent": guard.reason(error)}
    except Exception as error:
        guard.require_device(name)
        return case | {"failed": guard.reason(error)}
    finally:
        if contestant is not None:
            with contextlib.suppress(Exception):
                contestant.close()


def measure(contestant: Contestant, steps: int, repeats: int) -> dict[str, Any]:
    """Host, wall and GPU time of a step, in microseconds, summarized over `repeats` epochs."""
    for _ in range(2):  # plans, captures, compiles
        contestant.epoch()
        contestant.wait()
    host, wall, gpu = [], [], []
    for _ in range(repeats):
        _afresh(contestant)
        start = time.perf_counter()
        contestant.epoch()
        host.append(time.perf_counter() - start)
        contestant.wait()
        wall.append(time.perf_counter() - start)
    if backend.name == "gpu":
        enqueued = 1e3 * statistics.median(host)
        while len(gpu) < repeats and None not in gpu:
            _afresh(contestant)
            gpu.append(delay.gpu_milliseconds(contestant.epoch, enqueued))
    ahead = gpu and None not in gpu
    return {
        "host": rounded([1e6 * t / steps for t in host]),
        "wall": rounded([1e6 * t / steps for t in wall]),
        "gpu": rounded([1e3 * t / steps for t in gpu]) if ahead else None,
    }


def _afresh(contestant: Contestant) -> None:
    contestant.reset()  # else some would train on until their losses are not finite
    contestant.wait()


def _show(case: dict[str, Any], seconds: float) -> None:
    for what in ("absent", "failed"):
        if what in case:
            text = f"{what}: {case[what]}"
    if "wall" in case:
        gpu = f"{case['gpu']['median']:9g}" if case["gpu"] else f"{'-':>9}"
        host, wall = case["host"]["median"], case["wall"]["median"]
        text = f"host {host:9g}  gpu {gpu}  wall {wall:9g} µs a step"
    where = f"{case['width']:5} x {case['batch']:5}  {case['network']:22}"
    print(f"{where} {text}  ({seconds:.0f} s)")
    sys.stdout.flush()
