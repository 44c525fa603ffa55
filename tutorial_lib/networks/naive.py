"""The network in plain CuPy (or NumPy): one line of mathematics, one line of code.

Chapter "The plain network".
"""

from tutorial_lib.backend import xp
from tutorial_lib.functions import sigmoid
from tutorial_lib.networks.base import MnistNetBase


class MnistNetNaive(MnistNetBase):
    """The network without fusion: each matmul, sum and comparison is an operation of its own."""

    def forward(self, x: xp.ndarray) -> xp.ndarray:
        """``sigmoid(W_o relu(W_h xᵀ + b_h) + b_o)ᵀ``: images to probabilities (n, 10)."""
        x = self._check_images(x)
        before_relu = self.weights_hidden @ x.T + self.bias_hidden[:, None]  # (H, n)
        hidden = xp.maximum(before_relu, 0)
        before_sigmoid = self.weights_output @ hidden + self.bias_output[:, None]  # (10, n)
        self._saved = x, hidden, before_relu >= 0
        return sigmoid(before_sigmoid.T)

    def backward(self, grad: xp.ndarray) -> tuple[xp.ndarray, ...]:
        """The gradients of the four parameters, given that of the logits, (n, 10)."""
        grad = self._check_grad(grad)
        x, hidden, positive = self._saved
        grad_weights_output = grad.T @ hidden.T  # (10, n) (n, H)
        grad_bias_output = grad.sum(axis=0)
        grad_hidden = (self.weights_output.T @ grad.T) * positive  # (H, 10) (10, n)
        grad_weights_hidden = grad_hidden @ x  # (H, n) (n, 784)
        grad_bias_hidden = grad_hidden.sum(axis=1)
        return grad_weights_hidden, grad_bias_hidden, grad_weights_output, grad_bias_output
