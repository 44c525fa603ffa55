"""torch's tensors on the CPU, which nvmath copies; NumPy's arrays play those of a GPU."""

import sys
from typing import Any

import numpy as np


def package(x: Any) -> str:
    """The name of the package whose array this is, as nvmath finds it."""
    return "numpy" if isinstance(x, np.ndarray) else type(x).__module__.partition(".")[0]


def as_array(x: Any) -> Any:
    """A tensor as a NumPy array on the same memory; anything else as it is."""
    return x.detach().numpy() if package(x) == "torch" else x


def received(x: Any) -> Any:
    """What a Matmul holds: a copy of a tensor, closed up where it had gaps; else x itself."""
    return as_array(x.clone()) if package(x) == "torch" else x


def returned(x: np.ndarray, package: str) -> Any:
    """What a caller gets: for operands of torch, a tensor on the memory of x; else x itself."""
    return sys.modules["torch"].from_numpy(x) if package == "torch" else x
