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
NAMES = (
    "waiting for images",
    "hidden layer, partial",
    "cluster barrier",
    "sum over the cluster",
    "partial logits",
    "other clusters",
    "loss and gradient",
    "gradient sent to the cluster",
    "cluster barrier",
    "small gradients",
    "weight gradient",
    "update",
)


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
        "names": NAMES,
        "widths": {},
    }
    for width in widths:
        runs = []
        for _ in range(2 if quick else REPEATS):
            with MnistNetOneKernel(784, width, 10) as model:
                runs.append(epoch_phases(*normalized(True), model.parameters, 0.1))
        cycles = [round(statistics.median(phase)) for phase in zip(*runs)]
        content["widths"][str(width)] = cycles
        print(f"Width {width}: {sum(cycles):,} cycles a step")
        for name, count in zip(NAMES, cycles):
            print(f"  {name:30} {count:7,}")
    path = record.write("phases", record.installed(), content)
    print(f"Written to {path.name} in book/results")
    return content
