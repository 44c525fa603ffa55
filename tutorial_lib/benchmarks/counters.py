"""What the GPU's hardware counters say of each kernel of a step, read by Nsight Compute's `ncu`.

`ncu` profiles this script: ``ncu … python -m tutorial_lib.benchmarks.counters merged 512``.
"""

import csv
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tutorial_lib import backend, results
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.networks import NETWORKS

WIDTHS = (30, 512, 8192)
METRICS = {
    "ns": "gpu__time_duration.sum",
    "arithmetic, % of peak": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "memory, % of peak": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 cache, % of peak": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "registers": "launch__registers_per_thread",
    "blocks": "launch__grid_size",
}


def run(*, widths: Sequence[int] = WIDTHS) -> None:
    """Profile, print, and write ``book/results/counters.json``: compare kernels with each other.

    Their times are not the ladder's, as the profiler slows them. Raises Absent without `ncu`, and
    if it fails, as it does without a GPU and for a user who may not read the counters.
    """
    if not shutil.which("ncu"):
        raise Absent("ncu is not on the PATH: it comes with NVIDIA's Nsight Compute")
    record = {"what": "hardware counters of each kernel of a step", "metrics": METRICS}
    found = record["networks"] = {}
    flags = "--clock-control none --profile-from-start off --csv --page raw --print-units base"
    for name in ("inplace", "tuned", "merged", "one-kernel"):
        for width in [width for width in widths if name != "one-kernel" or width <= 512]:
            command = ["ncu", *flags.split(), "--metrics", ",".join(METRICS.values())]
            command += [sys.executable, "-m", "tutorial_lib.benchmarks.counters", name, str(width)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=100)
            if done.returncode:
                raise Absent(f"ncu failed: {(done.stderr or done.stdout).strip()[-300:]}")
            found[f"{name}, {width}"] = kernels = parse(done.stdout)
            print(results.table([f"{name}, {width}", *METRICS], kernels))
            results.write("counters", record)


def parse(printed: str) -> list[list[str]]:
    """Name and `METRICS` of each kernel in what ``ncu --csv --page raw`` prints."""
    rows = csv.DictReader(line for line in printed.splitlines() if line.startswith('"'))
    names = ["Kernel Name", *METRICS.values()]
    return [[row[name].partition("(")[0] for name in names] for row in rows if row["ID"]]


def one_step(name: str, width: int) -> None:
    """Take the step twice: once to plan and compile, once for the profiler."""
    images, labels = (x[:BATCH_SIZE] for x in normalized(True))
    with NETWORKS[name](784, width, 10) as model:
        for profiled in (False, True):
            backend.synchronize()
            if profiled:
                xp.cuda.profiler.start()
            model.epoch(images, labels)
        backend.synchronize()
        xp.cuda.profiler.stop()


if __name__ == "__main__":
    one_step(sys.argv[1], int(sys.argv[2]))
