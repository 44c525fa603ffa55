"""Decides once, at import, what the book computes with.

CuPy and nvmath on a GPU that works, otherwise NumPy and `reference`. `TUTORIAL_BACKEND=gpu` or
`cpu` decides instead; asking for a GPU that is not there is an error.
"""

import ctypes
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
    try:
        import cupy
        from nvmath.bindings import cublasLt
        from nvmath.linalg.advanced import matmul
    except ImportError as error:
        packages = "cupy-cuda12x 'nvmath-python[cu12]'"
        return f"CuPy or nvmath cannot be imported ({error}): pip install {packages}"
    try:
        cupy.cuda.runtime.getDeviceCount()  # 0 is an error, too
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
    problem = "TUTORIAL_BACKEND=cpu" if requested == "cpu" else find_gpu_problem()
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


def to_numpy(x: Any) -> np.ndarray:
    """The array as a NumPy array: copied from the GPU if it lives there, otherwise itself."""
    return np.asarray(x.get() if hasattr(x, "get") else x)


def synchronize() -> None:
    """Wait until the device has done everything that it was given; RuntimeError in a capture."""
    if name == "gpu":
        xp.cuda.Device().synchronize()
    else:
        streams.refuse("synchronizing")
