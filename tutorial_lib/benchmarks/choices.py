"""What do the finer choices of a captured step gain? Algorithms, a branch, whole tiles, orders."""

import contextlib
from itertools import product
from typing import Any

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import Array, MatmulComputeType, xp
from tutorial_lib.benchmarks.contest import FLOAT32, LEARNING_RATE, TF32, need_gpu
from tutorial_lib.benchmarks.fusion import in_a_graph
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.graphs import Branch
from tutorial_lib.networks import Graph, MeasuredPlans, MnistNetInPlace, UncheckedPlans
from tutorial_lib.networks.inplace import back_to_hidden, update_output
from tutorial_lib.timing import measure

COMPUTE = {FLOAT32: None, TF32: MatmulComputeType.COMPUTE_32F_FAST_TF32}
WARM_UP = 40  # epochs, until the GPU has its full clock
ORDERS = ("column-major", "row-major")
FILES = "base epochs fused inplace inputs plans"
SOURCES = *(f"networks/{name}.py" for name in FILES.split()), "graphs.py", "benchmarks/choices.py"


class Chosen(MnistNetInPlace):
    """The in-place step, with its small updates on a branch, or its large one in whole tiles."""

    branch = whole_tiles = False

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """See `MnistNetBase.step`."""
        hidden, grad, grad_hidden, grad_bias_hidden = back_to_hidden(self, x, labels, loss)
        with Branch() if self.branch else contextlib.nullcontext() as small:
            update_output(self, hidden, grad, learning_rate)
            self.bias_hidden -= learning_rate * grad_bias_hidden
        weights, whole = self.weights_hidden, 768 if self.whole_tiles else 784
        with Branch() if self.whole_tiles else contextlib.nullcontext() as rest:
            if self.whole_tiles:
                operands = weights[:, whole:], grad_hidden, x[:, whole:], learning_rate
                self.plans.descend("rest", *operands)
        operands = weights[:, :whole], grad_hidden, x[:, :whole], learning_rate
        self.plans.descend("update_hidden", *operands)
        for branch in (rest, small):
            if branch:
                branch.join()


def of_epoch(width: int, arithmetic: str, **chosen: bool) -> dict[str, Any]:
    """Milliseconds of a captured epoch with these choices: algorithms, branch, whole_tiles."""
    plans = MeasuredPlans if chosen["algorithms"] else UncheckedPlans
    options = {"plans": plans, "launch": Graph, "compute_type": COMPUTE[arithmetic]}
    images, labels = normalized(True)
    with Chosen(784, width, 10, **options) as net:
        net.branch, net.whole_tiles = chosen["branch"], chosen["whole_tiles"]
        times = measure(lambda: net.epoch(images, labels), repeats=15, warm_up=WARM_UP)
    quartiles = np.quantile(1e3 * times.wall, (0.25, 0.5, 0.75)).round(3).tolist()
    return {"width": width, "arithmetic": arithmetic, **chosen, "ms": quartiles}


def of_update(width: int, arithmetic: str, *orders: str) -> dict[str, Any]:
    """Microseconds of the update of weights_hidden in place, by its fastest algorithm in a graph.

    `orders` are those of the hidden layer's gradient (width, n) and of the images (n, 784).
    """
    draw, order = backend.random.uniform, {"row-major": "C", "column-major": "F"}
    gradient, images = (
        xp.array(draw(-1, 1, shape, dtype=xp.float32), order=order[name])
        for shape, name in zip([(width, BATCH_SIZE), (BATCH_SIZE, 784)], orders)
    )
    weights, plans = xp.zeros((width, 784), xp.float32), MeasuredPlans(COMPUTE[arithmetic])
    us = in_a_graph(lambda: plans.descend("", weights, gradient, images, LEARNING_RATE))
    plans.free()
    found = {"width": width, "arithmetic": arithmetic}
    return found | {"gradient": orders[0], "images": orders[1], "us": us}


def run() -> None:
    """Time them, print, write ``book/results/choices.json``; Absent without a GPU."""
    need_gpu("a captured step is timed")
    yes_or_no = (False, True)
    epochs, updates = [], []
    for width, arithmetic, *chosen in product((30, 512, 8192), COMPUTE, *[yes_or_no] * 3):
        names = "algorithms", "branch", "whole_tiles"
        epochs.append(of_epoch(width, arithmetic, **dict(zip(names, chosen))))
        print(*epochs[-1].values(), flush=True)
    for case in product((512, 8192), COMPUTE, ORDERS, ORDERS):
        updates.append(of_update(*case))
        print(*updates[-1].values(), flush=True)
    what = "a captured epoch, ms, and its largest update alone, µs in a graph, with finer choices"
    results.write("choices", {"what": what, "epochs": epochs, "updates": updates}, sources=SOURCES)
