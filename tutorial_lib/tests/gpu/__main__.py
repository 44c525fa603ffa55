"""`python -m tutorial_lib.tests.gpu`: all comparisons with the GPU; writes conformance.json.

Needs a GPU, CuPy and nvmath-python, and the full MNIST data set for the training comparison.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import xp
from tutorial_lib.dataset import describe_dataset
from tutorial_lib.doctor import describe_backend
from tutorial_lib.reference import random as reference_random
from tutorial_lib.tests.gpu import candidates, conformance, questions, training_runs

SEEDS = [0, 1, 1234, 2**32 - 1, 2**64 - 1]
SIZES = [1, 7, 30, 256, 1001, 23_520, 65_537]


def to_device(x: np.ndarray):
    """The array on the GPU with its very strides, also where an extent of 1 leaves them open."""
    span = sum(stride * (extent - 1) for stride, extent in zip(x.strides, x.shape)) + x.itemsize
    y = xp.ndarray(x.shape, x.dtype, memptr=xp.cuda.alloc(span), strides=x.strides)
    y[...] = xp.asarray(np.ascontiguousarray(x))
    return y


def compare_streams() -> dict[str, int]:
    """CuPy's random numbers and the reference's, bit for bit, over seeds and calls of odd sizes."""
    drawn = different = 0
    for seed in SEEDS:
        for stream in (xp.random, reference_random):
            stream.seed(seed)
        for size in SIZES:
            for bound in (1.0, 1 / 28, 1 / 30**0.5):
                theirs = xp.random.uniform(-bound, bound, size, dtype=xp.float32).get()
                ours = reference_random.uniform(-bound, bound, size, dtype=np.float32)
                drawn += size
                different += int(np.count_nonzero(ours.view(np.int32) != theirs.view(np.int32)))
    return {"drawn": drawn, "different": different, "seeds": len(SEEDS)}


def compare_training() -> dict[str, dict]:
    """The training runs on the GPU, and in a process of its own on the CPU."""
    command = [sys.executable, "-m", "tutorial_lib.tests.gpu.training_runs"]
    environment = os.environ | {"TUTORIAL_BACKEND": "cpu"}
    cpu = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    gpu_runs = training_runs.train_all()
    return training_runs.compare(json.loads(cpu.communicate()[0].splitlines()[-1]), gpu_runs)


COMPARISONS = {
    "matmul": lambda: conformance.compare_all(backend, to_device),
    "questions": lambda: questions.ask_all(backend, xp),
    "candidates": lambda: candidates.count_all(backend, xp),
    "nan": lambda: conformance.nan_under_relu(backend, to_device),
    "rounding": lambda: conformance.rounding(backend, to_device),
    "random": compare_streams,
    "training": compare_training,
    "device_memory_bytes": training_runs.device_memory,
}


def main() -> None:
    """Compare, print a summary, write the record; exit status 1 if anything disagrees."""
    if backend.name != "gpu":
        sys.exit(f"conformance needs a GPU: {backend.reason}")
    from nvmath.bindings import cublasLt

    start = time.time()
    content = {
        "what": "the reference backend against nvmath, cuBLASLt and cuRAND on a GPU",
        "machine": results.machine().partition(";")[0],
        "cupy": xp.__version__,
        "cublaslt": cublasLt.get_version(),
        "backend": describe_backend(),
        "data": describe_dataset(),
    }
    for part, compare in COMPARISONS.items():
        content[part] = compare()
        print(f"{time.time() - start:.0f} s: {part}", flush=True)
        print(json.dumps(content[part], indent=1), flush=True)
    disagreements = content["matmul"]["disagreements"]
    for what, where in disagreements.items():
        disagreements[what] = [*where[:5], f"{len(where)} in all"]
    results.write("conformance", content)
    runs = [run for found in content["candidates"].values() for run in found.values()]
    wrong = any(run["agree"] < run["candidates"] for run in runs)
    found = disagreements, content["questions"]["disagreements"], content["random"]["different"]
    sys.exit(wrong or any(found))


if __name__ == "__main__":
    main()
