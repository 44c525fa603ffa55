"""Where the time goes: a step on the host and on the GPU, statement by statement, kernel by kernel.

The networks' own code is run, with a mark before each top-level statement of the functions in
`PARTS`. A statement's time is that until the next mark, be it in a function that it calls.
"""

import ast
import inspect
import itertools
import textwrap
import time
import types
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import Array, xp
from tutorial_lib.benchmarks.contest import need_gpu
from tutorial_lib.benchmarks.trace import traced
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.kernels import cuda, launches
from tutorial_lib.networks import NETWORKS, MnistNetOneKernel
from tutorial_lib.networks.epochs import Loop, run_steps
from tutorial_lib.timing import measure

PARTS = ("step", "forward", "backward_output", "backward_hidden")
FIELD = ("naive", "fused", "captured")
WIDTHS = (30, 128, 512, 2048, 8192)
BATCHES = (64, 256, 1024, 4096)
STEPS = 14  # of the largest batches, there are no more; CUDA's queue holds them all
SOURCES = *(f"benchmarks/{name}.py" for name in ("timeline", "trace")), "timing.py", "graphs.py"
SOURCES += tuple(f"networks/{n}.py" for n in ("base", "naive", "fused", "inplace", "plans"))
# Hidden units, and how `epoch` cuts them: units of a cluster, its blocks, features of a block.
CUTS = *((30, (units, 16, 56)) for units in (32, 16, 8)), (512, (40, 8, 104)), (8192, None)
PHASE_SOURCES = "benchmarks/timeline.py", "timing.py", "kernels/launches.py", "kernels/cuda.py"
PHASE_SOURCES += tuple(f"kernels/{file.name}" for file in sorted(cuda.FOLDER.glob("*epoch*.cu*")))
PHASE_SOURCES += "kernels/ptx.cuh", "kernels/common.cuh"


def marked(function: Callable[..., Any], mark: Callable[[str], None]) -> Callable[..., Any]:
    """The function with ``mark(source of the statement)`` before each top-level statement."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    statements = definition.body[ast.get_docstring(definition) is not None :]
    definition.body = []
    for statement in statements:
        source = " ".join(ast.unparse(statement).split())
        definition.body += [*ast.parse(f"mark({source!r})").body, statement]
    names = dict(function.__globals__, mark=mark)
    exec(compile(tree, inspect.getfile(function), "exec"), names)
    return names[definition.name]


def profile(
    network: Callable, images: Array, labels: Array, repeats: int, hidden: int = 30
) -> dict[str, Any]:
    """Median host microseconds of a step, and of each of its `statements`."""
    marks: list[tuple[str, float]] = []
    passes, loss = [], xp.empty(1, xp.float32)
    model = network(784, hidden, 10)
    for part in PARTS:
        method = getattr(type(model), part)
        function = marked(method, lambda s: marks.append((s, time.perf_counter())))
        setattr(model, part, types.MethodType(function, model))
    for _ in range(20 + repeats):  # the first to warm up
        backend.synchronize()
        marks.clear()
        model.step(images, labels, loss, 0.1)
        passes.append([*(at for _, at in marks), time.perf_counter()])
    times = np.median(1e6 * np.diff(passes[20:]), axis=0).round(2).tolist()
    found = [{"operation": source, "host_us": us} for (source, _), us in zip(marks, times)]
    return {"host_total": round(sum(times), 2), "statements": found}


def steps(name: str, hidden: int, batch: int, number: int = STEPS) -> Callable[[], Any]:
    """So many steps of the network of that name in `NETWORKS`, ready to be called."""
    images, labels = (x[: number * batch] for x in normalized(True))
    model, losses = NETWORKS[name](784, hidden, 10), xp.empty(number, xp.float32)
    if isinstance(model.launch, Loop):  # without its look at the labels, which waits for the GPU
        return partial(run_steps, model, images, labels, losses, 0.1, batch)
    return partial(model.epoch, images, labels, batch_size=batch)


def pace(name: str, hidden: int, batch: int) -> dict[str, Any]:
    """Microseconds a step: on the host, until all is done, of its kernels; and their number."""
    work = steps(name, hidden, batch)
    times = measure(work, repeats=15, warm_up=2)
    kernels = [kernel["us"] for kernel in traced(work)["kernels"]]
    clocks = {"host": times.host, "wall": times.wall}
    found = {what: results.summary(1e6 * seconds / STEPS) for what, seconds in clocks.items()}
    found["gpu"] = results.summary(np.reshape(kernels, (STEPS, -1)).sum(axis=1))
    row = {"network": name, "hidden": hidden, "batch": batch, "kernels": len(kernels) // STEPS}
    return row | found


def run() -> None:
    """Trace, profile and time, print, write ``book/results/step_timeline.json``."""
    need_gpu("kernels are traced")
    images, labels = (x[:BATCH_SIZE] for x in normalized(True))
    found: dict[str, dict] = {name: {} for name in FIELD}
    for name, hidden in itertools.product(FIELD, WIDTHS[::2]):
        # Three steps of the graph, to show how they follow one another.
        row = traced(steps(name, hidden, BATCH_SIZE, 3 if name == "captured" else 1))
        if name != "captured":
            row["profile"] = profile(NETWORKS[name], images, labels, 51, hidden)
        found[name][str(hidden)] = row
    rows = []
    for hidden, batch, name in itertools.product(WIDTHS, BATCHES, FIELD):
        rows.append(pace(name, hidden, batch))
        print(*rows[-1].values(), flush=True)
    what = "a training step: kernels by CUPTI, host by statement; pace: microseconds of a step"
    results.write("step_timeline", {"what": what, "steps": found, "pace": rows}, sources=SOURCES)


def run_phases() -> None:
    """Time the one kernel phase by phase, print, write ``phases.json``; Absent without a GPU."""
    need_gpu("the phases are those of a kernel")
    data, rows = normalized(True), []
    for (hidden, cut), precision in itertools.product(CUTS, launches.PRODUCTS):
        with mock.patch.object(launches, "cut", lambda hidden, cut=cut: cut):
            launch = launches.epoch(hidden, precision)
            work = *data, MnistNetOneKernel(784, hidden, 10).parameters, 0.1, precision
            times = 1e3 * measure(partial(cuda.train_epoch, *work), repeats=15, warm_up=2).wall
            for _ in range(2):  # the first compiles
                cycles = cuda.epoch_phases(*work)
            row = {"hidden": hidden, "cut": cut, "precision": precision}
            row |= {"blocks": launch.clusters * launch.cluster, "cluster": launch.cluster}
            row["at_once"] = cuda.clusters_at_once(launch)
        row["ms"] = results.summary(times)
        rows.append(row | {"cycles": {name: round(count) for name, count in cycles.items()}})
        print(*rows[-1].values(), flush=True)
    what = "an epoch of the one kernel, ms; a step in clock cycles by phase, as block 0 sees them"
    results.write("phases", {"what": what, "rows": rows}, sources=PHASE_SOURCES)
