"""What NVIDIA's ncu counts in each kernel of a step. As a script: the steps that it looks at."""

import csv
import re
import subprocess
import sys
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import timeline
from tutorial_lib.benchmarks.contest import Absent, need_gpu
from tutorial_lib.dataset import BATCH_SIZE

FIELD = [("fused", 30), ("inplace", 30), ("inplace", 512), ("inplace", 8192), ("one-kernel", 30)]
METRICS = {
    "gpu__time_duration.sum": "ns",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "compute",
    "sm__cycles_active.avg.pct_of_peak_sustained_elapsed": "in use",  # of the multiprocessors
    "lts__throughput.avg.pct_of_peak_sustained_elapsed": "L2",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": "memory",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy",
    "launch__registers_per_thread": "registers",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum": "bank conflicts",
}
# With the clocks and caches of a step; ncu would lower the ones and empty the others.
NCU = "ncu --csv --print-units base --profile-from-start off --clock-control none"
NCU += f" --cache-control none --metrics {','.join(METRICS)}"
SOURCES = tuple(f"networks/{name}.py" for name in ("inplace", "one_kernel", "plans"))
SOURCES += "benchmarks/counters.py", "benchmarks/timeline.py", "kernels/epoch.cu"


def steps() -> None:
    """One step of each network of the field, after a kernel that says whose it is."""
    x = xp.empty(1, xp.float32)
    for name, hidden in FIELD:
        mark = xp.ElementwiseKernel("", "T x", "x = 0", f"step_{name.replace('-', '_')}_{hidden}")
        step = timeline.steps(name, hidden, BATCH_SIZE, 1)
        for profiled in (False, True):  # at first they plan and compile
            if profiled:
                xp.cuda.runtime.profilerStart()
            mark(x)
            step()
            backend.synchronize()
        xp.cuda.runtime.profilerStop()


def read(output: str) -> list[dict[str, Any]]:
    """A row for each kernel in ncu's comma-separated output: whose it is, its name, its counts."""
    kernels: dict[str, dict] = {}
    whose: dict[str, Any] = {}
    for line in csv.DictReader(line for line in output.splitlines() if line.startswith('"')):
        name = line["Kernel Name"]
        if begin := re.match(r"step_(\w+)_(\d+)", name):
            whose = {"network": begin[1].replace("_", "-"), "hidden": int(begin[2])}
            continue
        row = kernels.setdefault(
            line["ID"], whose | {"name": name[:160], "grid": line["Grid Size"]}
        )
        row[METRICS[line["Metric Name"]]] = float(line["Metric Value"].replace(",", ""))
    return list(kernels.values())


def run() -> None:
    """Let ncu count, print, write ``book/results/counters.json``; Absent if it fails."""
    need_gpu("ncu counts")
    command = [*NCU.split(), sys.executable, "-m", "tutorial_lib.benchmarks.counters"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    if done.returncode or not (rows := read(done.stdout)):
        raise Absent(f"ncu has failed: {(done.stdout + done.stderr).strip()[-400:]}")
    for row in rows:
        print(*row.values())
    what = "counters of each kernel of a step, by ncu: to be compared with each other"
    results.write("counters", {"what": what, "command": NCU, "rows": rows}, sources=SOURCES)


if __name__ == "__main__":
    steps()
