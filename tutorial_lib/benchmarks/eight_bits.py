"""Does FP8 pay? Its products, and what they need, beside those of wider types, and an epoch."""

from typing import Any

from tutorial_lib import backend, results, training
from tutorial_lib.backend import MatmulComputeType, to_numpy, xp
from tutorial_lib.benchmarks.case import Case
from tutorial_lib.benchmarks.contest import Absent, Problem
from tutorial_lib.benchmarks.fusion import in_a_graph, spread
from tutorial_lib.networks import MnistNetCaptured
from tutorial_lib.networks.e4m3 import Quantized, quantize
from tutorial_lib.networks.fp8 import MnistNetFP8, ScaledPlans
from tutorial_lib.timing import measure

WIDTHS = (512, 2048, 4096, 8192)
LARGE = ((8192, 256, 8192), (16384, 4096, 4096), (8192, 8192, 8192))
TF32 = {"compute_type": MatmulComputeType.COMPUTE_32F_FAST_TF32}
NETWORKS = {"float32": (MnistNetCaptured, {}), "tf32": (MnistNetCaptured, TF32)}
NETWORKS |= {"fp8": (MnistNetFP8, {})}
SOURCES = ("networks/fp8.py", "networks/e4m3.py", "benchmarks/eight_bits.py", "graphs.py")


def train(hidden: int) -> dict[str, Any]:
    """Of each arithmetic: every 20th loss, right answers, microseconds of a step in a graph."""
    problem, found = Problem(hidden, "float32", 256, None), {}
    for arithmetic, (network, given) in NETWORKS.items():
        with network(784, hidden, 10, **given) as model:
            losses = to_numpy(problem.train(model))[::20].tolist()
            correct = round(training.test(model) * 9984)
            wall = measure(lambda model=model: problem.train(model)).wall
        found[arithmetic] = {"losses": losses, "correct": correct}
        found[arithmetic]["step"] = spread(wall, problem.steps)
    return found


def random(rows: int, columns: int) -> Quantized:
    """A matrix of e4m3 numbers up to 128."""
    x = Case("float32", None, rows, 1, columns).operands()[0]
    return quantize(x, xp.full(1, 2**-7, xp.float32), xp.zeros(1, xp.float32))


def product(m: int, n: int, k: int) -> dict[str, Any]:
    """Microseconds of (m, k) by (k, n): FP8 with a float32 result, and the wider types."""
    plans, a, b = ScaledPlans(), random(n, k), random(m, k)
    found = {"fp8": in_a_graph(lambda: plans.product("", a, b))}
    plans.free()
    for arithmetic in ("bfloat16", "float16", "tf32"):
        case = Case(arithmetic, None, m, n, k)
        with case.planned(*case.operands())[0] as mm:
            found[arithmetic] = in_a_graph(mm.execute)
    return {"m": m, "n": n, "k": k} | found


def quantization(rows: int, columns: int) -> dict[str, Any]:
    """Microseconds that one tensor takes to be rounded, transposed and searched: one kernel."""
    x, scale, amax = xp.ones((rows, columns), xp.float32), xp.ones(1, xp.float32), xp.zeros(1, "f")
    row = {"rows": rows, "columns": columns}
    return row | {"one kernel": in_a_graph(lambda: quantize(x, scale, amax))}


def run() -> None:
    """Train and time, print, write ``book/results/fp8.json``."""
    if backend.name != "gpu":
        raise Absent("FP8 is timed on a GPU, and here is none")
    shapes = [shape for h in WIDTHS for shape in ((h, 256, 784), (784, h, 256))]
    record = {
        "what": "an epoch of 784-H-10 in FP8 and in wider types; products; quantization",
        "unit": "microseconds: lower quartile, median, upper quartile",
        "networks": {str(hidden): train(hidden) for hidden in WIDTHS},
        "products": [product(*shape) for shape in (*shapes, *LARGE)],
        "quantization": [quantization(*s) for h in WIDTHS for s in ((h, 784), (256, h))],
    }
    print(results.write("fp8", record, sources=SOURCES))
