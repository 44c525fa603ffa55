"""One rank of the scaling benchmark: `scaling` starts it under torchrun."""

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import record
from tutorial_lib.distributed.gradients import FlatGradients
from tutorial_lib.distributed.networks import NETWORKS
from tutorial_lib.distributed.ranks import Ranks, run

BLOCK = 0.03  # seconds of work per sample, so that the clock's own cost does not count


def samples(
    ranks: Ranks, contestants: dict[str, Callable[[], None]], repeats: int
) -> dict[str, list[float]]:
    """Seconds per call of each contestant, `repeats` times, in random order, after warming up."""

    def block(call: Callable[[], None], calls: int) -> float:
        ranks.wait_for_all(ranks.timeout)
        start = time.perf_counter()
        for _ in range(calls):
            call()
        if backend.name == "gpu":
            xp.cuda.Device().synchronize()
        return (time.perf_counter() - start) / calls

    calls = {}
    for name, call in contestants.items():
        block(call, 3)
        once = block(call, 3)
        calls[name] = ranks.agree(lambda: max(1, round(BLOCK / once)))  # noqa: B023
    order, found = random.Random(0), {name: [] for name in contestants}  # one order on all ranks
    for _ in range(repeats):
        for name in order.sample(list(contestants), len(contestants)):
            found[name].append(block(contestants[name], calls[name]))
    return found


def measure_all_reduce(ranks: Ranks, sizes: list[int], repeats: int) -> list[dict[str, Any]]:
    """The all-reduce alone, for each size in bytes."""
    import torch

    tensors = {size: torch.from_dlpack(xp.zeros(size // 4, dtype=xp.float32)) for size in sizes}
    contestants = {str(size): lambda t=tensor: ranks.sum(t) for size, tensor in tensors.items()}
    found = samples(ranks, contestants, repeats)
    return [
        {"ranks": ranks.size, "bytes": int(size)} | record.summary(times)
        for size, times in found.items()
    ]


def measure_step(ranks: Ranks, net: str, width: int, batch: int, repeats: int) -> list[dict]:
    """A training step of `batch` images per rank: without exchange, with it, overlapped."""
    numbers = xp.random.default_rng(ranks.rank)
    images = numbers.standard_normal((batch, 784), dtype=xp.float32)
    labels = xp.arange(batch) % 10
    with NETWORKS[net](784, width, 10) as model:
        gradients = FlatGradients(model, ranks)

        def update() -> None:
            for parameter, gradient in zip(model.parameters, gradients.views):
                parameter -= 1e-4 * gradient

        def compute() -> None:
            gradients.compute_output(model, images, labels)
            gradients.compute_hidden(model)
            update()

        def exchange(overlap: bool) -> None:
            gradients.compute(model, images, labels, overlap=overlap)
            update()

        contestants = {
            "compute": compute,
            "exchange": lambda: exchange(False),
            "overlap": lambda: exchange(True),
        }
        found = samples(ranks, contestants, repeats)
    point = {"ranks": ranks.size, "width": width, "batch_per_rank": batch}
    return [point | {"mode": mode} | record.summary(times) for mode, times in found.items()]


def measure(ranks: Ranks, plan: dict[str, Any]) -> dict[str, Any]:
    """All that `plan` lists, on this number of ranks; the times are rank 0's."""
    steps = []
    for width in plan["widths"]:
        for batch in plan["batches"]:
            steps += measure_step(ranks, plan["net"], width, batch, plan["repeats"])
    all_reduce = []
    if ranks.size > 1:
        all_reduce = measure_all_reduce(ranks, plan["bytes"], plan["repeats"])
    return {"engine": ranks.engine, "all_reduce": all_reduce, "steps": steps}


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])

    def work(ranks: Ranks) -> None:
        """Measure; rank 0 writes the file."""
        found = measure(ranks, plan)
        if ranks.rank == 0:
            Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")

    run(work, engine=plan["engine"], timeout=60)
