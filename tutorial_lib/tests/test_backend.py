"""Which backend is chosen, how a missing GPU is explained, and how light an import is."""

import ctypes
import os
import subprocess
import sys

import pytest

from tutorial_lib import backend, describe_backend
from tutorial_lib.doctor import report


def python(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_an_unknown_backend_is_refused():
    run = python("import tutorial_lib", TUTORIAL_BACKEND="tpu")
    assert run.returncode
    assert "ValueError: TUTORIAL_BACKEND must be gpu or cpu, it is 'tpu'" in run.stderr


@pytest.mark.skipif(backend.find_gpu_problem() == "", reason="there is a GPU")
def test_asking_for_a_gpu_that_is_not_there_names_what_is_missing():
    run = python("import tutorial_lib", TUTORIAL_BACKEND="gpu")
    assert run.returncode
    assert f"RuntimeError: TUTORIAL_BACKEND=gpu, but {backend.find_gpu_problem()}" in run.stderr


def test_cpu_by_request():
    code = "from tutorial_lib import backend, xp; print(backend.name, xp.__name__, backend.reason)"
    assert python(code, TUTORIAL_BACKEND="cpu").stdout == "cpu numpy TUTORIAL_BACKEND=cpu\n"


@pytest.fixture
def driver(monkeypatch):
    """A machine on which the driver's library loads."""
    pytest.importorskip("cupy")  # before the loader is replaced, which they use themselves
    pytest.importorskip("nvmath.linalg.advanced")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("module", "package"), [("cupy", "cupy-cuda12x"), ("nvmath.linalg.advanced", "nvmath-python")]
)
def test_a_missing_package_is_named(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    assert package in backend.find_gpu_problem()


@pytest.mark.usefixtures("driver")
def test_no_visible_gpu(monkeypatch):
    cupy = pytest.importorskip("cupy")
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 0)
    assert "CUDA_VISIBLE_DEVICES" in backend.find_gpu_problem()

    def fail():
        raise cupy.cuda.runtime.CUDARuntimeError(35)

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", fail)
    assert "CuPy sees no GPU" in backend.find_gpu_problem()


@pytest.mark.usefixtures("driver")
def test_cublaslt_that_does_not_load(monkeypatch):
    cupy = pytest.importorskip("cupy")
    from nvmath.bindings import cublasLt

    def fail():
        raise RuntimeError("libcublasLt.so.12 not found")

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 1)
    monkeypatch.setattr(cublasLt, "get_version", fail)
    assert "cuBLASLt cannot be loaded (libcublasLt.so.12 not found)" in backend.find_gpu_problem()
    monkeypatch.setattr(cublasLt, "get_version", lambda: 120804)
    assert backend.find_gpu_problem() == ""
    assert backend._choose("gpu") == backend._choose("") == ("gpu", "")


def test_the_import_is_light():
    code = "import sys, tutorial_lib; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    modules = python(code, TUTORIAL_BACKEND="cpu").stdout.split()
    assert "tutorial_lib" in modules
    assert not {"torch", "torchvision", "matplotlib", "cupy", "nvmath", "IPython"} & set(modules)


def test_published_names():
    names = (
        "BATCH_SIZE get_loader one_hot sigmoid binary_cross_entropy MnistNetBase MnistNet train"
        " test plot_predictions MnistNetNaive xp Matmul MatmulEpilog describe_backend show"
    )
    code = "from tutorial_lib import " + ", ".join(names.split())
    run = python(code)
    assert not run.stderr
    assert run.returncode == 0
    assert "no attribute 'nothing'" in python("import tutorial_lib; tutorial_lib.nothing").stderr


def test_descriptions():
    assert "\n" not in describe_backend()
    assert "MNIST" in describe_backend()
    text = report()
    assert backend.name in text
    assert (backend.find_gpu_problem() or "works") in text


def test_doctor_reports_a_damaged_file_and_a_missing_library(fresh_dataset, monkeypatch, tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"half")
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))

    def fail(seed):
        raise ImportError("no libcurand: install nvidia-curand-cu12")

    monkeypatch.setattr(backend.random, "seed", fail)
    text = report()
    assert "Data      unusable" in text
    assert "t10k-labels-idx1-ubyte is damaged" in text
    assert "Weights   cannot be drawn: no libcurand" in text
