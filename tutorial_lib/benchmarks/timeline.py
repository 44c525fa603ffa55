"""One step of the plain and of the fused network, statement by statement, on the host.

The networks' own code is run, with a mark before each top-level statement of the functions in
`PARTS`. A statement's time is that until the next mark, be it in a function that it calls.
"""

import ast
import inspect
import textwrap
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import Array, xp
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.networks import MnistNet, MnistNetNaive

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
    """Median microseconds on the host: `host_total` of a step, `host_us` of each of `statements`.

    The step is one on images (n, 784) with labels (n,), at 30 hidden units.
    """
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
