"""The hand-written kernels: CUDA and Triton on a GPU, their NumPy twins otherwise.

A kernel gets a pointer, which knows neither shape nor strides nor dtype, so each array is checked
here before it goes in, and TypeError or ValueError says what is wrong. Labels are int64, masks
uint8, all else float32, or in some kernels float16 or bfloat16. An image whose label is not 0 to 9
is left out of the gradients, and makes the loss of its batch NaN.
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

if backend.name == "cpu":
    from tutorial_lib.reference import streams

__all__ = ["drelu_bgrad", "loss_and_gradient", "output_layer", "relu_aux_bias", "train_epoch"]
__all__ += ["loss_in_half", "round_to_half", "update_small"]

HALF = ("float16", "bfloat16")
FLOATS = {"cuda": ("float32",), "in_triton": ("float32", *HALF)}


def _checked(
    name: str, takes: str, language: str = "cuda", floats: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """The kernel of that name or its twin, once its arrays have the shapes that `takes` gives."""
    twin, arrays = getattr(in_numpy, name), [array.split() for array in takes.split(", ")]

    @functools.wraps(twin)
    def checked(*arguments: Any, **options: Any) -> Any:
        sizes = {"1": 1, "4": 4, "10": 10, "11": 11, "784": 784}
        dtypes = {"labels": ("int64",), "mask.T": ("uint8",), "": floats or FLOATS[language]}
        dtypes |= dict.fromkeys(("loss", "masters"), ("float32",))
        given = (a if isinstance(a, (tuple, list)) else [a] for a in arguments)
        for (array, *shape), x in zip(arrays, itertools.chain.from_iterable(given)):
            _check(array, x, shape, sizes, dtypes)
        if backend.name == "cpu":
            return streams.launch(twin, *arguments, **options)
        module = importlib.import_module(f"tutorial_lib.kernels.{language}")
        return getattr(module, name)(*arguments, **options)

    return checked


def _check(name: str, x: Array, shape: list[str], sizes: dict[str, int], dtypes: dict) -> None:
    key = name if name in dtypes else ""  # the floats must all be of the same type
    if not isinstance(x, xp.ndarray) or str(x.dtype) not in dtypes[key]:
        got, allowed = getattr(x, "dtype", type(x).__name__), " or ".join(dtypes[key])
        raise TypeError(f"{name} must be a {xp.__name__}.ndarray of {allowed}, not {got}")
    dtypes[key] = (str(x.dtype),)
    x = x.T if name.endswith(".T") else x
    sizes.update((n, size) for n, size in zip(shape, x.shape) if n not in sizes)
    sizes["mask_bytes"] = mask_shape(sizes.get("M", 1), 1)[0]
    expected = tuple(sizes.get(n, n) for n in shape)
    if x.size >= 2**31:
        raise ValueError(f"{name} has {x.size:,} elements, more than the kernels can count: 2**31")
    if x.shape != expected or not x.flags.c_contiguous:
        got = f"its shape is {x.shape}, its strides are {x.strides} bytes"
        raise ValueError(f"{name} must have shape {expected}, row-major without gaps; {got}")


OUTPUT = "weights_output 10 H, bias_output 10"
HIDDEN = "weights_hidden H 784, bias_hidden H"
SMALL = "weights_output 10 H, bias_hidden H, bias_output 10, loss 1"
loss_and_gradient = _checked("loss_and_gradient", "logits n 10, labels n, gradient n 10, loss 1")
loss_in_half = _checked("loss_in_half", "logits n 10, labels n, gradient n 10, loss 1", floats=HALF)
round_to_half = _checked("round_to_half", "masters N 4, copies N 4", floats=HALF)
output_layer = _checked("output_layer", f"before_relu n H, {OUTPUT}, labels n")
update_small = _checked("update_small", f"sums[0] groups 11 H, sums[1] groups 11, {SMALL}")
train_epoch = _checked("train_epoch", f"images n 784, labels n, {HIDDEN}, {OUTPUT}")
# A column-major array is one whose transpose is row-major.
FORWARD, BACKWARD = "a M K, b.T N K, bias M", "a.T K M, b.T N K, mask.T N mask_bytes"
relu_aux_bias = _checked("relu_aux_bias", FORWARD, "in_triton")
drelu_bgrad = _checked("drelu_bgrad", BACKWARD, "in_triton")
