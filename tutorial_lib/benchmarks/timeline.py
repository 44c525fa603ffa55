"""Where the time goes: statements of a step on the host, phases of the one kernel, counters.

The networks' own code is run, with a mark before each top-level statement of the functions in
`PARTS`. A statement's time is that until the next mark, be it in a function that it calls.
"""

import ast
import inspect
import itertools
import subprocess
import sys
import textwrap
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import Array, xp
from tutorial_lib.benchmarks.contest import Absent, need_gpu
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.networks import MnistNet, MnistNetNaive, MnistNetOneKernel

PARTS = ("step", "forward", "backward_output", "backward_hidden")


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


def profile(network: type, images: Array, labels: Array, repeats: int) -> dict[str, Any]:
    """Median host microseconds of a step at 30 hidden units, and of each of its `statements`."""
    marks: list[tuple[str, float]] = []
    passes, loss = [], xp.empty(1, xp.float32)
    model = network(784, 30, 10)
    for part in PARTS:
        function = marked(getattr(network, part), lambda s: marks.append((s, time.perf_counter())))
        setattr(model, part, types.MethodType(function, model))
    for _ in range(20 + repeats):  # the first to warm up
        backend.synchronize()
        marks.clear()
        model.step(images, labels, loss, 0.1)
        passes.append([*(at for _, at in marks), time.perf_counter()])
    times = np.median(1e6 * np.diff(passes[20:]), axis=0).round(2).tolist()
    found = [{"operation": source, "host_us": us} for (source, _), us in zip(marks, times)]
    return {"host_total": round(sum(times), 2), "statements": found}


def run() -> None:
    """Profile both networks, print, write ``book/results/step_timeline.json`` or ``_cpu``."""
    images, labels = (x[:BATCH_SIZE] for x in normalized(True))
    networks = {n.__name__: profile(n, images, labels, 51) for n in (MnistNetNaive, MnistNet)}
    what = "one training step, statement by statement, µs on the host"
    name = "step_timeline_cpu" if backend.name == "cpu" else "step_timeline"
    results.write(name, {"what": what, "networks": networks})
    for name, found in networks.items():
        rows = [[f"`{s['operation']}`", s["host_us"]] for s in found["statements"]]
        print(results.table([name, "µs"], rows))


def run_phases() -> None:
    """Time the one kernel phase by phase, print, write ``phases.json``; Absent without a GPU."""
    need_gpu("the phases are those of a kernel")
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


def run_counters() -> None:
    """Let NVIDIA's ncu print what it counts in each kernel of a step of the fast rungs.

    Compare the kernels with each other: the profiler slows them. Absent if it fails.
    """
    ncu = "ncu --clock-control none --profile-from-start off --section SpeedOfLight"
    for name, width in itertools.product(("inplace", "merged", "one-kernel"), (30, 512)):
        rung = f"tutorial_lib.benchmarks.rung --network {name} --hidden {width} --steps 1"
        command = [*ncu.split(), sys.executable, "-m", *rung.split()]
        if subprocess.run(command, timeout=150).returncode:
            raise Absent("ncu has failed: what it printed says why")
