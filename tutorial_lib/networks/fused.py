"""The network with nvmath's fused matmuls, like NVIDIA's published code. See chapter 6."""

from tutorial_lib.backend import Array, MatmulEpilog
from tutorial_lib.functions import sigmoid
from tutorial_lib.networks.base import MnistNetBase


class MnistNet(MnistNetBase):
    """The network with its biases, its ReLU and a bias gradient computed inside the matmul calls.

    Five matmuls, each planned the first time a batch size asks for it, and kept. A plan holds GPU
    resources: call `free`, or use a ``with`` block. After `free` the next pass plans anew.
    Source: the notebook "Implementing a neural network using nvmath-python" of nvmath-python.
    """

    def forward(self, x: Array) -> Array:
        """``sigmoid(W_o relu(W_h xᵀ + b_h) + b_o)ᵀ``: images to probabilities (n, 10)."""
        x = self.check_images(x)
        # Hidden layer: bias, ReLU and its mask come with the matmul, (H, 784) (784, n).
        plan = {"epilog": MatmulEpilog.RELU_AUX_BIAS, "inputs": {"bias": self.bias_hidden}}
        hidden, extra = self.plans.run("hidden", self.weights_hidden, x.T, **plan)

        # Output layer: the bias comes with the matmul, (10, H) (H, n).
        plan = {"epilog": MatmulEpilog.BIAS, "inputs": {"bias": self.bias_output}}
        before_sigmoid = self.plans.run("output", self.weights_output, hidden, **plan)
        self.saved = x, hidden, extra["relu_aux"]
        return sigmoid(before_sigmoid.T)

    def backward_output(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_output (10, H) and bias_output (10,), given grad (n, 10)."""
        _, hidden, _ = self.saved
        # A plain matmul, (10, n) (n, H).
        grad_weights_output = self.plans.run("grad_output", grad.T, hidden.T)
        return grad_weights_output, grad.sum(axis=0)

    def backward_hidden(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_hidden (H, 784) and bias_hidden (H,), given grad (n, 10)."""
        x, _, mask = self.saved
        # Through the ReLU, (H, 10) (10, n): the mask and the bias gradient come with the matmul.
        plan = {"epilog": MatmulEpilog.DRELU_BGRAD, "inputs": {"relu_aux": mask}}
        grad_hidden, extra = self.plans.run("grad_relu", self.weights_output.T, grad.T, **plan)

        # A plain matmul, (H, n) (n, 784).
        grad_weights_hidden = self.plans.run("grad_hidden", grad_hidden, x)
        return grad_weights_hidden, extra["drelu_bgrad"]
