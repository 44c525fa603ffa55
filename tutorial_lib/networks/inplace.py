"""The fused network whose matmuls take the step themselves. Chapter "Getting out of the way"."""

from typing import Any

from tutorial_lib import kernels
from tutorial_lib.backend import MatmulEpilog, xp
from tutorial_lib.networks.unchecked import MnistNetUnchecked


class MnistNetInPlace(MnistNetUnchecked):
    """Gradient descent inside the matmuls: ``W ← -lr · gradient + 1 · W``, with c = W, in place.

    A step is five matmuls, one kernel for the loss and its gradient, and two updates of a bias.
    The kernel looks at each label: an image whose label is not 0 to 9 is left out of the gradient,
    and makes the loss of its batch NaN. Raises ValueError for other than 10 outputs, for which the
    kernel is written. `options` are those of `MnistNetUnchecked`.
    """

    def __init__(self, num_inputs: int, num_hidden: int, num_outputs: int, **options: Any) -> None:
        if num_outputs != 10:
            raise ValueError(f"the loss kernel is written for 10 outputs, not {num_outputs}")
        super().__init__(num_inputs, num_hidden, num_outputs, **options)

    def _check_epoch(self, *arguments: Any) -> tuple[xp.ndarray, xp.ndarray]:
        if self.weights_hidden.dtype != xp.float32:
            raise TypeError(f"an epoch is float32; this network is {self.weights_hidden.dtype}")
        return super()._check_epoch(*arguments)

    def step(
        self, x: xp.ndarray, labels: xp.ndarray, loss: xp.ndarray, learning_rate: float
    ) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
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


def descend(parameter: xp.ndarray, gradient: xp.ndarray, learning_rate: float) -> None:
    """``parameter -= learning_rate · gradient``, in place."""
    parameter -= parameter.dtype.type(learning_rate) * gradient
