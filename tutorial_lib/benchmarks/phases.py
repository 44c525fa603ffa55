"""Where the one kernel spends its time: clock cycles of a step, phase by phase."""

from collections.abc import Sequence

from tutorial_lib import backend, results
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.dataset import normalized
from tutorial_lib.networks import MnistNetOneKernel

WIDTHS = (30, 128, 512)


def run(*, widths: Sequence[int] = WIDTHS) -> None:
    """Measure a second epoch, print, write ``book/results/phases.json``. Absent without a GPU."""
    if backend.name != "gpu":
        raise Absent("the phases are those of a kernel on a GPU, and here is none")
    from tutorial_lib.kernels.cuda import epoch_phases

    found = {}
    for width in widths:
        parameters = MnistNetOneKernel(784, width, 10).parameters
        for _ in range(2):  # the first compiles
            found[str(width)] = epoch_phases(*normalized(True), parameters, 0.1)
    what = "clock cycles of a step of the one kernel, as block 0 sees them, by phase"
    results.write("phases", {"what": what, "widths": found})
    rows = zip(found[str(widths[0])], *(cycles.values() for cycles in found.values()))
    print(results.table(["cycles", *found], rows))
