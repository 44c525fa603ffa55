"""`python -m tutorial_lib.distributed.scaling 2`: steps on two ranks, and the all-reduce alone.

Several numbers of ranks, `2 4`, are measured one after the other, into one record.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.backend import xp
from tutorial_lib.distributed.data_parallel import InPlaceDataParallel, OverlappedDataParallel
from tutorial_lib.distributed.ranks import Ranks, run, same_stream, torchrun
from tutorial_lib.distributed.trainer import PARALLEL, on_ranks
from tutorial_lib.graphs import CapturedWork
from tutorial_lib.networks import MnistNetInPlace
from tutorial_lib.timing import measure

WIDTHS, BATCHES = (30, 512, 2048, 8192), (256, 1024, 4096, 16384)
COMPARED = [(30, 256), (2048, 4096), (8192, 256), (8192, 4096)]  # width, images each: with others
if backend.name == "cpu":
    WIDTHS, BATCHES, COMPARED = (30, 256, 1024), (256, 1024), [(30, 256), (1024, 1024)]
BYTES = [2**k for k in range(6, 27)]  # of an all-reduce
# Of an all-reduce: one array, such as the logits; or four, as the gradients of a network are.
SHAPES = [(1,), (784 / 795, 10 / 795, 1 / 795, 1 / 795)]
BLOCK = 0.04  # seconds of a sample: so many calls that the start of the first does not count
REPEATS = 15
SOURCES = [f"distributed/{name}.py" for name in ("data_parallel", "tensor_parallel", "ranks")]
SOURCES += ["distributed/scaling.py", "networks/inplace.py", "networks/plans.py", "graphs.py"]


class NoRanks:
    """In place of `Ranks`, for a process alone: what would travel stays."""

    def sum(self, *arrays: Any, mean: bool) -> None:
        """Leave the arrays as they are."""


class InFourPieces(OverlappedDataParallel):
    """W_h in four pieces: each travels while the next is computed."""

    pieces = 4


def time_calls(
    call: Callable[[], Any], ranks: Ranks | None = None, *, captured: bool = True
) -> dict[str, Any]:
    """A summary of the seconds per call: in a graph of many on a GPU, otherwise from Python."""
    times = 1 + int(BLOCK / measure(call, repeats=3).wall.min())
    times = ranks.gather(times)[0] if ranks else times  # all ranks call as often

    def calls() -> None:
        for _ in range(times):
            call()

    if not captured or backend.name == "cpu":
        return results.summary(measure(calls, repeats=REPEATS).wall / times)
    graph = CapturedWork(calls)
    block = measure(graph.replay, repeats=REPEATS)
    graph.free()
    return results.summary(block.wall / times)


def time_step(net: Any, batch: int, ranks: Ranks | None = None) -> dict[str, Any]:
    """A training step of `net`, which is freed, on a batch: of this process, or over all ranks."""
    with net:
        images = xp.random.default_rng(0).standard_normal((batch, 784), dtype=xp.float32)
        labels, loss = xp.arange(batch) % 10, xp.zeros(1, dtype=xp.float32)
        if ranks:
            images, labels, _ = net.share(images, labels, batch)
        return time_calls(lambda: net.step(images, labels, loss, 1e-4), ranks)


def torch_step(width: int, batch: int, *, parallel: bool) -> Callable[[], None]:
    """The peer: a step of PyTorch on a rank's share of a batch, with DistributedDataParallel."""
    import torch
    from torch import nn

    device = "cuda" if backend.name == "gpu" else "cpu"
    images, targets = torch.randn(batch, 784, device=device), torch.rand(batch, 10, device=device)
    net = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10)).to(device)
    net = nn.parallel.DistributedDataParallel(net) if parallel else net
    loss, descent = nn.BCEWithLogitsLoss(), torch.optim.SGD(net.parameters(), lr=1e-4)

    def step() -> None:
        with same_stream():
            descent.zero_grad()
            loss(net(images), targets).backward()
            descent.step()

    return step


def batches(size: int) -> list[int]:
    """The images of a step over all ranks: as many as one takes alone, and as many for each."""
    return sorted({*BATCHES, *(size * batch for batch in BATCHES)})


def alone(size: int) -> list[tuple[int, int]]:
    """Width and batch of a rank alone: of each point, and of what a rank computes of it."""
    points = set(product(WIDTHS, BATCHES))
    for width, batch in product(WIDTHS, batches(size)):
        points |= {(width, batch // size), (width // size, batch)}
    return sorted(points)


def scale(ranks: Ranks) -> dict[str, list]:
    """Measure as one of several ranks; the rows of all, which rank 0 prints as they come."""
    steps, sums, size = [], [], ranks.size

    def note(rows: list, times: dict[str, Any], **point: Any) -> None:
        rows.append(point | times)
        if ranks.rank == 0:
            print(point, times["median"], flush=True)

    kinds = {"none": MnistNetInPlace, "data": partial(InPlaceDataParallel, NoRanks())}
    points = [(*point, kind) for point, kind in product(alone(size), kinds)]
    for width, batch, kind in points[ranks.rank :: size]:
        times = time_step(kinds[kind](784, width, 10), batch)
        note(steps, times, ranks=1, width=width, batch=batch, parallel=kind)
    steps = [row for rows in ranks.gather(steps) for row in rows]
    for width, batch, parallel in product(WIDTHS, batches(size), PARALLEL):
        net = on_ranks(parallel, MnistNetInPlace, ranks, 784, width, 10)
        times = time_step(net, batch, ranks)
        note(steps, times, ranks=size, width=width, batch=batch, parallel=parallel)
    for width, each in COMPARED:
        times = time_step(InFourPieces(ranks, 784, width, 10), size * each, ranks)
        note(steps, times, ranks=size, width=width, batch=size * each, parallel="pieces")
        for several in (True, False):
            times = time_calls(torch_step(width, each, parallel=several), ranks, captured=False)
            ranked = size if several else 1
            note(steps, times, ranks=ranked, width=width, batch=ranked * each, parallel="torch")
    for in_graph, parts, length in product((True, False), SHAPES, BYTES):
        arrays = [xp.zeros(1 + int(part * length - 1) // 4, dtype=xp.float32) for part in parts]
        times = time_calls(partial(ranks.sum, *arrays), ranks, captured=in_graph)
        note(sums, times, ranks=size, bytes=length, arrays=len(parts), captured=in_graph)
    return {"steps": steps, "all_reduce": sums}


def main(sizes: Sequence[int]) -> None:
    """Measure on each number of ranks, and write the record."""
    found: dict[str, list] = {"steps": [], "all_reduce": []}
    engine = "nccl" if backend.name == "gpu" else "gloo"
    what = "steps of 784-H-10 on ranks of one host, float32, in-place network; the all-reduce alone"
    head = {"what": what, "engine": engine, "unit": "seconds a call"}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.json")
            torchrun(size, "tutorial_lib.distributed.scaling", path, engine, check=True)
            for name, rows in json.loads(path.read_text(encoding="utf-8")).items():
                found[name] += rows
        ending = "" if engine == "nccl" else "_gloo_cpu"
        results.write(f"scaling{ending}", head | found, sources=SOURCES)


def be_a_rank(path: str, engine: str) -> None:
    """Measure; rank 0 writes the rows to `path`."""

    def work(ranks: Ranks) -> None:
        rows = scale(ranks)
        if ranks.rank == 0:
            Path(path).write_text(json.dumps(rows), encoding="utf-8")

    run(work, engine, 600.0)


if __name__ == "__main__" and "RANK" in os.environ:
    be_a_rank(*sys.argv[1:])
elif __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [2])
