"""Which kernels does a call launch? Counted and timed by CUPTI, NVIDIA's profiling interface."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.backend import xp
from tutorial_lib.benchmarks.case import ARITHMETICS, Case
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.functions import binary_cross_entropy, one_hot
from tutorial_lib.networks import MnistNet, MnistNetBase, MnistNetNaive
from tutorial_lib.reference.epilogs import STAGES

# What a kernel does, by a part of its name; what has none of these is the product.
ROLES = {
    "splitKreduce": "split-K sum",
    "split_k": "split-K sum",
    "BgradAB": "bias gradient",
    "epilogue": "epilog",
    "Memset": "memset",
}
LAYER = [(width, BATCH_SIZE, k) for k in (784, 10) for width in (30, 512, 8192)]
CUBES = [(4096,) * 3, (8192,) * 3]
# What the record depends on.
SOURCES = (
    *(f"benchmarks/{name}.py" for name in ("profiler", "case")),
    *(f"networks/{name}.py" for name in ("base", "naive", "fused")),
)


def kernels(work: Callable[[], Any]) -> list[tuple[str, float]]:
    """Name and microseconds of each kernel that `work` launches, in the order in which they run.

    Call `work` once before, so that everything is planned and compiled. Absent without a GPU.
    """
    if backend.name != "gpu":
        raise Absent("kernels are counted on a GPU, and here is none")
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    backend.synchronize()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as seen:
        work()
        backend.synchronize()
    events = [event for event in seen.events() if event.device_type == DeviceType.CUDA]
    events.sort(key=lambda event: event.time_range.start)
    return [(event.name, round(event.time_range.elapsed_us(), 2)) for event in events]


def role(name: str) -> str:
    """What a kernel of cuBLASLt does, read off its name."""
    return next((what for part, what in ROLES.items() if part in name), "product")


def count(found: list[tuple[str, float]]) -> int:
    """The number of kernels, without memsets."""
    return sum(role(name) != "memset" for name, _ in found)


def listed(found: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """The kernels for a record: names without return types and arguments, up to 160 characters."""
    return [{"name": re.sub(r"^void |\(.*$", "", name)[:160], "us": us} for name, us in found]


def of_call(case: Case) -> dict[str, Any]:
    """The kernels of a call with cuBLASLt's first algorithm, and how many each algorithm needs."""
    row = case._asdict()
    try:
        inputs, _ = case.inputs()
        mm, algorithms = case.planned(*case.operands(), inputs)
        with mm:
            mm.execute()
            row["kernels"] = listed(kernels(mm.execute))
            counts = [count(kernels(partial(mm.execute, algorithm=a))) for a in algorithms]
            return row | {"candidates": counts}
    except Exception as error:  # nvmath or cuBLASLt refuses, or CuPy has no such type
        return row | {"refused": f"{type(error).__name__}: {error}".partition("\n")[0][:200]}


def of_step(network: type[MnistNetBase], width: int) -> dict[str, list[dict[str, Any]]]:
    """The kernels of one training step of 784-`width`-10, by the statements of `step`."""
    images, labels = (array[:BATCH_SIZE] for array in normalized(True))
    model, loss = network(784, width, 10), xp.empty(1, xp.float32)
    for _ in range(3):
        model.step(images, labels, loss, 0.1)
    made: dict[str, Any] = {}

    def update() -> None:
        for parameter, gradient in zip(model.parameters, made["backward"]):
            parameter -= 0.1 * gradient

    parts = {
        "forward": lambda: model.forward(images),
        "targets": lambda: one_hot(labels, 10),
        "loss": lambda: binary_cross_entropy(made["forward"], made["targets"]),
        "write the loss": lambda: loss.__setitem__(..., made["loss"]),
        "gradient of the loss": lambda: (made["forward"] - made["targets"]) / BATCH_SIZE,
        "backward": lambda: model.backward(made["gradient of the loss"]),
        "update": update,
    }
    return {
        part: listed(kernels(lambda w=w, p=part: made.update({p: w()})))
        for part, w in parts.items()
    }


def run(*, quick: bool = False) -> None:
    """Count for every epilog, print, write ``book/results/kernels.json``, or ``_quick``."""
    shapes = LAYER[2:3] if quick else LAYER + CUBES
    names = [None, *(epilog.name for epilog in STAGES)]
    networks, widths = (MnistNetNaive, MnistNet), (30, 512, 8192)
    steps = {n.__name__: {str(width): of_step(n, width) for width in widths} for n in networks}
    cases = [Case(a, e, *shape) for shape in shapes for a in ARITHMETICS for e in names]
    calls = []
    for case in cases:
        calls.append(of_call(case))
        print(*case, calls[-1].get("candidates") or calls[-1]["refused"], flush=True)
    what = "the kernels that one call launches, with cuBLASLt's first algorithm, by CUPTI"
    record = {"what": what, "calls": calls, "steps": steps}
    results.write("kernels_quick" if quick else "kernels", record, sources=SOURCES)
