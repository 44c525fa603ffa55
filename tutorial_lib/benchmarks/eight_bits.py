"""Does FP8 pay? An epoch, the products, and what they need, beside wider types."""

from functools import partial
from typing import Any

from tutorial_lib import results, training
from tutorial_lib.backend import MatmulComputeType, to_numpy, xp
from tutorial_lib.benchmarks.case import Case
from tutorial_lib.benchmarks.contest import Problem, need_gpu
from tutorial_lib.benchmarks.fusion import in_a_graph, spread
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.networks import MnistNetCaptured, MnistNetHalf
from tutorial_lib.networks.e4m3 import quantize
from tutorial_lib.networks.fp8 import MnistNetFP8, ScaledPlans
from tutorial_lib.timing import measure

WIDTHS = (512, 2048, 4096, 8192)
LARGE = [(8192, 256, 8192), (4096, 4096, 4096), (8192, 8192, 8192)]
TF32 = partial(MnistNetCaptured, compute_type=MatmulComputeType.COMPUTE_32F_FAST_TF32)
NETWORKS = {"float32": MnistNetCaptured, "tf32": TF32, "bfloat16": MnistNetHalf, "fp8": MnistNetFP8}
SOURCES = *(f"networks/{n}.py" for n in ("fp8", "e4m3", "half")), "graphs.py"
SOURCES += (*(f"benchmarks/{n}.py" for n in ("eight_bits", "fusion", "case")),)


def train(hidden: int) -> dict[str, Any]:
    """Of each arithmetic: every 20th loss, right answers, microseconds of a step in a graph."""
    problem, found = Problem(hidden, "float32", BATCH_SIZE, None), {}
    for arithmetic, network in NETWORKS.items():
        with network(784, hidden, 10) as net:
            row = {"losses": to_numpy(problem.train(net))[::20].tolist()}
            row["correct"] = round(training.test(net) * 9984)
            row["step"] = spread(measure(lambda net=net: problem.train(net)).wall, problem.steps)
        print(hidden, arithmetic, found.setdefault(arithmetic, row), flush=True)
    return found


def product(m: int, n: int, k: int) -> dict[str, Any]:
    """Microseconds of (m, k) by (k, n), and of quantizing each operand, by one kernel."""
    row, plans = {"m": m, "n": n, "k": k}, ScaledPlans()
    for arithmetic in ("tf32", "float16", "bfloat16"):
        case = Case(arithmetic, None, m, n, k)
        with case.planned(*case.operands())[0] as mm:
            row[arithmetic] = in_a_graph(mm.execute)
    scale, amax = xp.ones(1, xp.float32), xp.zeros(1, xp.float32)
    a, b = (case.random(rows, k).astype(xp.float32) for rows in (m, n))
    for name, x in {"a": a, "b": b}.items():
        row[f"quantize {name}"] = in_a_graph(lambda x=x: quantize(x, scale, amax))
    b, a = quantize(b, scale, amax), quantize(a, scale, amax)
    row["fp8"] = in_a_graph(lambda: plans.product("b a", b, a))
    plans.free()
    print(row, flush=True)
    return row


def run() -> None:
    """Train and time, print, write ``book/results/fp8.json``."""
    need_gpu("FP8 is timed")
    shapes = [shape for h in WIDTHS for shape in ((h, BATCH_SIZE, 784), (784, h, BATCH_SIZE))]
    record = {
        "what": "784-H-10 in FP8 and in wider types; products; the quantization of operands",
        "unit": "microseconds: lower quartile, median, upper quartile",
        "networks": {str(hidden): train(hidden) for hidden in WIDTHS},
        "products": [product(*shape) for shape in shapes + LARGE],
    }
    print(results.write("fp8", record, sources=SOURCES))
