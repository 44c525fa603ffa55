"""What all networks share: the parameters, how they start, the rule that keeps them alive.

The rule: **the weights are live buffers.** A planned matmul holds the very arrays
`weights_hidden`, `bias_hidden`, `weights_output` and `bias_output`, and reads them at each
execution. So an update writes into them (``-=``, ``[...] =``); binding a name to another array
would leave the plans with the old one, and is refused.
"""

from typing import Any

from tutorial_lib.backend import random, xp

PARAMETERS = ("weights_hidden", "bias_hidden", "weights_output", "bias_output")


class MnistNetBase:
    """A network with one hidden layer: inputs (n, num_inputs) to probabilities (n, num_outputs).

    The parameters, float32, are drawn from CuPy's stream after ``seed(seed)``, in the published
    order and ranges: ``weights_hidden`` (H, num_inputs) and ``bias_hidden`` (H,) uniform in
    ±1/sqrt(num_inputs), ``weights_output`` (num_outputs, H) and ``bias_output`` (num_outputs,)
    uniform in ±1/sqrt(H). Raises ValueError for a layer of less than one unit.
    """

    def __init__(
        self, num_inputs: int, num_hidden: int, num_outputs: int, *, seed: int = 1234
    ) -> None:
        if min(num_inputs, num_hidden, num_outputs) < 1:
            raise ValueError(
                f"each layer needs at least one unit, got {num_inputs}-{num_hidden}-{num_outputs}"
            )
        self.num_inputs, self.num_hidden, self.num_outputs = num_inputs, num_hidden, num_outputs
        self._saved = None  # what forward leaves for backward
        random.seed(seed)
        bound = 1 / num_inputs**0.5
        self.weights_hidden = random.uniform(
            -bound, bound, (num_hidden, num_inputs), dtype=xp.float32
        )
        self.bias_hidden = random.uniform(-bound, bound, num_hidden, dtype=xp.float32)
        bound = 1 / num_hidden**0.5
        self.weights_output = random.uniform(
            -bound, bound, (num_outputs, num_hidden), dtype=xp.float32
        )
        self.bias_output = random.uniform(-bound, bound, num_outputs, dtype=xp.float32)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in PARAMETERS and getattr(self, name, value) is not value:
            raise AttributeError(
                f"{name} is a live buffer that planned matmuls read: "
                f"write into it, {name}[...] = new"
            )
        super().__setattr__(name, value)

    @property
    def parameters(self) -> tuple[xp.ndarray, ...]:
        """The four live buffers, in the order in which `backward` returns their gradients."""
        return self.weights_hidden, self.bias_hidden, self.weights_output, self.bias_output

    def forward(self, x: xp.ndarray) -> xp.ndarray:
        """Probabilities (n, num_outputs) for the images x (n, num_inputs), for any n."""
        raise NotImplementedError

    def backward(self, grad: xp.ndarray) -> tuple[xp.ndarray, ...]:
        """The gradients of the four parameters, given `grad` (n, num_outputs) of the logits."""
        raise NotImplementedError

    def astype(self, dtype: type) -> "MnistNetBase":
        """A new network with these parameters in another float type: float64 to check gradients."""
        copy = type(self)(self.num_inputs, self.num_hidden, self.num_outputs)
        for name in PARAMETERS:
            object.__setattr__(
                copy, name, getattr(self, name).astype(dtype)
            )  # before any plan holds them
        return copy

    def free(self) -> None:
        """Give back what the network holds on the GPU besides its parameters.

        The plain network holds nothing.
        """

    def __enter__(self) -> "MnistNetBase":
        return self

    def __exit__(self, *exception: object) -> None:
        self.free()

    def _check_images(self, x: xp.ndarray) -> xp.ndarray:
        """The images as a row-major matrix; raises TypeError or ValueError."""
        dtype = self.weights_hidden.dtype
        if not isinstance(x, xp.ndarray) or x.dtype != dtype:
            got = f"{type(x).__module__}.{type(x).__name__} {getattr(x, 'dtype', '')}".rstrip()
            raise TypeError(f"images must be a {xp.__name__}.ndarray of {dtype}, not a {got}")
        if x.ndim != 2 or x.shape[1] != self.num_inputs or not len(x):
            raise ValueError(
                f"images must have shape (n, {self.num_inputs}), n at least 1, not {x.shape}"
            )
        return self._row_major(x)

    def _check_grad(self, grad: xp.ndarray) -> xp.ndarray:
        """The gradient as a row-major matrix; raises RuntimeError before a forward pass."""
        if self._saved is None:
            raise RuntimeError("backward needs the values of a forward pass: call forward first")
        expected = len(self._saved[0]), self.num_outputs
        if not isinstance(grad, xp.ndarray) or grad.dtype != self.weights_hidden.dtype:
            raise TypeError(f"grad must be a {xp.__name__}.ndarray of {self.weights_hidden.dtype}")
        if grad.shape != expected:
            raise ValueError(
                f"grad must have the shape of the last forward pass, {expected}, not {grad.shape}"
            )
        return self._row_major(grad)

    @staticmethod
    def _row_major(x: xp.ndarray) -> xp.ndarray:
        return x if x.strides == (x.shape[1] * x.itemsize, x.itemsize) else xp.array(x, order="C")
