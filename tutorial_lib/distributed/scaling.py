"""`python -m tutorial_lib.distributed.scaling`: strong and weak scaling, and the all-reduce alone.

Writes ``book/results/scaling.json`` on NCCL, ``scaling_gloo_cpu.json`` or ``_gpu.json`` on gloo.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.backend import xp
from tutorial_lib.distributed.gradients import FlatGradients
from tutorial_lib.distributed.ranks import Ranks, run
from tutorial_lib.distributed.start import torchrun
from tutorial_lib.networks import NETWORKS
from tutorial_lib.timing import measure

PACKAGES = "numpy", "torch", "cupy-cuda12x", "cupy-cuda13x", "nvmath-python"
BYTES = [4**k for k in range(3, 14)]  # of an all-reduce; fewer do not make a ring of chunks
BLOCK = 0.03  # seconds of work per sample, so that the clock's own cost does not count


def time_calls(ranks: Ranks, calls: dict[Any, Callable[[], Any]], repeats: int) -> dict[Any, Any]:
    """For each of `calls`, measured in turn, a summary of this rank's seconds per call."""

    def seconds(call: Callable[[], Any], times: int) -> float:
        ranks.gather()
        block = measure(lambda: [call() for _ in range(times)], repeats=1, warm_up=0)
        return float(block.wall[0]) / times

    once = {name: min(seconds(call, 3) for _ in range(2)) for name, call in calls.items()}
    times = ranks.gather({name: max(1, round(BLOCK / once[name])) for name in calls})[0]
    rounds = [{name: seconds(calls[name], times[name]) for name in calls} for _ in range(repeats)]
    return {name: results.summary([found[name] for found in rounds]) for name in calls}


def time_step(ranks: Ranks, net: str, width: int, batch: int, repeats: int) -> dict[str, Any]:
    """A training step of `batch` images per rank: without exchange, with it, overlapped."""
    images = xp.random.default_rng(ranks.rank).standard_normal((batch, 784), dtype=xp.float32)
    labels = xp.arange(batch) % 10
    with NETWORKS[net](784, width, 10) as model:
        gradients = FlatGradients(model, ranks)

        def step(mode: str) -> None:
            if mode == "compute":
                gradients.compute_hidden(gradients.compute_output(images, labels))
            else:
                gradients.compute(images, labels, overlap=mode == "overlap")
            gradients.update(1e-4)

        modes = "compute", "exchange", "overlap"
        return time_calls(ranks, {mode: lambda m=mode: step(m) for mode in modes}, repeats)


def time_all(ranks: Ranks, options: argparse.Namespace) -> None:
    """All that `options` list, on this number of ranks; rank 0 prints its times as JSON."""
    import torch

    found: dict[str, Any] = {"engine": ranks.engine, "all_reduce": [], "steps": []}
    batches = sorted({batch // ranks.size for batch in options.batches} | {*options.batches})
    for width, batch in product(options.widths, batches):
        point = {"ranks": ranks.size, "width": width, "batch_per_rank": batch}
        times = time_step(ranks, options.net, width, batch, options.repeats)
        found["steps"] += [point | {"mode": mode} | times[mode] for mode in times]
    if ranks.size > 1:
        tensors = {n: torch.from_dlpack(xp.zeros(n // 4, dtype=xp.float32)) for n in BYTES}
        sums = {n: lambda n=n: ranks.begin_sum(tensors[n]).wait() for n in BYTES}
        times = time_calls(ranks, sums, options.repeats)
        found["all_reduce"] = [{"ranks": ranks.size, "bytes": n} | times[n] for n in BYTES]
    if ranks.rank == 0:
        print(json.dumps(found))


def main(arguments: list[str] | None = None) -> None:
    """Measure on each number of ranks in turn, and write the record."""
    parser = argparse.ArgumentParser(prog="tutorial_lib.distributed.scaling", description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--widths", type=int, nargs="+", default=[30, 512, 2048, 8192])
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 4096])
    parser.add_argument("--net", choices=["fused", "naive"], default="naive")
    parser.add_argument("--engine", choices=["nccl", "gloo"])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args(arguments)
    if any(batch % ranks for batch, ranks in product(options.batches, options.ranks)):
        parser.error("--batches must be divisible by each of --ranks")
    hardware = "one CPU core per rank"
    if backend.name == "gpu":
        name = xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        hardware = f"{xp.cuda.runtime.getDeviceCount()} x {name}"
    what = "data-parallel training on one host: steps, and the all-reduce alone"
    record = {"what": what, "engine": "", "hardware": hardware, "net": options.net}
    record |= {"unit": "seconds, rank 0's clock", "all_reduce": [], "steps": []}
    for ranks in options.ranks:
        command = ranks, "tutorial_lib.distributed.scaling", json.dumps(vars(options))
        found = json.loads(torchrun(*command, check=True, stdout=subprocess.PIPE).stdout)
        record["engine"] = found["engine"]
        record["all_reduce"] += found["all_reduce"]
        record["steps"] += found["steps"]
    ending = "" if record["engine"] == "nccl" else f"_gloo_{backend.name}"
    path = results.write(f"scaling{ending}", record, packages=PACKAGES)
    print(f"Written to {path.name} in book/results")


if __name__ == "__main__" and "RANK" not in os.environ:
    main()
elif __name__ == "__main__":
    given = argparse.Namespace(**json.loads(sys.argv[1]))
    run(lambda ranks: time_all(ranks, given), engine=given.engine, timeout=60)
