"""The fused network without the checks of each step. Chapter "Getting out of the way"."""

from typing import Any

from tutorial_lib.backend import Matmul, MatmulEpilog, MatmulOptions, xp
from tutorial_lib.functions import binary_cross_entropy, one_hot, sigmoid
from tutorial_lib.networks.fused import MnistNet


class MnistNetUnchecked(MnistNet):
    """`MnistNet`, each operand checked when its matmul is planned, and never again.

    After that, ``reset_operands_unchecked`` swaps pointers and trusts you: an array of another
    shape, dtype or memory order gives wrong numbers, or a crash. `compute_type` is the arithmetic
    of the matmuls, by default float32.
    """

    def __init__(
        self,
        num_inputs: int,
        num_hidden: int,
        num_outputs: int,
        *,
        seed: int = 1234,
        compute_type: int | None = None,
    ) -> None:
        super().__init__(num_inputs, num_hidden, num_outputs, seed=seed)
        self.compute_type = compute_type
        self._algorithms: dict[tuple, Any] = {}

    def _options(self) -> dict[str, Any]:
        return {"compute_type": self.compute_type}

    def step(
        self, x: xp.ndarray, labels: xp.ndarray, loss: xp.ndarray, learning_rate: float
    ) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        predictions = sigmoid(self._logits(x))
        targets = one_hot(labels, self.num_outputs)
        loss[...] = binary_cross_entropy(predictions, targets)
        gradients = self._gradients((predictions - targets) / len(labels))
        for parameter, gradient in zip(self.parameters, gradients):
            parameter -= learning_rate * gradient

    def forward(self, x: xp.ndarray) -> xp.ndarray:
        """``sigmoid(W_o relu(W_h xᵀ + b_h) + b_o)ᵀ``: images to probabilities (n, 10)."""
        return sigmoid(self._logits(self._check_images(x)))

    def backward(self, grad: xp.ndarray) -> tuple[xp.ndarray, ...]:
        """The gradients of the four parameters, given that of the logits, (n, 10)."""
        return self._gradients(self._check_grad(grad))

    def _logits(self, x: xp.ndarray) -> xp.ndarray:
        """What comes before the sigmoid, (n, 10)."""
        bias = {"bias": self.bias_hidden}
        hidden, extra = self._run(
            "hidden", self.weights_hidden, x.T, epilog=MatmulEpilog.RELU_AUX_BIAS, inputs=bias
        )
        self._saved = x, hidden, extra["relu_aux"]
        bias = {"bias": self.bias_output}
        return self._run(
            "output", self.weights_output, hidden, epilog=MatmulEpilog.BIAS, inputs=bias
        ).T

    def _gradients(self, grad: xp.ndarray) -> tuple[xp.ndarray, ...]:
        x, hidden, _ = self._saved
        grad_weights_output = self._run("grad_output", grad.T, hidden.T)
        grad_hidden, grad_bias_hidden = self._through_relu(grad)
        grad_weights_hidden = self._run("grad_hidden", grad_hidden, x)
        return grad_weights_hidden, grad_bias_hidden, grad_weights_output, grad.sum(axis=0)

    def _through_relu(self, grad: xp.ndarray) -> tuple[xp.ndarray, xp.ndarray]:
        """The gradient of the hidden layer, (H, n), and of its bias, (H,)."""
        mask = {"relu_aux": self._saved[2]}
        grad_hidden, extra = self._run(
            "grad_relu", self.weights_output.T, grad.T, epilog=MatmulEpilog.DRELU_BGRAD, inputs=mask
        )
        return grad_hidden, extra["drelu_bgrad"]

    def _run(
        self,
        name: str,
        a: xp.ndarray,
        b: xp.ndarray,
        c: xp.ndarray | None = None,
        *,
        alpha: float | None = None,
        epilog: MatmulEpilog | None = None,
        inputs: dict[str, xp.ndarray] | None = None,
    ) -> Any:
        """``epilog(alpha a b + c)``, written into c if there is one; planned at the first call."""
        key = name, a.shape, b.shape
        mm = self._matmuls.get(key)
        if mm is None:
            options = MatmulOptions(inplace=c is not None, compute_type=self.compute_type)
            beta = None if c is None else 1.0
            mm = Matmul(a, b, c, alpha=alpha, beta=beta, options=options)
            try:
                self._algorithms[key] = self._plan(mm, epilog, inputs)
            except Exception:
                mm.free()
                raise
            self._matmuls[key] = mm
        else:
            mm.reset_operands_unchecked(a=a, b=b, alpha=alpha, epilog_inputs=inputs)
        return mm.execute(algorithm=self._algorithms[key])

    def _plan(
        self, mm: Matmul, epilog: MatmulEpilog | None, inputs: dict[str, xp.ndarray] | None
    ) -> Any:
        """Plan the matmul; returns the algorithm to run it with, None for cuBLASLt's first."""
        mm.plan(epilog=epilog, epilog_inputs=inputs)
