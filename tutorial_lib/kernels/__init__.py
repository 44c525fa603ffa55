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
from tutorial_lib.kernels import in_numpy
from tutorial_lib.kernels.launches import INPUTS, OUTPUTS

if backend.name == "gpu":
    from tutorial_lib.kernels import cuda
else:
    from tutorial_lib.reference import graphs

__all__ = ["loss_and_gradient", "output_layer", "train_epoch", "update_small"]

OUTPUT = "weights_output", "bias_output"
ARRAYS = {  # that a kernel takes, in this order, one by one or in a tuple
    "loss_and_gradient": ("logits", "labels", "gradient", "loss"),
    "output_layer": ("before_relu", *OUTPUT, "labels"),
    "update_small": ("sums[0]", "sums[1]", "weights_output", "bias_hidden", "bias_output", "loss"),
    "train_epoch": ("images", "labels", "weights_hidden", "bias_hidden", *OUTPUT),
}
SHAPES: dict[str, tuple[int | str, ...]] = {  # of an array; the same letter, the same size
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


def _checked(twin: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel of that twin's name, or else the twin, which checks its arrays first."""
    name = twin.__name__

    @functools.wraps(twin)
    def checked(*arguments: Any) -> Any:
        sizes: dict[int | str, int] = {}
        given = (a if isinstance(a, (tuple, list)) else [a] for a in arguments)
        for array, x in zip(ARRAYS[name], itertools.chain.from_iterable(given)):
            _check(array, x, sizes)
        if backend.name == "gpu":
            return getattr(cuda, name)(*arguments)
        return graphs.launch(twin, *arguments)

    return checked


def _check(name: str, x: Array, sizes: dict[int | str, int]) -> None:
    shape, dtype = SHAPES[name], xp.dtype("int64" if name == "labels" else "float32")
    if not isinstance(x, xp.ndarray) or x.dtype != dtype:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{name} must be a {xp.__name__}.ndarray of {dtype}, not {got}")
    sizes.update((n, size) for n, size in zip(shape, x.shape) if n not in sizes)
    expected = tuple(n if isinstance(n, int) else sizes.get(n, n) for n in shape)
    if x.shape != expected or not x.flags.c_contiguous:
        got = f"its shape is {x.shape}, its strides are {x.strides} bytes"
        raise ValueError(f"{name} must have shape {expected}, row-major without gaps; {got}")


loss_and_gradient = _checked(in_numpy.loss_and_gradient)
output_layer = _checked(in_numpy.output_layer)
update_small = _checked(in_numpy.update_small)
train_epoch = _checked(in_numpy.train_epoch)
