"""What this machine offers the book: one line, or a report with remedies."""

import platform

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.dataset import DatasetError, describe_dataset, mnist_root
from tutorial_lib.kernels.needs import KERNELS, Device, needs, problem, this_device
from tutorial_lib.networks import merged, one_kernel

PACKAGES = (*results.PACKAGES, "torchvision", "matplotlib", "jupyter-book", "nbval")
WIDEST = {"output_layer": merged.MAX_HIDDEN, "epoch": one_kernel.MAX_HIDDEN}
TF32 = (8, 0)  # the compute capability of the first GPUs with TF32


def describe_backend() -> str:
    """One line: libraries with versions, device, and the data set in use."""
    if backend.name == "gpu":
        import cupy
        import nvmath
        from nvmath.bindings import cublasLt

        device = this_device().name
        versions = cupy.__version__, nvmath.__version__, cublasLt.get_version()
        libraries = "CuPy {}, nvmath-python {}, cuBLASLt {}".format(*versions)
    else:
        device = f"{platform.machine()} CPU"
        libraries = f"NumPy {np.__version__} and the reference epilogs"
    return f"{libraries} | {device} | {describe_dataset()}"


def report() -> str:
    """What was found, what is missing and how to get it, as text."""
    lines = [f"Python {platform.python_version()} on {platform.platform()}", "", "Packages"]
    versions = results.versions(PACKAGES)
    lines += [f"  {package:18} {versions.get(package, '-')}" for package in PACKAGES]
    missing = backend.find_gpu_problem()
    lines += ["", f"GPU       {'missing: ' + missing if missing else 'works'}"]
    lines += _networks(this_device())
    lines += [f"Backend   {backend.name}" + (f" ({backend.reason})" if backend.reason else "")]
    lines += [f"Weights   {_check_stream()}"]
    try:
        lines += [f"Data      {describe_dataset()}; MNIST_ROOT is {mnist_root()}"]
    except (DatasetError, ImportError) as error:
        lines += [f"Data      unusable: {error}"]
    return "\n".join(lines)


def _networks(device: Device | None) -> list[str]:
    """Which networks that GPU can run and why not the others; without one, what they need."""
    tf32 = "of compute capability {}.{} or higher".format(*TF32)
    if device is None:
        heading = "To run on a GPU, each needs one"
        rows = {"other networks": "that CUDA supports", "TF32": tf32}
        for kernel, (_, network) in KERNELS.items():
            rows[network] = ", ".join(needs(kernel, 30)) + " (for 30 hidden units)"
    else:
        capability = "compute capability {}.{}".format(*device.capability)
        shared = f"{device.shared // 1024} KB of shared memory for a block"
        heading = f"{device.name}: {capability}, {shared}"
        no_tf32 = f"no: needs a GPU {tf32}"
        rows = {"other networks": "yes", "TF32": "yes" if device.capability >= TF32 else no_tf32}
        for kernel, (_, network) in KERNELS.items():
            narrow, wide = (problem(kernel, h, device) for h in (30, WIDEST[kernel]))
            rows[network] = f"no: {narrow}" if narrow else f"yes, but {wide}" if wide else "yes"
    return [f"  {heading}", *(f"    {name:18} {row}" for name, row in rows.items())]


def _check_stream() -> str:
    try:
        backend.random.seed(1234)
    except (ImportError, RuntimeError) as error:
        return f"cannot be drawn: {error}"
    computed = "on the GPU" if backend.name == "gpu" else "by NumPy, bit for bit"
    return f"drawn from cuRAND's XORWOW stream, {computed}"
