"""What does fusion gain? One call with an epilog, against the same work without fusion.

Every form is checked against the others before it is timed. Calls run in a CUDA graph, up to 50 to
a graph, so that Python costs nothing; where CuPy multiplies, which a graph cannot hold, 20 in a row
keep the GPU busy.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import Array, Matmul, MatmulEpilog, to_numpy, xp
from tutorial_lib.benchmarks.case import ARITHMETICS, BACKWARD, FORWARD, Case
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.benchmarks.unfused import IN_CUPY, in_one_kernel
from tutorial_lib.graphs import CapturedWork
from tutorial_lib.timing import measure

WIDTHS, BATCHES = (512, 1024, 2048, 4096, 8192, 16384), (256, 512, 1024, 2048, 4096, 8192)
EXTENTS = tuple(2**i for i in range(3, 14))  # of K
BOUND = {"float32": 1e-4, "tf32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}  # of the largest value
SOURCES = (*(f"benchmarks/{n}.py" for n in ("fusion", "unfused", "case")), "graphs.py")


def shapes(epilog: str) -> list[tuple[int, int, int]]:
    """(M, N, K) of the points: the map, the curve over K, the book's network, a transformer's …"""
    inner = 10 if epilog in BACKWARD else 784
    points = [(width, n, inner) for width in WIDTHS for n in BATCHES]
    points += [(8192, 8192, k) for k in EXTENTS] + [(30, 256, inner)]
    points += [(m, n, k) for m, k in ((16384, 4096), (4096, 16384)) for n in BATCHES[::2]]
    points += [(65536, 16384, 8192)] * arithmetic.endswith("float16")
    return [Case(arithmetic, epilog, *shape) for shape in points]


def spread(seconds: np.ndarray, calls: int) -> list[float]:
    """Lower quartile, median and upper quartile, in microseconds a call."""
    return [float(f"{1e6 * q / calls:.4g}") for q in np.quantile(seconds, (0.25, 0.5, 0.75))]


def in_a_graph(work: Callable[[], Any]) -> list[float]:
    """The `spread` of the GPU time of `work`, many times over in one graph."""
    once = measure(CapturedWork(work).replay, repeats=3).wall.min()
    calls = math.ceil(min(50, 1e-3 / once))
    graph = CapturedWork(partial(in_turn, work, calls))
    repeats = max(5, math.ceil(min(20, 0.2 / (once * calls))))
    return spread(measure(graph.replay, repeats=repeats).wall, calls)


def in_a_row(work: Callable[[], Any], calls: int = 20) -> list[float]:
    """The `spread` of the time of `work`, `calls` times in a row."""
    return spread(measure(partial(in_turn, work, calls), repeats=15).wall, calls)


def in_turn(work: Callable[[], Any], calls: int) -> None:
    """Call `work` so many times."""
    for _ in range(calls):
        work()


def point(case: Case) -> dict[str, Any]:
    """Microseconds of the product alone, fused, with one kernel after it, with CuPy after it."""
    a, b = case.operands()
    inputs, read = case.inputs()
    plain, fused = case._replace(epilog=None).planned(a, b)[0], case.planned(a, b, inputs)[0]
    works = {
        "matmul": plain.execute,
        "fused": fused.execute,
        "one kernel": lambda: in_one_kernel(case.epilog, plain.execute(), read),
        "calls": lambda: IN_CUPY[case.epilog](plain.execute(), read),
    }
    with plain, fused:
        check(case, *(works[form]() for form in ("fused", "one kernel", "calls")))
        return case._asdict() | {form: in_a_graph(work) for form, work in works.items()}


def check(case: Case, fused: Any, *others: tuple[Array, ...]) -> None:
    """Raise ValueError if results, or bias gradients, differ by more than rounding."""
    results = [fused[0], *fused[1].values()] if isinstance(fused, tuple) else [fused]
    for other in others:
        for ours, theirs in zip(results, other):
            if ours.dtype == xp.uint8:  # the mask in bits; backward, it is read
                continue
            ours, theirs = (x[: case.m].astype(xp.float32) for x in (ours, theirs))
            off = float(abs(ours - theirs).max() / abs(theirs).max())
            if not off <= BOUND[case.arithmetic]:
                raise ValueError(f"{case} is off by {off:.1e} of the largest value")


def control() -> list[dict[str, Any]]:
    """A plain product, and alpha A B + beta C, in float32, by nvmath and by CuPy."""
    rows = []
    for m, n, k in ((8192, 8192, 64), (4096, 4096, 4096)):
        case = Case("float32", None, m, n, k)
        (a, b), c = case.operands(), case.random(m, n)
        with case.planned(a, b)[0] as plain, Matmul(a, b, c, alpha=0.5, beta=2.0) as gemm:
            gemm.plan()
            works = {
                "matmul": (plain.execute, lambda a=a, b=b: a @ b),
                "alpha A B + beta C": (gemm.execute, lambda a=a, b=b, c=c: 0.5 * a @ b + 2.0 * c),
            }
            for what, forms in works.items():
                check(case, forms[0](), (forms[1](),))
                times = dict(zip(("nvmath", "cupy"), map(in_a_row, forms)))
                rows.append({"what": what, "m": m, "n": n, "k": k} | times)
    return rows


def operands() -> dict[str, Any]:
    """Microseconds of one planned call from Python, by the kind of its operands."""
    import torch

    pair = Case("float32", None, 512, 256, 784).operands()
    host = [to_numpy(x) for x in pair]
    kinds = {"CuPy": pair, "NumPy": host}
    kinds |= {f"torch, {d}": [torch.as_tensor(x, device=d) for x in host] for d in ("cuda", "cpu")}
    found = {}
    for kind, (a, b) in kinds.items():
        with Matmul(a, b) as mm:
            mm.plan()
            found[kind] = spread(measure(mm.execute, repeats=50, warm_up=10).wall, 1)
    return found


def batch(size: int = 64) -> dict[str, Any]:
    """Microseconds of `size` products (128, 64) (64, 128) with RELU_BIAS: one call, and a loop."""
    rng = backend.random
    a, b = (rng.uniform(-1, 1, (size, *s), dtype=xp.float32) for s in ((128, 64), (64, 128)))
    given = {"epilog": MatmulEpilog.RELU_BIAS, "epilog_inputs": {"bias": a[0, :, 0].copy()}}
    found = {"batch": size, "m": 128, "n": 128, "k": 64}
    with Matmul(a, b) as whole, Matmul(a[0], b[0]) as one:
        whole.plan(**given)
        one.plan(**given)

        def loop() -> None:
            for ours, theirs in zip(a, b):
                one.reset_operands(a=ours, b=theirs)
                one.execute()

        for form, work in {"one call": whole.execute, "loop": loop}.items():
            found[form] = {
                "python": spread(measure(work, repeats=15).wall, 1),
                "graph": in_a_graph(work),
            }
    return found


def run(*, quick: bool = False) -> None:
    """Check and time all points, print, write ``book/results/fusion.json``, or ``_quick``."""
    if backend.name != "gpu":
        raise Absent("fusion is timed on a GPU, and here is none")
    record: dict[str, Any] = {
        "what": "one call with an epilog against the same work without fusion",
        "unit": "microseconds: lower quartile, median, upper quartile",
        "control": control(),
        "operands": operands(),
        "batch": batch(),
        "points": [],
        "failed": [],
    }
    name = "fusion_quick" if quick else "fusion"
    for arithmetic in ARITHMETICS:
        chosen = [case for epilog in FORWARD + BACKWARD for case in cases(arithmetic, epilog)]
        for case in chosen[::29] if quick else chosen:
            try:
                record["points"].append(point(case))
            except Exception as error:
                why = f"{type(error).__name__}: {error}".partition("\n")[0]
                record["failed"].append(case._asdict() | {"error": why})
                print(why)
            print(*case, *list(record["points"][-1].values())[5:], flush=True)
            xp.get_default_memory_pool().free_all_blocks()
        results.write(name, record, sources=SOURCES)
