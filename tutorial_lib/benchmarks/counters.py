"""What the GPU's hardware counters say of each kernel of a step, read by Nsight Compute's `ncu`."""

import csv
import importlib
import io
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import record
from tutorial_lib.benchmarks.contestant import Absent
from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, normalized
from tutorial_lib.networks.one_kernel import MAX_HIDDEN

WIDTHS = (30, 512, 8192)
NETWORKS = {
    "update in the matmul": "inplace:MnistNetInPlace",
    "tuned algorithms": "tuned:MnistNetTuned",
    "merged kernels": "merged:MnistNetMerged",
    "one kernel": "one_kernel:MnistNetOneKernel",
}
BATCHES = 4  # of the one kernel; the other networks take one step
METRICS = {
    "microseconds": "gpu__time_duration.sum",
    "arithmetic, % of peak": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "memory, % of peak": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 cache, % of peak": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "warps, % of capacity": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "registers of a thread": "launch__registers_per_thread",
    "blocks": "launch__grid_size",
}
TO_MICROSECONDS = {
    "nsecond": 1e-3,
    "ns": 1e-3,
    "usecond": 1.0,
    "us": 1.0,
    "msecond": 1e3,
    "ms": 1e3,
}


def run(*, widths: Sequence[int] = WIDTHS) -> dict[str, Any]:
    """Profile, print, and write ``book/results/counters.json``.

    Times are those under the profiler, at the clock that the GPU happens to have: compare kernels
    with each other, not with the ladder. Raises Absent without a GPU, without `ncu`, or if `ncu`
    fails, as it does for a user who may not read the counters.
    """
    if backend.name != "gpu":
        raise Absent("hardware counters are those of a GPU, and here is none")
    if not shutil.which("ncu"):
        raise Absent("ncu is not on the PATH: it comes with NVIDIA's Nsight Compute")
    content: dict[str, Any] = {
        "what": "hardware counters of each kernel of a step, and of the one kernel",
        "machine": record.device(),
        "data": describe_dataset(),
        "metrics": METRICS,
        "networks": {},
    }
    for name in NETWORKS:
        for width in widths:
            if name == "one kernel" and width > MAX_HIDDEN:
                continue
            kernels = profile(name, width)
            content["networks"].setdefault(name, {})[str(width)] = kernels
            print(f"{name}, width {width}")
            for kernel in kernels:
                print("  ", kernel)
    path = record.write("counters", record.installed(), content)
    print(f"Written to {path.name} in book/results")
    return content


def profile(name: str, width: int) -> list[dict[str, Any]]:
    """The kernels of a step of one network, profiled in a process of its own."""
    command = ["ncu", "--clock-control", "none", "--profile-from-start", "off", "--csv"]
    command += ["--page", "raw", "--metrics", ",".join(METRICS.values())]
    command += [sys.executable, "-m", __name__, name, str(width)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Absent(f"ncu failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return parse(done.stdout)


def parse(output: str) -> list[dict[str, Any]]:
    """The kernels in what ``ncu --csv --page raw`` prints: names, and the counters of `METRICS`.

    Raises Absent if there is no table in it.
    """
    lines = [line for line in output.splitlines() if line.startswith('"')]
    if len(lines) < 2:
        raise Absent(f"ncu printed no table: {output.strip()[-300:]!r}")
    header, units, *rows = csv.reader(io.StringIO("\n".join(lines)))
    unit = dict(zip(header, units))
    kernels = []
    for row in rows:
        values = dict(zip(header, row))
        kernel: dict[str, Any] = {"kernel": values["Kernel Name"].partition("(")[0][:80]}
        for name, metric in METRICS.items():
            number = float(values[metric].replace(",", ""))
            if name == "microseconds":
                number *= TO_MICROSECONDS[unit[metric]]
            kernel[name] = round(number, 3)
        kernels.append(kernel)
    return kernels


def _work(name: str, width: int) -> None:
    module, _, cls = NETWORKS[name].partition(":")
    network = getattr(importlib.import_module(f"tutorial_lib.networks.{module}"), cls)
    images, labels = normalized(True)
    count = BATCHES * BATCH_SIZE if name == "one kernel" else BATCH_SIZE
    images, labels, loss = images[:count], labels[:count], xp.empty(1, xp.float32)
    with network(784, width, 10) as model:
        for profiled in (False, True):  # the first time plans and compiles
            xp.cuda.Device().synchronize()
            if profiled:
                xp.cuda.profiler.start()
            if name == "one kernel":
                model.epoch(images, labels)
            else:
                model.step(images, labels, loss, 0.1)
        xp.cuda.Device().synchronize()
        xp.cuda.profiler.stop()


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]))
