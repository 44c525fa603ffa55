"""Where the one kernel spends its time: clock cycles of a step, phase by phase."""

from collections.abc import Sequence

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.dataset import normalized
from tutorial_lib.networks import MnistNetOneKernel

WIDTHS = (30, 128, 512)
NAMES = """waiting for images; hidden layer, partial; cluster barrier; sum over the cluster;
partial logits; other clusters; loss and gradient; gradient sent to the cluster; cluster barrier;
small gradients; weight gradient; update"""


def run(*, widths: Sequence[int] = WIDTHS) -> None:
    """Median of five epochs; print, and write ``book/results/phases.json``. Absent without a GPU.

    Raises ValueError for a width that the kernel is not made for.
    """
    if backend.name != "gpu":
        raise Absent("the phases are those of a kernel on a GPU, and here is none")
    from tutorial_lib.kernels.cuda import epoch_phases

    names = NAMES.replace("\n", " ").split("; ")
    record = {"what": "clock cycles of a step of the one kernel, in block 0", "names": names}
    found = record["widths"] = {}
    for width in widths:
        model = MnistNetOneKernel(784, width, 10)
        runs = [epoch_phases(*normalized(True), model.parameters, 0.1) for _ in range(5)]
        found[str(width)] = np.median(runs, axis=0).round().tolist()
    results.write("phases", record)
    print(results.table(["cycles", *found], zip(names, *found.values())))
