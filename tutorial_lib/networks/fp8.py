"""The network with its five products in FP8. See chapter 10."""

import importlib.util
from typing import Any

import numpy as np

from tutorial_lib import backend, kernels
from tutorial_lib.backend import Array, Matmul, MatmulEpilog, MatmulOptions, xp
from tutorial_lib.functions import sigmoid
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.e4m3 import DelayedScaling, Quantized
from tutorial_lib.networks.epochs import Graph
from tutorial_lib.networks.plans import Plans
from tutorial_lib.reference import streams


class ScaledPlans(Plans):
    """Products of quantized matrices, each planned when it first comes; the results are float32."""

    def product(
        self,
        name: str,
        a: Quantized,
        b: Quantized,
        into: Array | None = None,
        *,
        alpha: float = 1.0,
        bias: Array | None = None,
    ) -> Array:
        """``alpha a bᵀ``, added to `into` (M, N) if there is one, for a (M, K) and b (N, K); with a
        float32 bias (N,), ``relu(alpha a bᵀ + bias)``, the bias rounded to bfloat16.

        FP8 takes both operands as they are here, along K, and no other way.
        """
        if backend.name == "cpu":
            scale = alpha * a.scale * b.scale
            return streams.launch(_product, a.values, b.values, scale, into, bias)
        import torch

        def typed(x: Array, dtype: torch.dtype) -> torch.Tensor:
            return torch.as_tensor(x).view(dtype)

        out = xp.empty((len(a.values), len(b.values)), xp.float32) if into is None else into
        e4m3 = torch.float8_e4m3fn
        # cuBLASLt writes columns: it computes the transpose, b aᵀ.
        operands = {"a": typed(b.values, e4m3), "b": typed(a.values, e4m3).T}
        operands["c"] = torch.as_tensor(out).T
        inputs = None
        if bias is not None:  # cuBLASLt would read float32 as twice as many numbers of 16 bits
            inputs = {"bias": typed(bias.astype("bfloat16").view(xp.int16), torch.bfloat16)}
        key = name, a.values.shape, b.values.shape
        if key not in self.planned:
            scales = {"a": torch.as_tensor(b.scale), "b": torch.as_tensor(a.scale)}
            given = {"beta": float(into is not None), "options": MatmulOptions(inplace=True)}
            mm = Matmul(*operands.values(), quantization_scales=scales, **given)
            mm.plan(epilog=inputs and MatmulEpilog.RELU_BIAS, epilog_inputs=inputs)
            self.planned[key] = mm
        self.planned[key].reset_operands_unchecked(**operands, alpha=alpha, epilog_inputs=inputs)
        self.planned[key].execute(stream=xp.cuda.get_current_stream().ptr)
        return out


def _product(a: Array, b: Array, scale: Array, into: Any, bias: Any) -> Array:
    a, b = (x.view("float8_e4m3fn").astype(np.float32) for x in (a, b))
    product = scale * (a @ b.T)
    if bias is not None:
        product = np.maximum(product + bias.astype("bfloat16").astype(np.float32), 0)
    return product if into is None else np.add(into, product, out=into)


class MnistNetFP8(MnistNetBase):
    """The network with e4m3 operands in all products; parameters and their updates are float32.

    Raises ValueError unless inputs and hidden units are multiples of 16 and there are 10 outputs,
    RuntimeError for a GPU below compute capability 8.9, ImportError without torch or ml_dtypes.
    """

    default_plans, default_launch = ScaledPlans, Graph
    ten_outputs = True

    def __init__(self, *sizes: int, **choices: Any) -> None:
        super().__init__(*sizes, **choices)
        self.scaling = DelayedScaling()

    def check_sizes(self) -> None:
        """See `MnistNetFP8`."""
        super().check_sizes()
        if self.num_inputs % 16 or self.num_hidden % 16:
            sizes = f"{self.num_inputs} inputs, {self.num_hidden} hidden units"
            raise ValueError(f"FP8 multiplies multiples of 16, not {sizes}")
        if backend.name == "gpu" and int(xp.cuda.Device().compute_capability) < 89:
            raise RuntimeError("FP8 needs a GPU of compute capability 8.9 or higher")
        for package in ("ml_dtypes", "torch")[: 1 + (backend.name == "gpu")]:
            if not importlib.util.find_spec(package):
                raise ImportError(f"FP8 needs {package}: pip install {package}")

    def forward(self, x: Array) -> Array:
        """``sigmoid(W_o relu(W_h xᵀ + b_h) + b_o)ᵀ``: images to probabilities (n, 10)."""
        return sigmoid(self.layers(self.check_images(x))[-1])

    def layers(self, x: Array) -> tuple:
        """x, the hidden layer and W_o quantized, where the ReLU is open, the logits (n, 10)."""
        quantize, product = self.scaling.quantize, self.plans.product
        x8, weights8 = quantize("x", x), quantize("weights_hidden", self.weights_hidden)
        hidden = product("hidden", x8, weights8, bias=self.bias_hidden)  # (n, H), n up to 15 more
        hidden8 = quantize("hidden", hidden)
        output8 = quantize("weights_output", self.weights_output)  # (16, H)
        logits = product("output", hidden8, output8)[: len(x), :10] + self.bias_output
        return x8, hidden8, output8, hidden > 0, logits

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        quantize, product = self.scaling.quantize, self.plans.product
        x8, hidden8, output8, is_open, logits = self.layers(x)
        grad = xp.empty_like(logits)
        kernels.loss_and_gradient(logits, labels, grad, loss)
        grad8 = quantize("grad", grad)  # (n, 16)
        grad_hidden = product("grad_relu", grad8, output8.transposed()) * is_open  # (n, H)
        grad_hidden8 = quantize("grad_hidden", grad_hidden)
        # Along the batch: all transposed. The last one updates W_h, float32, in place.
        grad_output = product("grad_output", grad8.transposed(), hidden8.transposed())  # (16, H)
        self.weights_output -= learning_rate * grad_output[:10]
        self.bias_output -= learning_rate * grad.sum(axis=0)
        self.bias_hidden -= learning_rate * grad_hidden.sum(axis=0)
        operands = grad_hidden8.transposed(), x8.transposed(), self.weights_hidden
        product("update_hidden", *operands, alpha=-learning_rate)
        self.scaling.next_step()
