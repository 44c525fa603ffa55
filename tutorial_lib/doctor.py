"""What this machine offers the book: one line, or a report with remedies."""

import platform
from collections.abc import Callable

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.dataset import describe_dataset, mnist_root
from tutorial_lib.kernels.needs import Device, needs, problem, this_device


def describe_backend() -> str:
    """One line: libraries with versions, device, and the data set in use."""
    libraries = f"NumPy {np.__version__} and the reference epilogs | {platform.machine()} CPU"
    if backend.name == "gpu":
        import cupy
        import nvmath
        from nvmath.bindings import cublasLt

        libraries = f"CuPy {cupy.__version__}, nvmath-python {nvmath.__version__}, "
        libraries += f"cuBLASLt {cublasLt.get_version()} | {this_device().name}"
    return f"{libraries} | {describe_dataset()}"


def report() -> str:
    """What was found, what is missing and how to get it, as text: a line for each fact."""
    missing = backend.find_gpu_problem()
    packages = *results.PACKAGES, "torchvision", "matplotlib", "jupyter-book", "nbval"
    facts = {
        "System": platform.platform(),
        **results.versions(packages),
        "GPU": f"missing: {missing}" if missing else "works",
        **_networks(this_device()),
        "Backend": f"{backend.name}: {backend.reason or 'works'}",
        "Weights": _attempt(_draw),
        "Data": _attempt(lambda: f"{describe_dataset()}; MNIST_ROOT is {mnist_root()}"),
    }
    return "\n".join(f"{name:20}{fact}" for name, fact in facts.items())


def _networks(device: Device | None) -> dict[str, str]:
    """Which networks that GPU can run and why not the others; without one, what they need."""
    heading, others = "to run on a GPU, each needs one", "that CUDA supports"
    tf32 = "of compute capability 8.0 or higher"
    if device:
        heading = "of 30 hidden units on {}: compute capability {}.{}"
        heading, others = heading.format(device.name, *device.capability), "yes"
        tf32 = "yes" if device.capability >= (8, 0) else f"no: needs a GPU {tf32}"
    rows = {"Networks": heading, "other networks": others, "TF32": tf32}
    needed = f"{', '.join(needs(30))} (for 30 hidden units)"
    refused = device and problem(30, device)
    rows["MnistNetOneKernel"] = f"no: {refused}" if refused else "yes" if device else needed
    return rows


def _draw() -> str:
    backend.random.seed(1234)
    return "drawn from cuRAND's XORWOW stream"


def _attempt(work: Callable[[], str]) -> str:
    try:
        return work()
    except (ImportError, RuntimeError) as error:
        return f"unusable: {error}"
