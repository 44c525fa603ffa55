"""The hand-written kernels of the fast networks: CUDA on a GPU, their NumPy twins otherwise.

A kernel gets a pointer, which knows neither shape nor strides nor dtype, so each array is checked
here before it goes in, and TypeError or ValueError says what is wrong. All arrays are float32 but
the labels, int64. An image whose label is not 0 to 9 is left out of the gradients, and makes the
loss of its batch NaN.
"""

import functools
from collections.abc import Callable
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import Array, xp
from tutorial_lib.kernels.launches import INPUTS, OUTPUTS

if backend.name == "gpu":
    from tutorial_lib.kernels import cuda as implementation
else:
    from tutorial_lib.kernels import in_numpy as implementation
    from tutorial_lib.reference import graphs

__all__ = ["loss_and_gradient", "output_layer", "train_epoch", "update_small"]

SUMS = {"sums[0]": ("groups", OUTPUTS + 1, "H"), "sums[1]": ("groups", OUTPUTS + 1)}
HIDDEN = {"weights_hidden": ("H", INPUTS), "bias_hidden": ("H",)}
OUTPUT = {"weights_output": (OUTPUTS, "H"), "bias_output": (OUTPUTS,)}


def _checked(name: str, **shapes: tuple[int | str, ...]) -> Callable[..., Any]:
    """The kernel of that name, called with arrays of such shapes; equal letters, equal sizes."""
    kernel = getattr(implementation, name)

    @functools.wraps(kernel)
    def checked(*arguments: Any) -> Any:
        sizes: dict[int | str, int] = {}
        for (array, shape), x in zip(shapes.items(), _arrays(arguments)):
            _check(array, x, shape, sizes)
        return kernel(*arguments) if backend.name == "gpu" else graphs.launch(kernel, *arguments)

    return checked


def _arrays(arguments: tuple) -> list:
    """The arguments, those inside tuples and lists, too."""
    return [x for given in arguments for x in (given if type(given) in (tuple, list) else [given])]


def _check(name: str, x: Array, shape: tuple[int | str, ...], sizes: dict[int | str, int]) -> None:
    dtype = xp.int64 if name == "labels" else xp.float32
    if not isinstance(x, xp.ndarray) or x.dtype != dtype:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{name} must be a {xp.__name__}.ndarray of {dtype.__name__}, not {got}")
    for letter, size in zip(shape, x.shape):
        sizes.setdefault(letter, letter if isinstance(letter, int) else size)
    expected = tuple(sizes.get(letter, letter) for letter in shape)
    if x.shape != expected:
        raise ValueError(f"{name} must have shape {expected}, it has {x.shape}")
    if not x.flags.c_contiguous:
        raise ValueError(
            f"{name} must be row-major without gaps, its strides are {x.strides} bytes: "
            f"pass xp.ascontiguousarray({name})"
        )


loss_and_gradient = _checked(
    "loss_and_gradient", logits=("n", OUTPUTS), labels=("n",), gradient=("n", OUTPUTS), loss=(1,)
)
output_layer = _checked("output_layer", before_relu=("n", "H"), **OUTPUT, labels=("n",))
update_small = _checked(
    "update_small", **SUMS, weights_output=(OUTPUTS, "H"), bias_hidden=("H",), bias_output=(OUTPUTS,), loss=(1,)
)
train_epoch = _checked("train_epoch", images=("n", INPUTS), labels=("n",), **HIDDEN, **OUTPUT)
