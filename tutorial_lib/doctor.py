"""What this machine offers the book: one line, or a report with remedies."""

import importlib.metadata
import platform

import numpy as np

from tutorial_lib import backend
from tutorial_lib.dataset import DatasetError, describe_dataset, mnist_root

PACKAGES = (
    "numpy",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "nvmath-python",
    "torch",
    "torchvision",
    "matplotlib",
)
TOOLS = ("jupyter-book", "nbval")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def describe_backend() -> str:
    """One line: libraries with versions, device, and the data set in use."""
    if backend.name == "gpu":
        import cupy
        import nvmath
        from nvmath.bindings import cublasLt

        device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
        versions = cupy.__version__, nvmath.__version__, cublasLt.get_version()
        libraries = "CuPy {}, nvmath-python {}, cuBLASLt {}".format(*versions)
    else:
        device = f"{platform.machine()} CPU"
        libraries = f"NumPy {np.__version__} and the reference epilogs"
    return f"{libraries} | {device} | {describe_dataset()}"


def report() -> str:
    """What was found, what is missing and how to get it, as text."""
    lines = [f"Python {platform.python_version()} on {platform.platform()}", "", "Packages"]
    for package in PACKAGES + TOOLS:
        lines.append(f"  {package:14} {_version(package) or '-'}")
    problem = backend.find_gpu_problem()
    lines += ["", f"GPU       {'missing: ' + problem if problem else 'works'}"]
    lines += [f"Backend   {backend.name}" + (f" ({backend.reason})" if backend.reason else "")]
    lines += [f"Weights   {_check_stream()}"]
    try:
        lines += [f"Data      {describe_dataset()}; MNIST_ROOT is {mnist_root()}"]
    except (DatasetError, ImportError) as error:
        lines += [f"Data      unusable: {error}"]
    return "\n".join(lines)


def _check_stream() -> str:
    try:
        backend.random.seed(1234)
    except (ImportError, RuntimeError) as error:
        return f"cannot be drawn: {error}"
    computed = "on the GPU" if backend.name == "gpu" else "by NumPy, bit for bit"
    return f"drawn from cuRAND's XORWOW stream, {computed}"
