"""Which backend is chosen, how a missing GPU is explained, and how light an import is."""

import ctypes
import os
import re
import subprocess
import sys
from itertools import repeat
from unittest.mock import Mock

import numpy as np
import pytest

from tutorial_lib import backend, describe_backend
from tutorial_lib.doctor import report
from tutorial_lib.tests.conftest import forget


def python(code, **environment):
    """What a Python process prints, and the last line of its error, if it ends with one."""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    return run.stdout + "".join(run.stderr.splitlines()[-1:])


def test_the_backend_is_chosen_by_request_and_what_is_missing_is_named():
    code = "from tutorial_lib import backend, xp; print(backend.name, xp.__name__, backend.reason)"
    assert python(code, TUTORIAL_BACKEND="cpu") == "cpu numpy TUTORIAL_BACKEND=cpu\n"
    unknown = "ValueError: TUTORIAL_BACKEND must be gpu or cpu, it is 'tpu'"
    assert python(code, TUTORIAL_BACKEND="tpu") == unknown
    problem = backend.find_gpu_problem()
    missing = f"RuntimeError: TUTORIAL_BACKEND=gpu, but {problem}" if problem else "gpu cupy \n"
    assert python(code, TUTORIAL_BACKEND="gpu") == missing


def test_each_thing_that_keeps_a_gpu_from_being_used_is_named(monkeypatch):
    pytest.importorskip("nvmath.linalg.advanced")  # before the loader is replaced, which it uses
    cublaslt = pytest.importorskip("nvmath.bindings").cublasLt
    runtime = pytest.importorskip("cupy").cuda.runtime

    def problem(place, name, result):
        monkeypatch.setattr(place, name, Mock(side_effect=repeat(result)))  # errors are raised
        return backend.find_gpu_problem()

    assert "no NVIDIA driver" in problem(ctypes, "CDLL", OSError())
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    for module in ("cupy", "nvmath.bindings", "nvmath.linalg.advanced"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            found = backend.find_gpu_problem()
        assert re.fullmatch(rf"CuPy .* imported \(.*{module} .*\): pip install .*cu12\]'", found)
    assert problem(runtime, "getDeviceCount", runtime.CUDARuntimeError(35)).startswith(
        "CuPy sees no GPU ("
    )
    monkeypatch.setattr(runtime, "getDeviceCount", lambda: 1)
    found = problem(cublaslt, "get_version", RuntimeError("no libcublasLt.so.12"))
    assert found.startswith("cuBLASLt cannot be loaded (no libcublasLt.so.12): pip install")
    assert problem(cublaslt, "get_version", 120804) == ""
    assert backend._choose("gpu") == backend._choose("") == ("gpu", "")


def test_the_import_is_light_and_has_the_published_names():
    code = """
import sys
from tutorial_lib import *
from tutorial_lib import backend
heavy = {"torch", "torchvision", "matplotlib", "cupy", "nvmath", "IPython"}
print(*heavy.intersection(sys.modules))
print(BATCH_SIZE, Matmul, MatmulEpilog, MnistNet, MnistNetBase, MnistNetNaive, binary_cross_entropy,
      describe_backend, get_loader, one_hot, plot_predictions, show, sigmoid, test, train, xp)
"""
    assert python(code, TUTORIAL_BACKEND="cpu").startswith("\n256 <class ")


def test_doctor_says_what_is_used_and_what_is_wrong(fresh_dataset, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    assert re.fullmatch(r".+ \| .+ \| 5,000-image MNIST sample .*", describe_backend())
    forget()
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"half")
    missing = ImportError("no libcurand: install nvidia-curand-cu12")
    monkeypatch.setattr(backend.random, "seed", Mock(side_effect=missing))
    gpu = backend.find_gpu_problem() or "works"
    for line in (
        f"\nnumpy +{np.__version__}\n",
        f"\nGPU .*{re.escape(gpu)}\n",
        f"\nBackend +{backend.name}: ",
        "\nWeights +unusable: no libcurand: install nvidia-curand-cu12\n",
        "\nData +unusable: .*t10k-labels-idx1-ubyte is damaged",
    ):
        assert re.search(line, report())
