"""The hand-written kernels of the fast networks: CUDA on a GPU, their NumPy twins otherwise.

A kernel gets a pointer, which knows neither shape nor strides nor dtype, so each array is checked
here before it goes in, and TypeError or ValueError says what is wrong. All arrays are float32 but
the labels, int64. An image whose label is not 0 to 9 is left out of the gradients, and makes the
loss of its batch NaN.
"""

from collections.abc import Sequence
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp

if backend.name == "gpu":
    from tutorial_lib.kernels import cuda as implementation
else:
    from tutorial_lib.reference import kernels as implementation
    from tutorial_lib.reference import streams

__all__ = ["loss_and_gradient", "output_layer", "train_epoch", "update_small"]

OUTPUTS = 10


def loss_and_gradient(
    logits: xp.ndarray, labels: xp.ndarray, gradient: xp.ndarray, loss: xp.ndarray
) -> None:
    """The mean loss of logits (n, 10), and its gradient ``(p - t) / n`` for labels t (n,).

    They are written into `loss` (1,) and `gradient` (n, 10).
    """
    n = len(logits)
    _check("logits", logits, (n, OUTPUTS))
    _check("labels", labels, (n,), xp.int64)
    _check("gradient", gradient, (n, OUTPUTS))
    _check("loss", loss, (1,))
    _launch("loss_and_gradient", logits, labels, gradient, loss)


def output_layer(
    before_relu: xp.ndarray, wo: xp.ndarray, bo: xp.ndarray, labels: xp.ndarray
) -> tuple[xp.ndarray, Any]:
    """From the hidden layer before its ReLU, (n, H), to the gradient there, (n, H).

    wo (10, H) and bo (10,) are the output layer's parameters, labels (n,). Returns the gradient and
    what `update_small` needs.
    """
    n, hidden = before_relu.shape
    _check("before_relu", before_relu, (n, hidden))
    _check("wo", wo, (OUTPUTS, hidden))
    _check("bo", bo, (OUTPUTS,))
    _check("labels", labels, (n,), xp.int64)
    return _launch("output_layer", before_relu, wo, bo, labels)


def update_small(
    sums: Any,
    wo: xp.ndarray,
    bh: xp.ndarray,
    bo: xp.ndarray,
    loss: xp.ndarray,
    learning_rate: float,
) -> None:
    """A step of gradient descent for wo (10, H), bh (H,), bo (10,); `loss` (1,) is written.

    `sums` is what `output_layer` returned.
    """
    _check("wo", wo, (OUTPUTS, len(bh)))
    _check("bh", bh, (len(bh),))
    _check("bo", bo, (OUTPUTS,))
    _check("loss", loss, (1,))
    _launch("update_small", sums, wo, bh, bo, loss, learning_rate)


def train_epoch(
    images: xp.ndarray, labels: xp.ndarray, parameters: Sequence[xp.ndarray], learning_rate: float
) -> xp.ndarray:
    """Train over all full batches of 256 of images (N, 784), labels (N,); returns their losses.

    `parameters` are wh (H, 784), bh (H,), wo (10, H), bo (10,), which are updated in place.
    """
    wh, bh, wo, bo = parameters
    _check("images", images, (len(images), 784))
    _check("labels", labels, (len(images),), xp.int64)
    _check("wh", wh, (len(wh), 784))
    _check("bh", bh, (len(wh),))
    _check("wo", wo, (OUTPUTS, len(wh)))
    _check("bo", bo, (OUTPUTS,))
    return _launch("train_epoch", images, labels, (wh, bh, wo, bo), learning_rate)


def _launch(name: str, *arguments: Any) -> Any:
    kernel = getattr(implementation, name)
    return kernel(*arguments) if backend.name == "gpu" else streams.launch(kernel, *arguments)


def _check(name: str, x: xp.ndarray, shape: tuple[int, ...], dtype: type = xp.float32) -> None:
    if not isinstance(x, xp.ndarray) or x.dtype != dtype:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{name} must be a {xp.__name__}.ndarray of {dtype.__name__}, not {got}")
    if x.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, it has {x.shape}")
    if not x.flags.c_contiguous:
        raise ValueError(
            f"{name} must be row-major without gaps, its strides are {x.strides} bytes: "
            f"pass xp.ascontiguousarray({name})"
        )
