"""What does fusion gain? One call with an epilog, against the same work without fusion.

Every form is checked against the others before it is timed. Calls run in a CUDA graph, up to 50 to
a graph, so that Python costs nothing; where CuPy multiplies, which a graph cannot hold, 20 in a row
keep the GPU busy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import Array, Matmul, MatmulEpilog, to_numpy, xp
from tutorial_lib.benchmarks.case import ARITHMETICS, BACKWARD, FORWARD, Case
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.benchmarks.unfused import FROM_RESULT, IN_CUPY, in_one_kernel
from tutorial_lib.graphs import CapturedWork
from tutorial_lib.timing import measure

WIDTHS, BATCHES = (512, 1024, 2048, 4096, 8192, 16384), (256, 512, 1024, 2048, 4096, 8192)
EXTENTS = tuple(2**i for i in range(3, 14))  # of K
BOUND = {"float32": 1e-4, "tf32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}  # of the largest value
SOURCES = (*(f"benchmarks/{n}.py" for n in ("fusion", "unfused", "case")), "graphs.py")


def shapes(arithmetic: str, inner: int) -> list[tuple[int, int, int]]:
    """(M, N, K): a map at K = `inner`, a curve over K, the book's layer, an MLP's, an article's."""
    points = [(width, n, inner) for width in WIDTHS for n in BATCHES]
    points += [(8192, 8192, k) for k in EXTENTS] + [(30, 256, inner)]
    points += [(m, n, k) for m, k in ((16384, 4096), (4096, 16384)) for n in BATCHES[::2]]
    return points + [(65536, 16384, 8192)] * arithmetic.endswith("float16")


def spread(seconds: np.ndarray, calls: int) -> list[float]:
    """Lower quartile, median and upper quartile, in microseconds a call."""
    return [float(f"{1e6 * q / calls:.4g}") for q in np.quantile(seconds, (0.25, 0.5, 0.75))]


def in_a_graph(work: Callable[[], Any]) -> list[float]:
    """The `spread` of the GPU time of `work`, many times over in one graph."""
    launched = measure(work, repeats=2).wall.min()  # by Python, which may take longer
    calls = math.ceil(min(50, 4e-3 / launched))
    graph = CapturedWork(lambda: in_turn(work, calls))
    repeats = math.ceil(max(5, min(20, 0.1 / launched / calls)))
    times = measure(graph.replay, repeats=repeats).wall
    graph.free()
    return spread(times, calls)


def in_a_row(work: Callable[[], Any], calls: int = 20) -> list[float]:
    """The `spread` of the time of `work`, `calls` times in a row."""
    return spread(measure(lambda: in_turn(work, calls), repeats=15).wall, calls)


def in_turn(work: Callable[[], Any], calls: int) -> None:
    """Call `work` so many times."""
    for _ in range(calls):
        work()


def points(arithmetic: str, epilogs: Sequence[str], m: int, n: int, k: int) -> Iterator[dict]:
    """A row for each epilog: microseconds of the product alone, and of each form of the whole."""
    a, b = Case(arithmetic, epilogs[0], m, n, k).operands()
    with Case(arithmetic, None, m, n, k).planned(a, b)[0] as plain:
        alone = in_a_graph(plain.execute)
        for epilog in epilogs:
            case = Case(arithmetic, epilog, m, n, k)
            yield case._asdict() | {"matmul": alone} | whole(case, a, b, plain)


def whole(case: Case, a: Array, b: Array, plain: Matmul) -> dict[str, list[float]]:
    """The product with its epilog's work: fused, with one kernel after it, with CuPy after it."""
    inputs, read = case.inputs()
    with case.planned(a, b, inputs)[0] as fused:
        forms = {
            "fused": fused.execute,
            "one kernel": lambda: in_one_kernel(case.epilog, plain.execute(), read),
            "calls": lambda: IN_CUPY[case.epilog](plain.execute(), read),
        }
        check(case, *(work() for work in forms.values()))
        if case.epilog == "DRELU_BGRAD":
            y = case.random(case.n, case.m).T
            forms["from the result"] = lambda: in_one_kernel(FROM_RESULT, plain.execute(), y)
        return {form: in_a_graph(work) for form, work in forms.items()}


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
    }
    name = "fusion_quick" if quick else "fusion"
    for arithmetic, (epilogs, inner) in product(ARITHMETICS, ((FORWARD, 784), (BACKWARD, 10))):
        for shape in shapes(arithmetic, inner)[:: 11 if quick else 1]:
            for row in points(arithmetic, epilogs, *shape):
                record["points"].append(row)
                print(*row.values(), flush=True)
            xp.get_default_memory_pool().free_all_blocks()
        results.write(name, record, sources=SOURCES)
