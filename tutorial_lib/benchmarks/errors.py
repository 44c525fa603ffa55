"""How exact are the gradients of a step? Against float64: 3xTF32, TF32, and cuBLAS in both."""

from itertools import product
from typing import Any

import numpy as np

from tutorial_lib import results
from tutorial_lib.backend import MatmulComputeType, to_numpy
from tutorial_lib.benchmarks.contest import need_gpu
from tutorial_lib.benchmarks.field import FIELD, sources
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.networks import NETWORKS, MnistNetNaive

TF32 = MatmulComputeType.COMPUTE_32F_FAST_TF32
RATE = 1e6  # of learning: so large that of the new weights only the gradient is left
BATCHES = (1, 7, 20, 33, 50)  # by which the errors are a median
KERNEL = next(entrant for entrant in FIELD if "network one-kernel" in entrant.script)
SOURCES = *(s for s in sources(KERNEL) if "benchmarks" not in s), "benchmarks/errors.py"


def of_step(name: str, hidden: int, compute_type: int | None, batch: int) -> list[float]:
    """The largest error of each gradient, relative to its largest value, in the parameters' order.

    Hidden units that rounding may move across zero, in any image, are left out.
    """
    images, labels = (x[BATCH_SIZE * batch :][:BATCH_SIZE] for x in normalized(True))
    first = [to_numpy(p).astype(np.float64) for p in MnistNetNaive(784, hidden, 10).parameters]
    wh, bh, wo, bo = first
    x, targets = to_numpy(images).astype(np.float64), np.eye(10)[to_numpy(labels)]
    z = x @ wh.T + bh
    y, sure = np.maximum(z, 0), abs(z).min(axis=0) > 1e-5
    grad = (1 / (1 + np.exp(-(y @ wo.T + bo))) - targets) / len(x)
    grad_hidden = np.where(z < 0, 0, grad @ wo)
    exact = grad_hidden.T @ x, grad_hidden.sum(axis=0), grad.T @ y, grad.sum(axis=0)
    with NETWORKS[name](784, hidden, 10, compute_type=compute_type) as net:
        net.epoch(images, labels, learning_rate=RATE)
        found = [(p - to_numpy(q)) / RATE - g for p, q, g in zip(first, net.parameters, exact)]
    found[:2] = [error[sure] for error in found[:2]]
    return [float(abs(error).max() / abs(g).max()) for error, g in zip(found, exact)]


def run() -> None:
    """Measure them, print, write ``book/results/errors.json``; Absent without a GPU."""
    need_gpu("the errors are those of kernels")
    rows: list[dict[str, Any]] = []
    for hidden, compute_type, name in product(
        (30, 512, 8192), (None, TF32), ("one-kernel", "captured")
    ):
        found = [of_step(name, hidden, compute_type, batch) for batch in BATCHES]
        row = {
            "hidden": hidden,
            "network": name,
            "arithmetic": "tf32" if compute_type else "float32",
        }
        rows.append(row | {"errors": [float(f"{e:.2g}") for e in np.median(found, axis=0)]})
        print(*rows[-1].values(), flush=True)
    what = (
        "largest error of the gradients of a step, of their largest value: W, b hidden, W, b output"
    )
    results.write("errors", {"what": what, "rows": rows}, sources=SOURCES)
