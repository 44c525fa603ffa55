"""Decides once, at import, what the book computes with.

CuPy and nvmath on a GPU that works, otherwise NumPy and `reference`. `TUTORIAL_BACKEND=gpu` or
`cpu` decides instead; asking for a GPU that is not there is an error.
"""

import ctypes
import importlib
import os
import sys
from typing import Any

import numpy as np


def find_gpu_problem() -> str:
    """What keeps the GPU from being used and the remedy, in one line; empty if nothing does."""
    try:  # first the driver: quick to ask, and without one nothing else needs importing
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda): install one, or move to a machine with an NVIDIA GPU"
    packages = {"cupy": "cupy-cuda12x", "nvmath.linalg.advanced": "nvmath-python[cu12]"}
    for module, package in packages.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            library = module.partition(".")[0]
            return f"{library} cannot be imported ({error}): pip install '{package}'"
    import cupy
    from nvmath.bindings import cublasLt

    try:
        if not cupy.cuda.runtime.getDeviceCount():
            return "no NVIDIA GPU is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy sees no GPU ({error}): see nvidia-smi and CUDA_VISIBLE_DEVICES"
    try:
        cublasLt.get_version()
    except Exception as error:  # each loader raises its own type
        return f"cuBLASLt cannot be loaded ({error}): pip install 'nvmath-python[cu12]'"
    return ""


def _choose(requested: str) -> tuple[str, str]:
    if requested not in ("", "cpu", "gpu"):
        raise ValueError(f"TUTORIAL_BACKEND must be gpu or cpu, it is {requested!r}")
    if requested == "cpu":
        return "cpu", "TUTORIAL_BACKEND=cpu"
    problem = find_gpu_problem()
    if requested == "gpu" and problem:
        raise RuntimeError(f"TUTORIAL_BACKEND=gpu, but {problem}")
    return ("cpu", problem) if problem else ("gpu", "")


name, reason = _choose(os.environ.get("TUTORIAL_BACKEND", ""))

if name == "gpu":
    import cupy as xp
    from cupy import random
    from nvmath.linalg.advanced import (
        Matmul,
        MatmulComputeType,
        MatmulEpilog,
        MatmulOptions,
        matmul,
    )
else:
    import numpy as xp

    from tutorial_lib.reference import random, streams
    from tutorial_lib.reference.epilogs import MatmulEpilog
    from tutorial_lib.reference.matmul import Matmul, matmul
    from tutorial_lib.reference.options import MatmulComputeType, MatmulOptions

Array = xp.ndarray  # the type of the backend's arrays

__all__ = [
    "Array",
    "Matmul",
    "MatmulComputeType",
    "MatmulEpilog",
    "MatmulOptions",
    "find_gpu_problem",
    "matmul",
    "name",
    "random",
    "reason",
    "synchronize",
    "to_numpy",
    "xp",
]


def to_numpy(x: Any) -> np.ndarray:
    """The array as a NumPy array: copied from the GPU if it lives there, otherwise itself."""
    return np.asarray(x.get() if hasattr(x, "get") else x)


def synchronize() -> None:
    """Wait until the device has done everything that it was given; RuntimeError in a capture."""
    if name == "gpu":
        xp.cuda.Device().synchronize()
    else:
        streams.refuse("synchronizing")
