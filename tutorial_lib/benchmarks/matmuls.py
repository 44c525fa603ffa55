"""The five matmuls of the captured step, as cuBLASLt cuts and launches them, and plain copies."""

import contextlib
import itertools
from functools import partial
from typing import Any

import numpy as np

from tutorial_lib import results
from tutorial_lib.backend import Matmul, MatmulComputeType, xp
from tutorial_lib.benchmarks.contest import need_gpu
from tutorial_lib.benchmarks.fusion import in_a_graph
from tutorial_lib.benchmarks.trace import traced
from tutorial_lib.dataset import BATCH_SIZE, normalized
from tutorial_lib.graphs import captured_time
from tutorial_lib.networks import MnistNetInPlace

COMPUTE_TYPES = {"float32": None, "tf32": MatmulComputeType.COMPUTE_32F_FAST_TF32}
CHOICES = "tile stages split_k reduction_scheme cluster_shape inner_shape cta_swizzling"
MEGABYTES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024)  # read and written
SOURCES = *(f"benchmarks/{n}.py" for n in ("matmuls", "fusion", "trace")), "graphs.py"
SOURCES += tuple(f"networks/{name}.py" for name in ("inplace", "plans"))


def timed(mm: Matmul, algorithm: Any) -> dict[str, Any]:
    """What an algorithm chooses, its microseconds in a graph (quartiles), and its kernels."""
    work, found = partial(mm.execute, algorithm=algorithm), {}
    for name in CHOICES.split():
        with contextlib.suppress(Exception):  # not every algorithm has every choice
            found[name] = np.array(getattr(algorithm, name)).tolist()
    return found | {"us": in_a_graph(work), "kernels": traced(work)["kernels"]}


def of_step(hidden: int, arithmetic: str) -> list[dict[str, Any]]:
    """A row for each matmul of a step: by cuBLASLt's first algorithm, and by its fastest."""
    images, labels = (x[:BATCH_SIZE] for x in normalized(True))
    rows = []
    with MnistNetInPlace(784, hidden, 10, compute_type=COMPUTE_TYPES[arithmetic]) as net:
        net.step(images, labels, xp.empty(1, xp.float32), 0.1)
        for (name, (m, k), (_, n)), mm in net.plans.planned.items():
            row = {"arithmetic": arithmetic, "hidden": hidden, "matmul": name, "m": m, "n": n}
            row |= {"k": k, "candidates": len(mm.algorithms), "first": timed(mm, mm.algorithms[0])}
            seconds = [captured_time(partial(mm.execute, algorithm=a)) for a in mm.algorithms]
            rows.append(row | {"fastest": timed(mm, mm.algorithms[np.argmin(seconds)])})
            print(arithmetic, hidden, name, *(rows[-1][x]["us"] for x in ("first", "fastest")))
    return rows


def copied(megabytes: int) -> list[float]:
    """Microseconds, quartiles, in which so many are moved: half of them read, half written."""
    source = xp.ones(megabytes * 2**20 // 32, xp.complex128)  # 16 bytes at once
    return in_a_graph(partial(xp.negative, source, xp.empty_like(source)))


def run() -> None:
    """Time them, print, write ``book/results/matmuls.json``."""
    need_gpu("the matmuls are timed")
    cases = itertools.product((30, 512, 8192), COMPUTE_TYPES)
    record = {
        "what": "the matmuls of the captured step, each alone in a graph; copies of arrays",
        "unit": "microseconds: lower quartile, median, upper quartile",
        "rows": [row for hidden, arithmetic in cases for row in of_step(hidden, arithmetic)],
        "copies": [{"megabytes": size, "us": copied(size)} for size in MEGABYTES],
    }
    results.write("matmuls", record, sources=SOURCES)
