"""`python -m tutorial_lib.distributed.scaling`: steps on two ranks, and the all-reduce alone."""

import os
from collections.abc import Callable
from itertools import product
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.backend import xp
from tutorial_lib.distributed.gradients import FlatGradients
from tutorial_lib.distributed.ranks import Ranks, run, torchrun
from tutorial_lib.networks import MnistNetNaive
from tutorial_lib.timing import measure

WIDTHS, BATCHES = (30, 512, 2048, 8192), (256, 4096)
BYTES = [4**k for k in range(3, 14)]  # of an all-reduce; fewer do not make a ring of chunks
BLOCK = 0.03  # seconds of a sample: so many calls that the start of the first does not count
REPEATS = 15


def time_calls(ranks: Ranks, call: Callable[[], Any]) -> dict[str, Any]:
    """A summary of this rank's seconds per call."""
    ranks.gather()
    once = measure(call, repeats=3).wall.min()
    times = ranks.gather(1 + int(BLOCK / once))[0]  # all ranks call as often
    block = measure(lambda: [call() for _ in range(times)], repeats=REPEATS, warm_up=0)
    return results.summary(block.wall / times)


def time_step(ranks: Ranks, size: int, width: int, batch: int, mode: str) -> dict[str, Any]:
    """A training step of `batch` images on each of the first `size` ranks; the others are idle."""
    images = xp.random.default_rng(ranks.rank).standard_normal((batch, 784), dtype=xp.float32)
    labels = xp.arange(batch) % 10
    model = MnistNetNaive(784, width, 10)
    gradients = FlatGradients(model, ranks)

    def step() -> None:
        if mode != "compute":
            gradients.compute(images, labels, overlap=mode == "overlap")
            gradients.update(1e-4)
        elif ranks.rank < size:
            model.step(images, labels, gradients.loss, 1e-4)

    point = {"ranks": size, "width": width, "batch_per_rank": batch, "mode": mode}
    return point | time_calls(ranks, step)


def scale(ranks: Ranks) -> None:
    """Measure as one of two ranks; rank 0 writes the record."""
    import torch

    steps, sums = [], []
    for width, batch in product(WIDTHS, BATCHES):
        for part, mode in product((batch // 2, batch), ("compute", "exchange", "overlap")):
            steps.append(time_step(ranks, 2, width, part, mode))
        steps.append(time_step(ranks, 1, width, batch, "compute"))
    for size in BYTES:
        tensor = torch.from_dlpack(xp.zeros(size // 4, dtype=xp.float32))
        times = time_calls(ranks, lambda t=tensor: ranks.begin_sum(t).wait())
        sums.append({"ranks": 2, "bytes": size} | times)
    if ranks.rank == 0:
        hardware = "one CPU core per rank" if backend.name == "cpu" else results.machine()
        record = {"engine": ranks.engine, "hardware": hardware, "net": "naive"}
        ending = "" if ranks.engine == "nccl" else f"_gloo_{backend.name}"
        results.write(f"scaling{ending}", record | {"all_reduce": sums, "steps": steps})


if __name__ == "__main__" and "RANK" in os.environ:
    run(scale)
elif __name__ == "__main__":
    torchrun(2, "tutorial_lib.distributed.scaling", check=True)
