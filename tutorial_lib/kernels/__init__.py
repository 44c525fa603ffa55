"""The hand-written kernels: CUDA and Triton on a GPU, their NumPy twins otherwise.

A kernel gets a pointer, which knows neither shape nor strides nor dtype, so each array is checked
here before it goes in, and TypeError or ValueError says what is wrong. An image whose label is not
0 to 9 is left out of the gradients, and makes the loss of its batch NaN.
"""

import functools
import importlib
import itertools
from collections.abc import Callable
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import Array, xp
from tutorial_lib.kernels import in_numpy
from tutorial_lib.reference.epilogs import mask_shape
from tutorial_lib.reference.layouts import HALF

if backend.name == "cpu":
    from tutorial_lib.reference import streams

__all__ = ["drelu_bgrad", "loss_and_gradient", "relu_aux_bias", "train_epoch"]
__all__ += ["loss_in_half", "round_to_half"]

# What is of one type always; the other arrays of a call are all of one of its float types.
DTYPES = {"labels": ("int64",), "mask.T": ("uint8",), "loss": ("float32",), "masters": ("float32",)}
TOO_MANY = "more elements than the kernels can count, which is 2**31"


def _checked(
    name: str, takes: str, floats: tuple[str, ...] = ("float32",), language: str = "cuda"
) -> Callable[..., Any]:
    """The kernel of that name or its twin, once its arrays have the shapes that `takes` gives."""
    twin, arrays = getattr(in_numpy, name), [array.split() for array in takes.split(", ")]

    @functools.wraps(twin)
    def checked(*arguments: Any, **options: Any) -> Any:
        sizes, allowed = {}, floats
        given = (a if isinstance(a, (tuple, list)) else [a] for a in arguments)
        for (array, *shape), x in zip(arrays, itertools.chain.from_iterable(given)):
            _check(array, x, shape, sizes, DTYPES.get(array, allowed))
            allowed = allowed if array in DTYPES else (str(x.dtype),)
        if sizes.get("M", 0) * sizes.get("N", 0) >= 2**31:  # the result of a kernel in Triton
            raise ValueError(f"the result of {name} has {TOO_MANY}")
        if backend.name == "cpu":
            return streams.launch(twin, *arguments, **options)
        module = importlib.import_module(f"tutorial_lib.kernels.{language}")
        return getattr(module, name)(*arguments, **options)

    return checked


def _check(name: str, x: Array, shape: list[str], sizes: dict, dtypes: tuple[str, ...]) -> None:
    if not isinstance(x, xp.ndarray) or str(x.dtype) not in dtypes:
        got, allowed = getattr(x, "dtype", type(x).__name__), " or ".join(dtypes)
        raise TypeError(f"{name} must be a {xp.__name__}.ndarray of {allowed}, not {got}")
    if x.size >= 2**31:
        raise ValueError(f"{name} has {TOO_MANY}")
    x = x.T if name.endswith(".T") else x
    for n, size in zip(shape, x.shape):  # the first array that has a size by name decides on it
        size = mask_shape(sizes["M"], 1)[0] if n == "M/8" else int(n) if n.isdigit() else size
        sizes.setdefault(n, size)
    expected = tuple(sizes.get(n, n) for n in shape)
    if x.shape != expected or not x.flags.c_contiguous:
        got = f"its shape is {x.shape}, its strides are {x.strides} bytes"
        raise ValueError(f"{name} must have shape {expected}, row-major without gaps; {got}")


LOSS, OUTPUT = "logits n 10, labels n, gradient n 10, loss 1", "weights_output 10 H, bias_output 10"
HIDDEN = "weights_hidden H 784, bias_hidden H"
loss_and_gradient = _checked("loss_and_gradient", LOSS)
loss_in_half = _checked("loss_in_half", LOSS, HALF)
round_to_half = _checked("round_to_half", "masters N 4, copies N 4", HALF)
train_epoch = _checked("train_epoch", f"images n 784, labels n, {HIDDEN}, {OUTPUT}")
# A column-major array is one whose transpose is row-major.
FORWARD, BACKWARD = "a M K, b.T N K, bias M", "a.T K M, b.T N K, mask.T N M/8"
relu_aux_bias = _checked("relu_aux_bias", FORWARD, ("float32", *HALF), "in_triton")
drelu_bgrad = _checked("drelu_bgrad", BACKWARD, ("float32", *HALF), "in_triton")
