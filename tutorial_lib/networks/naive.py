"""The network in plain CuPy (or NumPy): one line for each formula. See chapter 4."""

from tutorial_lib.backend import Array, xp
from tutorial_lib.functions import sigmoid
from tutorial_lib.networks.base import MnistNetBase


class MnistNetNaive(MnistNetBase):
    """The network without fusion: each matmul, sum and comparison is an operation of its own."""

    def forward(self, x: Array) -> Array:
        """``sigmoid(W_o relu(W_h xᵀ + b_h) + b_o)ᵀ``: images to probabilities (n, 10)."""
        x = self.check_images(x)
        before_relu = self.weights_hidden @ x.T + self.bias_hidden[:, None]  # (H, n)
        hidden = xp.maximum(before_relu, 0)
        before_sigmoid = self.weights_output @ hidden + self.bias_output[:, None]  # (10, n)
        self.saved = x, hidden, before_relu >= 0
        return sigmoid(before_sigmoid.T)

    def backward_output(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_output (10, H) and bias_output (10,), given grad (n, 10)."""
        _, hidden, _ = self.saved
        return grad.T @ hidden.T, grad.sum(axis=0)  # (10, n) (n, H)

    def backward_hidden(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_hidden (H, 784) and bias_hidden (H,), given grad (n, 10)."""
        x, _, mask = self.saved
        grad_hidden = (self.weights_output.T @ grad.T) * mask  # (H, 10) (10, n)
        return grad_hidden @ x, grad_hidden.sum(axis=1)  # (H, n) (n, 784)
