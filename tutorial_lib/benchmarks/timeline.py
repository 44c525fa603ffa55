"""One step of the plain and of the published network, statement by statement, on host and GPU.

The networks' own code is run, with a mark after each of its statements. Three passes, because to
look is to disturb. Without events: `host_us`, the time a statement takes on the host. With events
behind a delay, so that the GPU never waits (`delay`): `gpu_us`, the time its work takes on the GPU,
which is a microsecond or two for the events alone. With events as the step goes: `host`, its start
and end, and `gpu`, where its work starts and ends (the start is the end less `gpu_us`), each by a
clock of its own that is zero when the step starts.
"""

import statistics
import time
import types
from collections.abc import Callable
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks import delay, record
from tutorial_lib.benchmarks.statements import Mark, marked
from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, normalized
from tutorial_lib.functions import one_hot
from tutorial_lib.networks.base import PARAMETERS, MnistNetBase
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.naive import MnistNetNaive

NETWORKS = {"MnistNetNaive": MnistNetNaive, "MnistNet": MnistNet}
WIDTH, REPEATS, QUICK, WARM_UP = 30, 51, 11, 20


def step(model: MnistNetBase, images: xp.ndarray, targets: xp.ndarray, mark: Mark) -> None:
    """The published step without its loss, a mark after each statement."""
    predictions = model.forward(images)
    grad = (predictions - targets) / len(images)
    mark("loss: grad = (predictions - targets) / n")
    gradients = model.backward(grad)
    for name, parameter, gradient in zip(PARAMETERS, model.parameters, gradients):
        parameter -= 0.1 * gradient
        mark(f"update: {name} -= 0.1 * gradient")


def profile(
    network: type[MnistNetBase], images: xp.ndarray, labels: xp.ndarray, repeats: int
) -> dict[str, Any]:
    """The statements of one step with their times in microseconds, medians of `repeats` steps."""
    targets = one_hot(labels, 10)
    marks: list[tuple[str, float, Any]] = []
    with_events = False

    def mark(label: str) -> None:
        event = None
        if with_events:
            event = xp.cuda.Event()
            event.record()
        marks.append((label, time.perf_counter(), event))

    with network(images.shape[1], WIDTH, 10) as model:
        for name in ("forward", "backward"):
            function = marked(getattr(network, name), name, mark)
            setattr(model, name, types.MethodType(function, model))

        def one() -> list[tuple[str, float, Any]]:
            marks.clear()
            mark("start")
            step(model, images, targets, mark)
            return list(marks)

        def many(run: Callable[[], Any]) -> list[Any]:
            return [run() for _ in range(repeats)]

        for _ in range(WARM_UP):
            one()
        host = many(lambda: _alone(one))
        result: dict[str, Any] = {}
        plain, durations, ends = [], [], []
        if backend.name == "gpu":
            with_events = True
            took = 1e3 * statistics.median(m[-1][1] - m[0][1] for m in host)
            behind = many(lambda: delay.behind_delay(one, took))
            plain = many(lambda: _alone(one))
            ahead = [m for m in behind if m]
            durations = _medians([_elapsed(m, consecutive=True) for m in ahead])
            ends = _medians([_elapsed(m, consecutive=False) for m in plain])
            result["gpu_busy"] = round(sum(durations), 2) if durations else None
    undisturbed, shown = _host_ends(host), _host_ends(plain or host)
    result["host_total"] = undisturbed[-1]
    result["statements"] = statements = []
    for i, (label, _, _) in enumerate(host[0][1:]):
        part, _, operation = label.partition(": ")
        entry = {"part": part, "operation": operation, "host": [shown[i], shown[i + 1]]}
        entry["host_us"] = round(undisturbed[i + 1] - undisturbed[i], 2)
        if durations:
            end, busy = ends[i], durations[i]
            entry |= {"gpu": [round(max(end - busy, 0), 2), end], "gpu_us": busy}
        statements.append(entry)
    return result


def _host_ends(passes: list[list[tuple[str, float, Any]]]) -> list[float]:
    return _medians([[1e6 * (t - marks[0][1]) for _, t, _ in marks] for marks in passes])


def _alone(run: Callable[[], Any]) -> Any:
    """Run while the GPU is idle, and wait for it."""
    if backend.name == "gpu":
        xp.cuda.Device().synchronize()
    result = run()
    if backend.name == "gpu":
        xp.cuda.Device().synchronize()
    return result


def _elapsed(marks: list[tuple[str, float, Any]], *, consecutive: bool) -> list[float]:
    events = [event for _, _, event in marks]
    begins = events[:-1] if consecutive else [events[0]] * (len(events) - 1)
    return [1e3 * xp.cuda.get_elapsed_time(a, b) for a, b in zip(begins, events[1:])]


def _medians(rows: list[list[float]]) -> list[float]:
    return [round(statistics.median(column), 2) for column in zip(*rows)]


def run(*, quick: bool = False) -> dict[str, Any]:
    """Profile both networks, print, write ``book/results/step_timeline.json``; returns the record.

    Without a GPU ``step_timeline_cpu.json``, with host times only.
    """
    images, labels = (x[:BATCH_SIZE] for x in normalized(True))
    content: dict[str, Any] = {
        "what": "one training step, statement by statement, on the host and on the GPU",
        "unit": "microseconds since the start of the step on the host",
        "clocks": __doc__,
        "machine": record.device(),
        "backend": backend.name,
        "data": describe_dataset(),
        "network": f"784-{WIDTH}-10, batch {BATCH_SIZE}",
        "networks": {},
    }
    for name, network in NETWORKS.items():
        found = profile(network, images, labels, QUICK if quick else REPEATS)
        content["networks"][name] = found
        print(f"{name}: host {found['host_total']} µs, GPU busy {found.get('gpu_busy')} µs")
        for s in found["statements"]:
            gpu = f"{s['gpu_us']:8.1f}" if "gpu_us" in s else f"{'-':>8}"
            print(f"  {s['host_us']:8.1f} {gpu}  {s['operation'][:70]}")
    name = "step_timeline" + ("" if backend.name == "gpu" else "_cpu")
    path = record.write(name, record.installed(), content)
    print(f"Written to {path.name} in book/results")
    return content
