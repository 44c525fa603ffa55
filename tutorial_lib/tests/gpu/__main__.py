"""`python -m tutorial_lib.tests.gpu`: all comparisons with the GPU; writes conformance.json.

Needs a GPU, CuPy and nvmath-python, and the full MNIST data set for the training comparison; no
package index and no network.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.dataset import describe_dataset
from tutorial_lib.doctor import describe_backend
from tutorial_lib.reference import random as reference_random
from tutorial_lib.tests.gpu import candidates, conformance, questions
from tutorial_lib.tests.gpu.training import EPOCHS, WIDTHS, compare, device_memory, train_all

SEEDS = [0, 1, 1234, 2**32 - 1, 2**64 - 1]
SIZES = [1, 7, 30, 256, 1001, 23_520, 65_537]


def to_device(x: np.ndarray):
    """The array on the GPU with its very strides, also where an extent of 1 leaves them open."""
    import cupy

    span = sum(stride * (extent - 1) for stride, extent in zip(x.strides, x.shape)) + x.itemsize
    y = cupy.ndarray(x.shape, x.dtype, memptr=cupy.cuda.alloc(span), strides=x.strides)
    y[...] = cupy.asarray(np.ascontiguousarray(x))
    return y


def compare_streams() -> dict[str, int]:
    """CuPy's random numbers and the reference's, bit for bit, over seeds and calls of odd sizes."""
    import cupy

    drawn = different = 0
    for seed in SEEDS:
        for stream in (cupy.random, reference_random):
            stream.seed(seed)
        for size in SIZES:
            for bound in (1.0, 1 / 28, 1 / 30**0.5):
                arguments = (-bound, bound, size)
                theirs = cupy.random.uniform(*arguments, dtype=cupy.float32).get()
                ours = reference_random.uniform(*arguments, dtype=np.float32)
                drawn += size
                different += int(np.count_nonzero(ours.view(np.int32) != theirs.view(np.int32)))
    return {"drawn": drawn, "different": different, "seeds": len(SEEDS)}


def main() -> None:
    """Compare, print a summary, write the record; exit status 1 if anything disagrees."""
    if backend.name != "gpu":
        sys.exit(f"conformance needs a GPU: {backend.reason}")
    import cupy
    from nvmath.bindings import cublasLt

    start = time.time()
    matmuls = conformance.compare_all(backend, to_device)
    print(f"matmul: {matmuls['cases']} cases in {time.time() - start:.0f} s", flush=True)
    for name, count in matmuls["per_epilog"].items():
        print(f"  {name:14} {count}")
    for what, where in matmuls["disagreements"].items():
        print(f"  DISAGREE {len(where):4} {what}  e.g. {where[0]}")
        matmuls["disagreements"][what] = [*where[:5], f"{len(where)} in all"]
    answers = questions.ask_all(backend, cupy)
    print(f"questions: {len(answers['answers'])}", flush=True)
    for name, text in answers["disagreements"].items():
        print(f"  DISAGREE {name}: {text}; the library says {answers['answers'][name]}")
    algorithms = candidates.count_all(backend, cupy)
    print(f"candidate algorithms, {time.time() - start:.0f} s", flush=True)
    for name, by_arithmetic in algorithms.items():
        print(f"  {name:40} {by_arithmetic}")
    streams = compare_streams()
    print(f"random stream: {streams}", flush=True)
    print(f"training on the CPU and the GPU, widths {WIDTHS}, {EPOCHS} epochs", flush=True)
    command = [sys.executable, "-m", "tutorial_lib.tests.gpu.training"]
    environment = os.environ | {"TUTORIAL_BACKEND": "cpu"}
    cpu = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    gpu_runs = train_all()
    training = compare(json.loads(cpu.communicate()[0].splitlines()[-1]), gpu_runs)
    for name, result in training.items():
        print(f"  {name:24} {result}")
    memory = device_memory()
    print(f"device memory after 2 and 20 epochs: {memory}", flush=True)
    path = results.write(
        "conformance",
        {
            "what": "the reference backend against nvmath, cuBLASLt and cuRAND on a GPU",
            "cupy": cupy.__version__,
            "cublaslt": cublasLt.get_version(),
            "backend": describe_backend(),
            "data": describe_dataset(),
            "matmul": matmuls,
            "questions": answers,
            "candidates": algorithms,
            "nan": conformance.nan_under_relu(backend, to_device),
            "random": streams,
            "training": training,
            "device_memory_bytes": memory,
        },
    )
    print(f"Written to {path.name} in book/results, {time.time() - start:.0f} s")
    wrong = [x for y in algorithms.values() for x in y.values() if x["agree"] < x["candidates"]]
    sys.exit(
        bool(matmuls["disagreements"] or answers["disagreements"] or wrong or streams["different"])
    )


if __name__ == "__main__":
    main()
