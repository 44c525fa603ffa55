"""The book's own kernels against cuBLASLt's: time, kernels and errors of the same call."""

from itertools import product
from typing import Any

import numpy as np

from tutorial_lib import backend, kernels, results
from tutorial_lib.backend import Array, to_numpy, xp
from tutorial_lib.benchmarks import profiler
from tutorial_lib.benchmarks.case import ARITHMETICS, Case
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.benchmarks.fusion import in_a_graph
from tutorial_lib.benchmarks.unfused import in_one_kernel
from tutorial_lib.dataset import BATCH_SIZE

WIDTHS = (512, 2048, 8192)
EPILOGS = {"RELU_AUX_BIAS": 784, "DRELU_BGRAD": 10}  # with K
SOURCES = tuple(f"benchmarks/{n}.py" for n in ("own_epilog", "case", "fusion", "unfused"))
SOURCES += ("benchmarks/profiler.py", "graphs.py", "kernels/in_triton.py")


def compared(case: Case) -> dict[str, Any]:
    """Microseconds, kernels and largest errors of a case: fused, with one kernel after it, own.

    An error is relative to the largest value in float64. Forward, `differ` counts the bits of our
    mask that are not cuBLASLt's.
    """
    (a, b), (inputs, read) = case.operands(), case.inputs()
    (extra,) = inputs.values()
    precision = "tf32" if case.arithmetic == "tf32" else "tf32x3"
    own = getattr(kernels, case.epilog.lower())
    planned = case.planned(a, b, inputs)[0], case._replace(epilog=None).planned(a, b)[0]
    with planned[0] as fused, planned[1] as plain:
        forms = {
            "fused": fused.execute,
            "one kernel": lambda: in_one_kernel(case.epilog, plain.execute(), read),
            "own": lambda: own(a, b, extra, precision=precision),
        }
        found = {form: work() for form, work in forms.items()}
        found["fused"] = found["fused"][0], *found["fused"][1].values()
        exact = in_float64(case, a, b, read)
        row = case._asdict()
        for form, work in forms.items():
            errors = [off(x, y) for x, y in zip(found[form], exact)]
            launched = profiler.listed(profiler.kernels(work))
            row[form] = {"us": in_a_graph(work), "kernels": launched, "off": errors}
    if case.epilog == "RELU_AUX_BIAS":
        differ = to_numpy(found["own"][1] ^ found["fused"][1])[: case.m // 8]
        row["differ"] = int(np.unpackbits(differ).sum())
    return row


def in_float64(case: Case, a: Array, b: Array, read: Array) -> tuple[Array, ...]:
    """The result, and backward the bias gradient."""
    z, read = wide(a) @ wide(b), wide(read)
    forward = case.epilog == "RELU_AUX_BIAS"
    return (xp.maximum(z + read, 0),) if forward else (z * read, (z * read).sum(axis=1))


def wide(x: Array) -> Array:
    """In float64."""
    return x.astype(xp.float32).astype(xp.float64)


def off(x: Array, exact: Array) -> float:
    """The largest error of x, relative to the largest value, to two digits."""
    return float(f"{float(abs(wide(x) - exact).max() / abs(exact).max()):.2g}")


def run() -> None:
    """Compare at each width and arithmetic, print, write ``book/results/own_epilog.json``."""
    if backend.name != "gpu":
        raise Absent("the kernels are timed on a GPU, and here is none")
    rows = []
    for arithmetic, width, (epilog, k) in product(ARITHMETICS, WIDTHS, EPILOGS.items()):
        rows.append(compared(Case(arithmetic, epilog, width, BATCH_SIZE, k)))
        print(*rows[-1].values(), flush=True)
    what = (
        "one call with an epilog by cuBLASLt, as product and kernel, and by the book's own kernel"
    )
    unit = "microseconds in a graph: lower quartile, median, upper quartile"
    results.write("own_epilog", {"what": what, "unit": unit, "rows": rows}, sources=SOURCES)
