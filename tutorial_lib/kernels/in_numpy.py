"""What the hand-written CUDA kernels of the fast networks compute, in NumPy."""

import numpy as np

Sums = tuple[np.ndarray, np.ndarray, np.ndarray, np.floating]


def loss_and_gradient(
    logits: np.ndarray, labels: np.ndarray, gradient: np.ndarray, loss: np.ndarray
) -> None:
    """Write the batch's mean loss and its gradient for `train`, (p - t)/n, of logits (n, 10).

    An image whose label is none of the ten has no gradient, and its loss is NaN.
    """
    with np.errstate(over="ignore"):  # a very negative logit: 1 / (1 + inf) is 0, as it should be
        p = 1 / (1 + np.exp(-logits))
    is_target = labels[:, None] == np.arange(logits.shape[1])  # (n, 10)
    known = is_target.any(axis=1, keepdims=True)
    gradient[...] = np.where(known, (p - is_target) / len(p), 0)
    losses = -np.log(np.where(is_target, p, 1 - p) + logits.dtype.type(1e-8))
    loss[...] = np.mean(np.where(known, losses, np.nan))


def output_layer(
    before_relu: np.ndarray, wo: np.ndarray, bo: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, Sums]:
    """From the hidden layer before its ReLU, (n, H), to the gradient there, (n, H).

    Returns it with what `update_small` needs: the gradients of `wo`, of the hidden bias, of `bo`,
    and the loss.
    """
    y = np.maximum(before_relu, 0)
    grad, loss = np.empty((len(y), len(wo)), y.dtype), np.empty((), y.dtype)
    loss_and_gradient(y @ wo.T + bo, labels, grad, loss)
    grad_hidden = np.where(before_relu < 0, 0, grad @ wo)
    return grad_hidden, (grad.T @ y, grad_hidden.sum(axis=0), grad.sum(axis=0), loss)


def update_small(
    sums: Sums,
    wo: np.ndarray,
    bh: np.ndarray,
    bo: np.ndarray,
    loss: np.ndarray,
    learning_rate: float,
) -> None:
    """A step of gradient descent for the small parameters; writes the loss of the batch."""
    for parameter, gradient in zip((wo, bh, bo), sums):
        parameter -= parameter.dtype.type(learning_rate) * gradient
    loss[...] = sums[-1]


def train_epoch(
    images: np.ndarray, labels: np.ndarray, parameters: tuple[np.ndarray, ...], learning_rate: float
) -> np.ndarray:
    """Train over all full batches of 256 images, in place; returns their losses, (steps,)."""
    wh, bh, wo, bo = parameters
    losses = np.empty(len(images) // 256, images.dtype)
    for step in range(len(losses)):
        batch = slice(256 * step, 256 * (step + 1))
        x = images[batch]
        grad_hidden, sums = output_layer(x @ wh.T + bh, wo, bo, labels[batch])
        update_small(sums, wo, bh, bo, losses[step : step + 1], learning_rate)
        wh -= wh.dtype.type(learning_rate) * (grad_hidden.T @ x)
    return losses
