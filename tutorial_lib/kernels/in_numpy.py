"""What the hand-written kernels compute, in NumPy: those of `cuda` and `in_triton`, one by one."""

from collections.abc import Sequence

import numpy as np

from tutorial_lib.kernels.launches import BATCH, OUTPUTS
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.matmul import matmul

Array = np.ndarray  # also on a GPU


def loss_and_gradient(logits: Array, labels: Array, gradient: Array, loss: Array) -> None:
    """Write the batch's mean loss (1,) and its gradient (p - t)/n, (n, 10), of logits (n, 10).

    An image whose label, of (n,), is none of the ten has no gradient, and its loss is NaN.
    """
    with np.errstate(over="ignore"):  # a very negative logit: 1 / (1 + inf) is 0, as it should be
        p = 1 / (1 + np.exp(-logits))
    is_target = labels[:, None] == np.arange(logits.shape[1])  # (n, 10)
    known = is_target.any(axis=1, keepdims=True)
    gradient[...] = np.where(known, (p - is_target) / len(p), 0)
    losses = -np.log(np.where(is_target, p, 1 - p) + logits.dtype.type(1e-8))
    loss[...] = np.mean(np.where(known, losses, np.nan))


def loss_in_half(logits: Array, labels: Array, gradient: Array, loss: Array) -> None:
    """As `loss_and_gradient` with logits and gradient in float16 or bfloat16, but the gradient is
    p - t: divided by n, it is often too small for float16, in which what is below 3e-8 becomes 0.
    """
    exact = np.empty(logits.shape, np.float32)
    loss_and_gradient(logits.astype(np.float32), labels, exact, loss)
    gradient[...] = exact * len(exact)


def round_to_half(masters: Array, copies: Array) -> None:
    """Round float32 numbers (N, 4) to float16 or bfloat16, into `copies` (N, 4)."""
    copies[...] = masters


def train_epoch(
    images: Array,
    labels: Array,
    parameters: Sequence[Array],
    learning_rate: float,
    precision: str = "tf32x3",
) -> Array:
    """Train over all full batches of 256 images (N, 784), in place; returns the losses, (steps,).

    `parameters` are the weights and biases of the hidden, then of the output layer. On a GPU, the
    products with the images are of that `precision`: "tf32x3" (as good as float32) or "tf32".
    """
    weights_hidden, bias_hidden, weights_output, bias_output = parameters
    losses = np.empty(len(images) // BATCH, images.dtype)
    for step in range(len(losses)):
        batch = slice(BATCH * step, BATCH * (step + 1))
        x, loss = images[batch], losses[step : step + 1]
        before_relu = x @ weights_hidden.T + bias_hidden  # (256, H)
        y, grad = np.maximum(before_relu, 0), np.empty((BATCH, OUTPUTS), x.dtype)
        loss_and_gradient(y @ weights_output.T + bias_output, labels[batch], grad, loss)
        grad_hidden = np.where(before_relu < 0, 0, grad @ weights_output)  # (256, H)
        gradients = grad_hidden.T @ x, grad_hidden.sum(axis=0), grad.T @ y, grad.sum(axis=0)
        for parameter, gradient in zip(parameters, gradients):
            parameter -= x.dtype.type(learning_rate) * gradient
    return losses


def relu_aux_bias(
    a: Array, b: Array, bias: Array, precision: str = "tf32x3"
) -> tuple[Array, Array]:
    """``relu(a b + bias)`` and its mask in bits, both column-major, as cuBLASLt's RELU_AUX_BIAS.

    a (M, K) is row-major, b (K, N) column-major, bias (M,). The arithmetic of float32 matmuls is
    the `precision`: on a GPU "tf32x3" (as good as float32), "tf32" or "ieee".
    """
    y, extra = matmul(a, b, epilog=MatmulEpilog.RELU_AUX_BIAS, epilog_inputs={"bias": bias})
    return y, extra["relu_aux"]


def drelu_bgrad(a: Array, b: Array, mask: Array, precision: str = "tf32x3") -> tuple[Array, Array]:
    """``(a b) * mask``, (M, N), and its row sums (M,), as cuBLASLt's DRELU_BGRAD.

    a (M, K), b (K, N) and the mask of `relu_aux_bias` are column-major; K is small, such as 10.
    """
    d, extra = matmul(a, b, epilog=MatmulEpilog.DRELU_BGRAD, epilog_inputs={"relu_aux": mask})
    return d, extra["drelu_bgrad"]
