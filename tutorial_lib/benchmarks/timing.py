"""Epochs timed: all contestants in random order, each sample from the same weights.

Of each epoch, in milliseconds:

- *host*: until ``epoch()`` has returned. The GPU may still be busy.
- *wall*: until its result is there. This is the time that the record table gives.
- *gpu*: between two CUDA events on the current stream, which is CuPy's and PyTorch's default,
  around ``epoch()``: the work on that stream, and on streams that it waits for, with every gap in
  which the GPU had nothing to do. None for a contestant on another stream (JAX), and without a GPU.

`sweep` tells how long the GPU is busy without such gaps.
"""

import random
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import record
from tutorial_lib.benchmarks.contestant import Contestant

CLOCKS = ("host", "wall", "gpu")


def one_epoch(contestant: Contestant) -> dict[str, float | None]:
    """Host, wall and GPU time of one epoch from the initial weights, in milliseconds."""
    contestant.reset()
    contestant.wait()
    events = backend.name == "gpu" and contestant.on_default_stream
    if events:
        begin, end = xp.cuda.Event(), xp.cuda.Event()
        xp.cuda.Device().synchronize()
        begin.record()
    start = time.perf_counter()
    contestant.epoch()
    host = time.perf_counter() - start
    if events:
        end.record()
    contestant.wait()
    wall = time.perf_counter() - start
    gpu = None
    if events:
        end.synchronize()
        gpu = xp.cuda.get_elapsed_time(begin, end)
    return {"host": 1e3 * host, "wall": 1e3 * wall, "gpu": gpu}


def orders(
    repeats: Mapping[Hashable, int], shuffle: Callable[[list], None] = random.shuffle
) -> list[Hashable]:
    """Who runs when: in each round everybody who has repeats left, once, in random order."""
    order: list[Hashable] = []
    for turn in range(max(repeats.values(), default=0)):
        field = [key for key, count in repeats.items() if turn < count]
        shuffle(field)
        order += field
    return order


def measure(
    contestants: Mapping[Hashable, Contestant],
    repeats: Mapping[Hashable, int],
    *,
    warm_up: int = 1,
    failed: Callable[[Hashable, Exception], None],
    watch: Callable[[Hashable], AbstractContextManager[None]] = lambda key: nullcontext(),
) -> dict[Hashable, dict[str, Any]]:
    """Time each contestant `repeats` times: {its key: {clock: summary}}.

    One that raises is reported to `failed`, and takes no further part. A slow contestant is not
    warmed up. Each epoch, reset included, runs within ``watch(key)``.
    """
    samples: dict[Hashable, list[dict[str, float | None]]] = {key: [] for key in contestants}
    out = set()
    order = [key for key, c in contestants.items() for _ in range(0 if c.slow else warm_up)]
    warm = len(order)
    for turn, key in enumerate(order + orders(repeats)):
        if key in out:
            continue
        try:
            with watch(key):
                sample = one_epoch(contestants[key])
        except Exception as error:
            out.add(key)
            failed(key, error)
            continue
        if turn >= warm:
            samples[key].append(sample)
    return {key: summaries(list_) for key, list_ in samples.items() if list_ and key not in out}


def summaries(samples: list[dict[str, float | None]]) -> dict[str, Any]:
    """For each clock median, quartiles and samples, four digits each; None where it did not run."""
    result: dict[str, Any] = {}
    for clock in CLOCKS:
        values = [sample[clock] for sample in samples]
        result[clock] = None if None in values else rounded(values)
    return result


def rounded(values: list[float]) -> dict[str, Any]:
    """`record.summary` to four significant digits; of a single value, the value alone."""
    digits = [float(f"{value:.4g}") for value in values]
    summary = record.summary(digits if len(digits) > 1 else digits * 2)
    low, high = summary["quartiles"]
    return {
        "median": float(f"{summary['median']:.4g}"),
        "quartiles": [float(f"{low:.4g}"), float(f"{high:.4g}")],
        "samples": digits,
    }
