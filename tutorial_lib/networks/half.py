"""The network in half precision, with parameters in float32. See chapter 10."""

import itertools
from typing import Any

import numpy as np

from tutorial_lib import kernels
from tutorial_lib.backend import Array, MatmulEpilog, xp
from tutorial_lib.functions import sigmoid
from tutorial_lib.networks.base import PARAMETERS
from tutorial_lib.networks.epochs import Graph
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.inputs import check_array
from tutorial_lib.networks.plans import UncheckedPlans

ALIGNED = 8  # elements; cuBLASLt's faster algorithms load 16 bytes at once


class MnistNetHalf(MnistNet):
    """Matmuls of bfloat16 or float16 operands, with sums, loss and parameters in float32.

    The parameters are parts of one float32 array, `masters`. Each pass begins by rounding it to
    `copies`, which the matmuls read. Images may be float32 or already `dtype`. Raises ValueError
    for another `dtype` and other than 10 outputs, ImportError for bfloat16 without ml_dtypes.
    """

    default_plans, default_launch = UncheckedPlans, Graph
    ten_outputs = True

    def __init__(self, *sizes: int, dtype: str = "bfloat16", **choices: Any) -> None:
        self.dtype = half(dtype)
        super().__init__(*sizes, **choices)
        self.pack()

    def pack(self) -> None:
        """Move the parameters into `masters`, and make room for their `copies`."""
        padded = [xp.pad(p.ravel(), (0, -p.size % ALIGNED)) for p in self.parameters]
        ends = list(itertools.accumulate(map(len, padded)))

        def parts(x: Array) -> tuple[Array, ...]:
            zipped = zip(xp.split(x, ends), self.parameters)
            return tuple(part[: p.size].reshape(p.shape) for part, p in zipped)

        self.masters, self.columns = xp.concatenate(padded), {}
        self.copies = self.masters.astype(self.dtype)
        self.rounded = parts(self.copies)
        vars(self).update(zip(PARAMETERS, parts(self.masters)))

    def astype(self, dtype: type) -> "MnistNetHalf":
        """A new network that computes all in another float type: float64 to check gradients."""
        copy = super().astype(dtype)
        copy.dtype = xp.dtype(dtype)
        copy.pack()
        vars(copy).update(copies=copy.masters, rounded=copy.parameters)
        return copy

    def check_images(self, x: Array) -> Array:
        """As `MnistNetBase.check_images`, and converted to `dtype`."""
        if getattr(x, "dtype", None) == self.dtype:
            return check_array("images", x, self.dtype, ("n", self.num_inputs))
        return super().check_images(x)

    def forward(self, x: Array) -> Array:
        """Images (n, 784), float32 or `dtype`, to probabilities (n, 10), float32."""
        x = self.check_images(x).astype(self.dtype, copy=False)
        hidden, mask, logits = self.to_logits(x)
        self.saved = x, hidden, mask
        return sigmoid(logits.astype(self.masters.dtype))

    def to_logits(self, x: Array) -> tuple[Array, Array, Array]:
        """For x (n, 784): the hidden layer (H, n), its mask, and the logits (n, 10), in `dtype`."""
        if self.copies is not self.masters:
            kernels.round_to_half(self.masters.reshape(-1, 4), self.copies.reshape(-1, 4))
        weights_hidden, bias_hidden, weights_output, bias_output = self.rounded
        plan = {"epilog": MatmulEpilog.RELU_AUX_BIAS, "inputs": {"bias": bias_hidden}}
        hidden, extra = self.plans.run("hidden", weights_hidden, x.T, **plan)
        plan = {"epilog": MatmulEpilog.BIAS, "inputs": {"bias": bias_output}}
        logits = self.plans.run("output", weights_output, hidden, **plan)
        return hidden, extra["relu_aux"], logits.T

    def scaled(self, grad: Array) -> Array:
        """The gradient (n, 10) times n, as in `kernels.loss_in_half`, rounded to `dtype`."""
        return (grad * len(grad)).astype(self.dtype)

    def through_relu(self, grad: Array, mask: Array) -> tuple[Array, Array]:
        """From a gradient (n, 10) to that of the hidden layer (H, n), and its sum over n, (H,)."""
        plan = {"epilog": MatmulEpilog.DRELU_BGRAD, "inputs": {"relu_aux": mask}}
        grad_hidden, extra = self.plans.run("grad_relu", self.rounded[2].T, grad.T, **plan)
        return grad_hidden, extra["drelu_bgrad"]

    def ones(self, n: int) -> Array:
        """A column of n ones, (n, 1): a matmul with it sums over a batch."""
        if n not in self.columns:
            self.columns[n] = xp.ones((n, 1), self.dtype)
        return self.columns[n]

    def backward_output(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_output (10, H) and bias_output (10,), given grad (n, 10)."""
        _, hidden, _ = self.saved
        product = self.plans.run("grad_output", self.scaled(grad).T, hidden.T)
        return xp.divide(product, len(grad), dtype=grad.dtype), grad.sum(axis=0)

    def backward_hidden(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_hidden (H, 784) and bias_hidden (H,), given grad (n, 10)."""
        x, _, mask = self.saved
        grad_hidden, sums = self.through_relu(self.scaled(grad), mask)
        product = self.plans.run("grad_hidden", grad_hidden, x)
        return tuple(xp.divide(one, len(grad), dtype=grad.dtype) for one in (product, sums))

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        x, rate = x.astype(self.dtype, copy=False), learning_rate / len(x)
        hidden, mask, logits = self.to_logits(x)
        grad = xp.empty_like(logits)
        kernels.loss_in_half(logits, labels, grad, loss)  # p - t, and so the rate is one n-th
        grad_hidden, sums = self.through_relu(grad, mask)
        self.bias_hidden -= xp.multiply(sums, rate, dtype=self.masters.dtype)
        # Half operands, added to float32: (H, n) (n, 10), (10, n) (n, 1), (H, n) (n, 784)
        descend, ones = self.plans.descend, self.ones(len(x))
        descend("update_output", self.weights_output.T, hidden, grad, rate)
        descend("update_bias", self.bias_output[:, None], grad.T, ones, rate)
        descend("update_hidden", self.weights_hidden, grad_hidden, x, rate)


def half(name: str) -> np.dtype:
    """The dtype float16 or bfloat16; see `MnistNetHalf` for what it raises."""
    if name not in ("float16", "bfloat16"):
        raise ValueError(f"dtype must be float16 or bfloat16, not {name!r}")
    if name == "float16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError("bfloat16 needs a package of its own: pip install ml_dtypes") from error
    return np.dtype(ml_dtypes.bfloat16)
