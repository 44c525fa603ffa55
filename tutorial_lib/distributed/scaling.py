"""`python -m tutorial_lib.distributed.scaling`: strong and weak scaling, and the all-reduce alone.

Writes ``book/results/scaling.json`` on NCCL, ``scaling_gloo_cpu.json`` on gloo between CPUs, and
``scaling_gloo_gpu.json`` where ranks share a GPU by gloo.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import record
from tutorial_lib.distributed.arguments import count
from tutorial_lib.distributed.networks import NETWORKS
from tutorial_lib.distributed.start import torchrun

PACKAGES = ("numpy", "torch", "cupy-cuda12x", "cupy-cuda13x", "nvmath-python")


def launch(ranks: int, plan: dict[str, Any]) -> dict[str, Any]:
    """What `ranks` processes on this host measure. Raises CalledProcessError if they fail."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        torchrun(ranks, "tutorial_lib.distributed.measure", json.dumps(plan), path, check=True)
        return json.loads(path.read_text(encoding="utf-8"))


def hardware() -> str:
    """What a rank runs on, in a few words."""
    if backend.name == "cpu":
        return "one CPU core per rank"
    name = xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return f"{xp.cuda.runtime.getDeviceCount()} x {name}"


def main(arguments: list[str] | None = None) -> Path:
    """Measure on each number of ranks in turn, and write the record; returns its path."""
    parser = argparse.ArgumentParser(prog="tutorial_lib.distributed.scaling", description=__doc__)
    parser.add_argument("--ranks", type=count, nargs="+", default=[1, 2])
    parser.add_argument("--widths", type=count, nargs="+", default=[30, 512, 2048, 8192])
    parser.add_argument(
        "--batches", type=count, nargs="+", default=[256, 4096], help="split, and then per rank"
    )
    sizes = [4**k for k in range(3, 14)]  # fewer numbers do not make a ring of chunks
    parser.add_argument("--bytes", type=count, nargs="+", default=sizes, help="of an all-reduce")
    parser.add_argument("--net", choices=NETWORKS, default="naive")
    parser.add_argument("--engine", choices=["nccl", "gloo"])
    parser.add_argument("--repeats", type=count, default=15)
    options = parser.parse_args(arguments)
    if options.repeats < 2:
        parser.error("argument --repeats: quartiles need at least 2")
    if any(size % 4 for size in options.bytes):
        parser.error("argument --bytes: float32 has 4 bytes, so each must be a multiple of 4")
    results: dict[str, Any] = {"all_reduce": [], "steps": []}
    for ranks in options.ranks:  # all of them before the first is measured
        if any(batch % ranks for batch in options.batches):
            parser.error(f"{options.batches} cannot all be split evenly over {ranks} ranks")
    for ranks in options.ranks:
        batches = {batch // ranks for batch in options.batches} | set(options.batches)
        try:
            found = launch(ranks, vars(options) | {"batches": sorted(batches)})
        except subprocess.CalledProcessError:
            sys.exit(f"error: {ranks} ranks did not finish; what they said is above")
        results["engine"] = found["engine"]
        for kind in ("all_reduce", "steps"):
            results[kind] += found[kind]
    name = "scaling" if results["engine"] == "nccl" else f"scaling_gloo_{backend.name}"
    path = record.write(
        name,
        record.installed(PACKAGES),
        {
            "what": "data-parallel training on one host: steps, and the all-reduce alone",
            "engine": results.pop("engine"),
            "hardware": hardware(),
            "net": options.net,
            "unit": "seconds, rank 0's clock",
            **results,
        },
    )
    print(f"Written to {path.name} in book/results")
    return path


if __name__ == "__main__":
    main()
