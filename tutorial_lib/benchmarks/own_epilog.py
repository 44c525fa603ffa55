"""The book's own kernels against cuBLASLt's: time, kernels and errors of the same call."""

from itertools import product
from typing import Any

import numpy as np

from tutorial_lib import kernels, results
from tutorial_lib.backend import Array, to_numpy, xp
from tutorial_lib.benchmarks import profiler
from tutorial_lib.benchmarks.case import ARITHMETICS, Case
from tutorial_lib.benchmarks.contest import need_gpu
from tutorial_lib.benchmarks.fusion import in_a_graph
from tutorial_lib.benchmarks.unfused import in_one_kernel
from tutorial_lib.dataset import BATCH_SIZE

WIDTHS = (30, 512, 2048, 8192)
EPILOGS = {"RELU_AUX_BIAS": 784, "DRELU_BGRAD": 10}  # with K
FILES = "own_epilog", "case", "fusion", "unfused", "profiler"
SOURCES = *(f"benchmarks/{name}.py" for name in FILES), "graphs.py", "kernels/in_triton.py"


def compared(case: Case) -> dict[str, Any]:
    """Microseconds, kernels and largest errors of a case: fused, with one kernel after it, own.

    An error is relative to the largest value in float64. Forward, `differ` counts the bits of our
    mask that are not cuBLASLt's.
    """
    (a, b), (inputs, read) = case.operands(), case.inputs()
    (extra,) = inputs.values()
    forward, row, found = case.epilog == "RELU_AUX_BIAS", case._asdict(), {}
    precision = "tf32" if case.arithmetic == "tf32" else "tf32x3"
    own = getattr(kernels, case.epilog.lower())
    exact = in_float64(a, b, read, forward=forward)
    planned = case.planned(a, b, inputs)[0], case._replace(epilog=None).planned(a, b)[0]
    with planned[0] as fused, planned[1] as plain:
        for form, work in {
            "fused": fused.execute,
            "one kernel": lambda: in_one_kernel(case.epilog, plain.execute(), read),
            "own": lambda: own(a, b, extra, precision=precision),
        }.items():
            d, *more = work()
            found[form] = d, *(more[0].values() if form == "fused" else more)
            errors = [off(x, y) for x, y in zip(found[form], exact)]
            launched = profiler.listed(profiler.kernels(work))
            row[form] = {"us": in_a_graph(work), "kernels": launched, "off": errors}
    if forward:
        differ = to_numpy(found["own"][1] ^ found["fused"][1])[: case.m // 8]
        row["differ"] = int(np.unpackbits(differ).sum())
    return row


def in_float64(a: Array, b: Array, read: Array, *, forward: bool) -> tuple[Array, ...]:
    """The result, and backward the bias gradient."""
    a, b, read = (x.astype(xp.float32).astype(xp.float64) for x in (a, b, read))
    z = a @ b
    return (xp.maximum(z + read, 0),) if forward else (z * read, (z * read).sum(axis=1))


def off(x: Array, exact: Array) -> float:
    """The largest error of x, relative to the largest value, to two digits."""
    return float(f"{float(abs(x.astype(xp.float32) - exact).max() / abs(exact).max()):.2g}")


def run() -> None:
    """Compare at each width and arithmetic, print, write ``book/results/own_epilog.json``."""
    need_gpu("the kernels are timed")
    rows = []
    for arithmetic, width, (epilog, k) in product(ARITHMETICS, WIDTHS, EPILOGS.items()):
        rows.append(compared(Case(arithmetic, epilog, width, BATCH_SIZE, k)))
        print(*rows[-1].values(), flush=True)
    what = "a call with an epilog by cuBLASLt, as product and kernel, and by the book's own kernel"
    unit = "microseconds in a graph: lower quartile, median, upper quartile"
    results.write("own_epilog", {"what": what, "unit": unit, "rows": rows}, sources=SOURCES)
