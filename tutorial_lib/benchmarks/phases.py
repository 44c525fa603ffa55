"""Where the one kernel spends its time: clock cycles of a step, phase by phase."""

import statistics
from collections.abc import Sequence
from typing import Any

from tutorial_lib import backend
from tutorial_lib.benchmarks import record
from tutorial_lib.benchmarks.contestant import Absent
from tutorial_lib.dataset import describe_dataset, normalized
from tutorial_lib.networks.one_kernel import MAX_HIDDEN, MnistNetOneKernel

WIDTHS = (30, 128, 512)
REPEATS = 5


def run(*, widths: Sequence[int] = WIDTHS, quick: bool = False) -> dict[str, Any]:
    """Measure, print, and write ``book/results/phases.json``: medians over a few epochs.

    Raises Absent for a width that the kernel is not made for, and without a GPU: there is no
    kernel to look into.
    """
    if max(widths) > MAX_HIDDEN:
        raise Absent(f"the one kernel takes at most {MAX_HIDDEN} hidden units, not {max(widths)}")
    if backend.name != "gpu":
        raise Absent("the phases are those of a kernel on a GPU, and here is none")
    from tutorial_lib.kernels.cuda import epoch_phases

    content: dict[str, Any] = {
        "what": "clock cycles of a step in the one-kernel epoch, as block 0 sees them",
        "machine": record.device(),
        "data": describe_dataset(),
        "widths": {},
    }
    for width in widths:
        runs = []
        for _ in range(2 if quick else REPEATS):
            with MnistNetOneKernel(784, width, 10) as model:
                runs.append(epoch_phases(*normalized(True), model.parameters, 0.1))
        cycles = {name: round(statistics.median(run[name] for run in runs)) for name in runs[0]}
        content["names"], content["widths"][str(width)] = list(cycles), list(cycles.values())
        print(f"Width {width}: {sum(cycles.values()):,} cycles a step")
        for name, count in cycles.items():
            print(f"  {name:30} {count:7,}")
    path = record.write("phases", record.installed(), content)
    print(f"Written to {path.name} in book/results")
    return content
