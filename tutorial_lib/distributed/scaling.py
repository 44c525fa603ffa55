"""`python -m tutorial_lib.distributed.scaling`: strong and weak scaling, and the all-reduce alone.

Writes ``book/results/scaling.json`` on NCCL, ``scaling_gloo_cpu.json`` on gloo between CPUs, and
``scaling_gloo_gpu.json`` where ranks share a GPU by gloo.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
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


def sample(ranks: Ranks, calls: dict[Any, Callable[[], Any]], repeats: int) -> dict[Any, Any]:
    """For each of `calls`, measured in turn, a summary of rank 0's seconds per call."""

    def seconds(call: Callable[[], Any], times: int) -> float:
        ranks.gather()
        block = measure(lambda: [call() for _ in range(times)], repeats=1, warm_up=0)
        return float(block.wall[0]) / times

    once = {name: seconds(call, 3) and seconds(call, 3) for name, call in calls.items()}
    times = ranks.agree(lambda: {name: max(1, round(BLOCK / once[name])) for name in calls})
    rounds = [{name: seconds(calls[name], times[name]) for name in calls} for _ in range(repeats)]
    return {name: results.summary([found[name] for found in rounds]) for name in calls}


def sample_step(ranks: Ranks, net: str, width: int, batch: int, repeats: int) -> list[Any]:
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

        modes = {mode: lambda m=mode: step(m) for mode in ("compute", "exchange", "overlap")}
        found = sample(ranks, modes, repeats)
    point = {"ranks": ranks.size, "width": width, "batch_per_rank": batch}
    return [point | {"mode": mode} | times for mode, times in found.items()]


def sample_all(ranks: Ranks, options: argparse.Namespace) -> dict[str, Any]:
    """All that `options` list, on this number of ranks."""
    import torch

    batches = {batch // ranks.size for batch in options.batches} | set(options.batches)
    points = [(width, batch) for width in options.widths for batch in sorted(batches)]
    steps = [sample_step(ranks, options.net, *point, options.repeats) for point in points]
    tensors = {size: torch.from_dlpack(xp.zeros(size // 4, dtype=xp.float32)) for size in BYTES}
    sums = {size: lambda t=t: ranks.begin_sum(t).wait() for size, t in tensors.items()}
    found = sample(ranks, sums, options.repeats) if ranks.size > 1 else {}
    all_reduce = [{"ranks": ranks.size, "bytes": size} | times for size, times in found.items()]
    return {"engine": ranks.engine, "all_reduce": all_reduce, "steps": sum(steps, [])}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; argparse explains a wrong one."""
    parser = argparse.ArgumentParser(prog="tutorial_lib.distributed.scaling", description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--widths", type=int, nargs="+", default=[30, 512, 2048, 8192])
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 4096])
    parser.add_argument("--net", choices=["fused", "naive"], default="naive")
    parser.add_argument("--engine", choices=["nccl", "gloo"])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args(arguments)
    if min(*options.ranks, *options.widths, *options.batches, options.repeats) < 1:
        parser.error("--ranks, --widths, --batches and --repeats must be at least 1")
    if any(batch % ranks for batch in options.batches for ranks in options.ranks):
        parser.error("--batches must be divisible by each of --ranks")
    return options


def main(arguments: list[str]) -> None:
    """Measure on each number of ranks in turn, and write the record."""
    options, found = parse(arguments), []
    for ranks in options.ranks:
        command = [ranks, "tutorial_lib.distributed.scaling", *arguments]
        try:
            found.append(json.loads(torchrun(*command, check=True, stdout=subprocess.PIPE).stdout))
        except subprocess.CalledProcessError:
            sys.exit(f"error: {ranks} ranks did not finish; what they said is above")
    engine, hardware = found[0]["engine"], "one CPU core per rank"
    if backend.name == "gpu":
        name = xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        hardware = f"{xp.cuda.runtime.getDeviceCount()} x {name}"
    content = {
        "what": "data-parallel training on one host: steps, and the all-reduce alone",
        "engine": engine,
        "hardware": hardware,
        "net": options.net,
        "unit": "seconds, rank 0's clock",
    }
    content |= {kind: sum((part[kind] for part in found), []) for kind in ("all_reduce", "steps")}
    name = "scaling" if engine == "nccl" else f"scaling_gloo_{backend.name}"
    path = results.write(name, content, packages=PACKAGES)
    print(f"Written to {path.name} in book/results")


def work(ranks: Ranks) -> None:
    """Measure, as one rank; rank 0 prints what it found as JSON."""
    found = sample_all(ranks, options)
    if ranks.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__" and "RANK" not in os.environ:
    main(sys.argv[1:])
elif __name__ == "__main__":
    options = parse(sys.argv[1:])
    run(work, engine=options.engine, timeout=60)
