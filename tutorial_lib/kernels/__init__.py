"""The hand-written kernels of the fast networks: CUDA on a GPU, their NumPy twins otherwise.

A kernel gets a pointer, which knows neither shape nor strides nor dtype, so each array is checked
here before it goes in, and TypeError or ValueError says what is wrong. All arrays are float32 but
the labels, int64. An image whose label is not 0 to 9 is left out of the gradients, and makes the
loss of its batch NaN.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import Array, xp
from tutorial_lib.kernels.launches import INPUTS, OUTPUTS

if backend.name == "gpu":
    from tutorial_lib.kernels import cuda as implementation
else:
    from tutorial_lib.kernels import in_numpy as implementation
    from tutorial_lib.reference import streams

__all__ = ["loss_and_gradient", "output_layer", "train_epoch", "update_small"]

# Of each array that a kernel takes, by its name; the same letter, the same size.
SHAPES: dict[str, tuple[int | str, ...]] = {
    "images": ("n", INPUTS),
    "labels": ("n",),
    "logits": ("n", OUTPUTS),
    "gradient": ("n", OUTPUTS),
    "loss": (1,),
    "before_relu": ("n", "H"),
    "weights_hidden": ("H", INPUTS),
    "bias_hidden": ("H",),
    "weights_output": (OUTPUTS, "H"),
    "bias_output": (OUTPUTS,),
    "sums[0]": ("groups", OUTPUTS + 1, "H"),
    "sums[1]": ("groups", OUTPUTS + 1),
}


def _checked(name: str, *arrays: str) -> Callable[..., Any]:
    """The kernel of that name, which takes those arrays first, one by one or in a tuple."""
    kernel = getattr(implementation, name)

    @functools.wraps(kernel)
    def checked(*arguments: Any) -> Any:
        sizes: dict[int | str, int] = {}
        given = (a if isinstance(a, (tuple, list)) else [a] for a in arguments)
        for array, x in zip(arrays, itertools.chain.from_iterable(given)):
            _check(array, x, sizes)
        return kernel(*arguments) if backend.name == "gpu" else streams.launch(kernel, *arguments)

    return checked


def _check(name: str, x: Array, sizes: dict[int | str, int]) -> None:
    shape, dtype = SHAPES[name], xp.int64 if name == "labels" else xp.float32
    if not isinstance(x, xp.ndarray) or x.dtype != dtype:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{name} must be a {xp.__name__}.ndarray of {dtype.__name__}, not {got}")
    sizes.update((n, size) for n, size in zip(shape, x.shape) if n not in sizes)
    expected = tuple(n if isinstance(n, int) else sizes.get(n, n) for n in shape)
    if x.shape != expected:
        raise ValueError(f"{name} must have shape {expected}, it has {x.shape}")
    if not x.flags.c_contiguous:
        raise ValueError(
            f"{name} must be row-major without gaps, its strides are {x.strides} bytes: "
            f"pass xp.ascontiguousarray({name})"
        )


SMALL = "weights_output", "bias_hidden", "bias_output", "loss"
loss_and_gradient = _checked("loss_and_gradient", "logits", "labels", "gradient", "loss")
output_layer = _checked("output_layer", "before_relu", "weights_output", "bias_output", "labels")
update_small = _checked("update_small", "sums[0]", "sums[1]", *SMALL)
train_epoch = _checked(
    "train_epoch",
    "images",
    "labels",
    "weights_hidden",
    "bias_hidden",
    "weights_output",
    "bias_output",
)
