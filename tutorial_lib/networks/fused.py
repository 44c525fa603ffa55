"""The network with nvmath's fused matmuls, as published. Chapter "The fused network"."""

from typing import Any

from tutorial_lib.backend import Array, Matmul, MatmulEpilog
from tutorial_lib.functions import sigmoid
from tutorial_lib.networks.base import MnistNetBase


class MnistNet(MnistNetBase):
    """The network with its biases, its ReLU and a bias gradient computed inside the matmul calls.

    Five matmuls, each planned the first time a batch size asks for it, and kept. A plan holds GPU
    resources: call `free`, or use a ``with`` block. After `free` the next pass plans anew.
    Source: the notebook "Implementing a neural network using nvmath-python" of nvmath-python.
    """

    def __init__(
        self, num_inputs: int, num_hidden: int, num_outputs: int, *, seed: int = 1234
    ) -> None:
        super().__init__(num_inputs, num_hidden, num_outputs, seed=seed)
        self._matmuls: dict[tuple[str, int], Matmul] = {}

    def forward(self, x: Array) -> Array:
        """``sigmoid(W_o relu(W_h xᵀ + b_h) + b_o)ᵀ``: images to probabilities (n, 10)."""
        x = self._check_images(x)
        n = len(x)

        # Hidden layer: bias, ReLU and its mask come with the matmul.
        plan = {"epilog": MatmulEpilog.RELU_AUX_BIAS, "epilog_inputs": {"bias": self.bias_hidden}}
        mm = self._planned("hidden", n, self.weights_hidden, x.T, **plan)
        mm.reset_operands(b=x.T)
        hidden, extra = mm.execute()  # (H, n), column-major

        # Output layer: the bias comes with the matmul.
        plan = {"epilog": MatmulEpilog.BIAS, "epilog_inputs": {"bias": self.bias_output}}
        mm = self._planned("output", n, self.weights_output, hidden, **plan)
        mm.reset_operands(b=hidden)
        before_sigmoid = mm.execute()  # (10, n), column-major

        self._saved = x, hidden, extra["relu_aux"]
        return sigmoid(before_sigmoid.T)

    def backward_output(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_output (10, H) and bias_output (10,), given grad (n, 10)."""
        _, hidden, _ = self._saved
        mm = self._planned("grad_output", len(grad), grad.T, hidden.T)
        mm.reset_operands(a=grad.T, b=hidden.T)
        return mm.execute(), grad.sum(axis=0)  # (10, n) (n, H)

    def backward_hidden(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_hidden (H, 784) and bias_hidden (H,), given grad (n, 10)."""
        x, _, mask = self._saved
        n = len(x)

        # Through the ReLU: the mask, and the sum over the batch (the bias gradient), come with it.
        plan = {"epilog": MatmulEpilog.DRELU_BGRAD, "epilog_inputs": {"relu_aux": mask}}
        mm = self._planned("grad_relu", n, self.weights_output.T, grad.T, **plan)
        mm.reset_operands(b=grad.T, epilog_inputs={"relu_aux": mask})
        grad_hidden, extra = mm.execute()  # (H, n), column-major

        mm = self._planned("grad_hidden", n, grad_hidden, x)
        mm.reset_operands(a=grad_hidden, b=x)
        return mm.execute(), extra["drelu_bgrad"]  # (H, n) (n, 784)

    def _planned(self, name: str, n: int, a: Array, b: Array, **plan: Any) -> Matmul:
        """The matmul `name` for batches of n images, planned if this is the first."""
        if (name, n) not in self._matmuls:
            mm = Matmul(a, b)
            try:
                mm.plan(**plan)
            except Exception:
                mm.free()
                raise
            self._matmuls[name, n] = mm
        return self._matmuls[name, n]

    def free(self) -> None:
        """Free all plans, and let go of the last batch."""
        for mm in self._matmuls.values():
            mm.free()
        self._matmuls.clear()
        self._saved = None
