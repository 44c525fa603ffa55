"""What the GPU says of the kernels: hardware counters, read by Nsight Compute, and phase clocks."""

import csv
import itertools
import subprocess
import sys

from tutorial_lib import backend, results
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.dataset import normalized
from tutorial_lib.networks import MnistNetOneKernel

METRICS = {
    "ns": "gpu__time_duration.sum",
    "arithmetic, % of peak": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "memory, % of peak": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "L2 cache, % of peak": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
}


def run() -> None:
    """Profile one step of the fast rungs, print, write ``book/results/counters.json``.

    Compare the kernels with each other: the profiler slows them. Absent if it may not read any.
    """
    found = {}
    flags = "--clock-control none --profile-from-start off --csv --page raw --print-units base"
    ncu = ["ncu", *flags.split(), "--metrics", ",".join(METRICS.values()), sys.executable, "-m"]
    for name, width in itertools.product(("inplace", "tuned", "merged", "one-kernel"), (30, 512)):
        rung = f"tutorial_lib.benchmarks.rung --network {name} --hidden {width} --steps 1"
        done = subprocess.run(ncu + rung.split(), capture_output=True, text=True, timeout=150)
        found[f"{name}, {width}"] = kernels = parse(done.stdout)
        if not kernels:
            raise Absent(f"ncu profiled no kernel: {(done.stderr + done.stdout).strip()[-300:]}")
        print(results.table([f"{name}, {width}", *METRICS], kernels))
    record = {"what": "hardware counters of each kernel of a step", "metrics": METRICS}
    results.write("counters", record | {"networks": found})


def parse(printed: str) -> list[list[str]]:
    """Name and `METRICS` of each kernel in what ``ncu --csv --page raw`` prints."""
    rows = csv.DictReader(line for line in printed.splitlines() if line.startswith('"'))
    names = ["Kernel Name", *METRICS.values()]
    return [[row[name].partition("(")[0] for name in names] for row in rows if row["ID"]]


def run_phases() -> None:
    """Time the one kernel phase by phase, print, write ``phases.json``; Absent without a GPU."""
    if backend.name != "gpu":
        raise Absent("the phases are those of a kernel on a GPU, and here is none")
    from tutorial_lib.kernels.cuda import epoch_phases

    found = {}
    for width in (30, 128, 512):
        parameters = MnistNetOneKernel(784, width, 10).parameters
        for _ in range(2):  # the first compiles
            found[str(width)] = epoch_phases(*normalized(True), parameters, 0.1)
    what = "clock cycles of a step of the one kernel, as block 0 sees them, by phase"
    results.write("phases", {"what": what, "widths": found})
    rows = zip(found["30"], *(cycles.values() for cycles in found.values()))
    print(results.table(["cycles", *found], rows))
