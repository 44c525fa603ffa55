"""One step of the plain and of the fused network, statement by statement, on the host.

The networks' own code is run, with a mark after each top-level statement of the functions in
`PARTS`. A statement's time is that since the mark before.
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
from tutorial_lib.networks import MnistNet, MnistNetBase, MnistNetNaive

PARTS = ("step", "forward", "backward_output", "backward_hidden")
WIDTH = 30


def marked(function: Callable[..., Any], mark: Callable[[str, str], None]) -> Callable[..., Any]:
    """The function with ``mark(its name, statement)`` after each of its top-level statements."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition, body = tree.body[0], []
    for statement in definition.body:
        after = ast.parse(f"mark({definition.name!r}, {ast.unparse(statement)!r})").body
        if isinstance(statement, ast.Return):
            result = ast.Assign([ast.Name("result", ast.Store())], statement.value)
            body += [result, *after, ast.Return(ast.Name("result", ast.Load()))]
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            body += [statement, *after]
    definition.body = body
    names = dict(function.__globals__, mark=mark)
    exec(compile(ast.fix_missing_locations(tree), inspect.getfile(function), "exec"), names)
    return names[definition.name]


def profile(
    network: type[MnistNetBase], images: Array, labels: Array, repeats: int
) -> dict[str, Any]:
    """Median microseconds on the host: `host_total` of a step, `host_us` of each of `statements`.

    The step is one on images (n, 784) with labels (n,), at `WIDTH` hidden units.
    """
    marks: list[tuple[str, str, float]] = []
    passes, loss = [], xp.empty(1, xp.float32)

    def mark(part: str, statement: str) -> None:
        marks.append((part, statement, time.perf_counter()))

    with network(images.shape[1], WIDTH, 10) as model:
        for part in PARTS:
            setattr(model, part, types.MethodType(marked(getattr(network, part), mark), model))
        for _ in range(20 + repeats):  # the first to warm up
            backend.synchronize()
            marks.clear()
            mark("start", "")
            model.step(images, labels, loss, 0.1)
            passes.append([at for *_, at in marks])
    times = np.median(1e6 * np.diff(passes[20:]), axis=0).round(2).tolist()
    names = [{"part": part, "operation": statement} for part, statement, _ in marks[1:]]
    found = [name | {"host_us": us} for name, us in zip(names, times)]
    return {"host_total": round(sum(times), 2), "statements": found}


def run() -> None:
    """Profile both networks, print, write ``book/results/step_timeline.json`` or ``_cpu``."""
    images, labels = (x[:BATCH_SIZE] for x in normalized(True))
    networks = {n.__name__: profile(n, images, labels, 51) for n in (MnistNetNaive, MnistNet)}
    record = {"what": "one training step, statement by statement, µs on the host"}
    suffix = "_cpu" if backend.name == "cpu" else ""
    results.write(f"step_timeline{suffix}", record | {"networks": networks})
    for name, found in networks.items():
        rows = [[s["part"], s["host_us"], s["operation"]] for s in found["statements"]]
        print(results.table([name, "µs", "statement"], rows))
