"""Does FP8 pay? An epoch, the products, and what they need, beside wider types."""

from typing import Any

from tutorial_lib import backend, results, training
from tutorial_lib.backend import MatmulComputeType, to_numpy, xp
from tutorial_lib.benchmarks.case import Case
from tutorial_lib.benchmarks.contest import Absent, Problem
from tutorial_lib.benchmarks.fusion import in_a_graph, spread
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.networks import MnistNetCaptured, fp8
from tutorial_lib.networks.e4m3 import quantize
from tutorial_lib.timing import measure

WIDTHS = (512, 2048, 4096, 8192)
LARGE = ((8192, 256, 8192), (4096, 4096, 4096), (8192, 8192, 8192))
TF32 = {"compute_type": MatmulComputeType.COMPUTE_32F_FAST_TF32}
NETWORKS = {"float32": (MnistNetCaptured, {}), "tf32": (MnistNetCaptured, TF32)}
NETWORKS |= {"fp8": (fp8.MnistNetFP8, {})}
SOURCES = ("networks/fp8.py", "networks/e4m3.py", "benchmarks/eight_bits.py", "graphs.py")


def train(hidden: int) -> dict[str, Any]:
    """Of each arithmetic: every 20th loss, right answers, microseconds of a step in a graph."""
    problem, found = Problem(hidden, "float32", BATCH_SIZE, None), {}
    for arithmetic, (network, given) in NETWORKS.items():
        with network(784, hidden, 10, **given) as model:
            losses = to_numpy(problem.train(model))[::20].tolist()
            correct = round(training.test(model) * 9984)
            wall = measure(lambda model=model: problem.train(model)).wall
        row = {"losses": losses, "correct": correct, "step": spread(wall, problem.steps)}
        print(hidden, arithmetic, found.setdefault(arithmetic, row), flush=True)
    return found


def product(m: int, n: int, k: int) -> dict[str, Any]:
    """Microseconds of (m, k) by (k, n), and of quantizing its operands, by one kernel each."""
    row: dict[str, Any] = {"m": m, "n": n, "k": k}
    for arithmetic in ("tf32", "float16", "bfloat16"):
        case = Case(arithmetic, None, m, n, k)
        with case.planned(*case.operands())[0] as mm:
            row[arithmetic] = in_a_graph(mm.execute)
    a, b, unit, amax = case.random(m, k), case.random(n, k), xp.ones(1, "f"), xp.zeros(1, "f")
    a, b = a.astype(xp.float32), b.astype(xp.float32)
    with fp8.MnistNetFP8(784, 16, 10) as net:
        a8, b8 = (quantize(x, unit, amax) for x in (a, b))
        row["fp8"] = in_a_graph(lambda: net.plans.product("any", b8, a8))
    row["quantize a"], row["quantize b"] = (
        in_a_graph(lambda x=x: quantize(x, unit, amax)) for x in (a, b)
    )
    print(row, flush=True)
    return row


def run() -> None:
    """Train and time, print, write ``book/results/fp8.json``."""
    if backend.name != "gpu":
        raise Absent("FP8 is timed on a GPU, and here is none")
    shapes = [shape for h in WIDTHS for shape in ((h, BATCH_SIZE, 784), (784, h, BATCH_SIZE))]
    record = {
        "what": "784-H-10 in FP8 and in wider types; products; the quantization of operands",
        "unit": "microseconds: lower quartile, median, upper quartile",
        "networks": {str(hidden): train(hidden) for hidden in WIDTHS},
        "products": [product(*shape) for shape in (*shapes, *LARGE)],
    }
    print(results.write("fp8", record, sources=SOURCES))
