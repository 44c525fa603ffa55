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

if backend.name == "gpu":
    from tutorial_lib.kernels import cuda
else:
    from tutorial_lib.reference import streams

__all__ = ["loss_and_gradient", "output_layer", "train_epoch", "update_small"]


def _checked(name: str, takes: str) -> Callable[..., Any]:
    """The kernel of that name or its twin, once its arrays have the shapes that `takes` gives."""
    twin, arrays = getattr(in_numpy, name), [array.split() for array in takes.split(", ")]

    @functools.wraps(twin)
    def checked(*arguments: Any) -> Any:
        sizes = {"1": 1, "10": 10, "11": 11, "784": 784}
        given = (a if isinstance(a, (tuple, list)) else [a] for a in arguments)
        for (array, *shape), x in zip(arrays, itertools.chain.from_iterable(given)):
            _check(array, x, shape, sizes)
        if backend.name == "gpu":
            return getattr(cuda, name)(*arguments)
        return streams.launch(twin, *arguments)

    return checked


def _check(name: str, x: Array, shape: list[str], sizes: dict[str, int]) -> None:
    dtype = xp.dtype("int64" if name == "labels" else "float32")
    if not isinstance(x, xp.ndarray) or x.dtype != dtype:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{name} must be a {xp.__name__}.ndarray of {dtype}, not {got}")
    sizes.update((n, size) for n, size in zip(shape, x.shape) if n not in sizes)
    expected = tuple(sizes.get(n, n) for n in shape)
    if x.shape != expected or not x.flags.c_contiguous:
        got = f"its shape is {x.shape}, its strides are {x.strides} bytes"
        raise ValueError(f"{name} must have shape {expected}, row-major without gaps; {got}")


OUTPUT = "weights_output 10 H, bias_output 10"
HIDDEN = "weights_hidden H 784, bias_hidden H"
SMALL = "weights_output 10 H, bias_hidden H, bias_output 10, loss 1"
loss_and_gradient = _checked("loss_and_gradient", "logits n 10, labels n, gradient n 10, loss 1")
output_layer = _checked("output_layer", f"before_relu n H, {OUTPUT}, labels n")
update_small = _checked("update_small", f"sums[0] groups 11 H, sums[1] groups 11, {SMALL}")
train_epoch = _checked("train_epoch", f"images n 784, labels n, {HIDDEN}, {OUTPUT}")
