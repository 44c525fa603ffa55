"""The fused network whose matmuls take the step themselves. Chapter "Getting out of the way"."""

from tutorial_lib import kernels
from tutorial_lib.backend import MatmulEpilog, xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.networks.unchecked import MnistNetUnchecked


class MnistNetInPlace(MnistNetUnchecked):
    """Gradient descent inside the matmuls: ``W ← -lr · gradient + 1 · W``, with c = W, in place.

    A step is five matmuls, one kernel for the loss and its gradient, and two updates of a bias.
    """

    _trusted_labels: xp.ndarray | None = None

    def epoch(
        self,
        images: xp.ndarray,
        labels: xp.ndarray,
        *,
        learning_rate: float = 0.1,
        batch_size: int = BATCH_SIZE,
    ) -> xp.ndarray:
        """Train on all full batches of images (N, 784), labels (N,), in place, in their order.

        Returns the losses, (steps,), on the device, without waiting for it. Raises TypeError or
        ValueError for arrays that do not fit.
        """
        images = self._check_images(images)
        self._check_labels(labels, len(images), batch_size)
        losses = xp.empty(len(images) // batch_size, xp.float32)
        self._steps(images, labels, losses, learning_rate, batch_size)
        return losses

    def _steps(
        self,
        images: xp.ndarray,
        labels: xp.ndarray,
        losses: xp.ndarray,
        learning_rate: float,
        batch_size: int,
    ) -> None:
        for i in range(len(losses)):
            batch = slice(batch_size * i, batch_size * (i + 1))
            self.step(images[batch], labels[batch], losses[i : i + 1], learning_rate)

    def step(
        self, x: xp.ndarray, labels: xp.ndarray, loss: xp.ndarray, learning_rate: float
    ) -> None:
        """One step on the images x (n, 784); writes the batch's mean loss into `loss` (1,)."""
        logits = self._logits(x)
        grad = xp.empty_like(logits)
        kernels.loss_and_gradient(logits, labels, grad, loss)
        grad_hidden, grad_bias_hidden = self._through_relu(grad)  # needs the old weights_output
        self._update_output(grad, learning_rate)
        descend(self.bias_hidden, grad_bias_hidden, learning_rate)
        self._update_hidden(grad_hidden, x, learning_rate)

    def _update_output(self, grad: xp.ndarray, learning_rate: float) -> None:
        """W_oᵀ -= lr y grad, (H, n) (n, 10), and the sum over n of the same grad for the bias."""
        _, extra = self._run(
            "update_output",
            self._saved[1],
            grad,
            self.weights_output.T,
            alpha=-learning_rate,
            epilog=MatmulEpilog.BGRADB,
        )
        descend(self.bias_output, extra["bgradb"], learning_rate)

    def _update_hidden(self, grad_hidden: xp.ndarray, x: xp.ndarray, learning_rate: float) -> None:
        """W_h -= lr grad_hidden x, (H, n) (n, 784)."""
        self._run("update_hidden", grad_hidden, x, self.weights_hidden, alpha=-learning_rate)

    def _check_labels(self, labels: xp.ndarray, num_images: int, batch_size: int) -> None:
        if not isinstance(labels, xp.ndarray) or labels.dtype != xp.int64:
            raise TypeError(f"labels must be a {xp.__name__}.ndarray of int64")
        if labels.shape != (num_images,):
            raise ValueError(f"labels must have shape ({num_images},), they have {labels.shape}")
        if not 1 <= batch_size <= num_images:
            raise ValueError(f"a batch of {batch_size} cannot be had from {num_images} images")
        if labels is self._trusted_labels:
            return  # looking at the labels waits for the device: once is enough
        if not (0 <= int(labels.min()) and int(labels.max()) < self.num_outputs):
            raise ValueError(
                f"labels must be 0 to {self.num_outputs - 1}, "
                f"they go from {int(labels.min())} to {int(labels.max())}"
            )
        self._trusted_labels = labels


def descend(parameter: xp.ndarray, gradient: xp.ndarray, learning_rate: float) -> None:
    """``parameter -= learning_rate · gradient``, in place."""
    parameter -= parameter.dtype.type(learning_rate) * gradient
