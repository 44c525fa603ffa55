"""What all networks share: the parameters, how they start, the rule that keeps them alive.

The rule: **the weights are live buffers.** A planned matmul holds the very arrays
`weights_hidden`, `bias_hidden`, `weights_output` and `bias_output`, and reads them at each
execution. So an update writes into them (``-=``, ``[...] =``); binding a name to another array
would leave the plans with the old one, and is refused.
"""

import math
import numbers
from typing import Any

from tutorial_lib.backend import Array, random, xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.functions import binary_cross_entropy, one_hot

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

    def backward(self, grad: Array) -> tuple[Array, ...]:
        """The gradients of the four parameters, given `grad` (n, num_outputs) of the logits."""
        grad = self._check_grad(grad)
        grad_weights_output, grad_bias_output = self.backward_output(grad)
        return *self.backward_hidden(grad), grad_weights_output, grad_bias_output

    def backward_output(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_output and bias_output."""
        raise NotImplementedError

    def backward_hidden(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_hidden and bias_hidden; `grad` is again that of the logits."""
        raise NotImplementedError

    def step(
        self, x: xp.ndarray, labels: xp.ndarray, loss: xp.ndarray, learning_rate: float
    ) -> None:
        """One step on the images x (n, num_inputs) with labels (n,), in place.

        Writes the batch's mean loss into `loss` (1,).
        """
        predictions = self.forward(x)
        targets = one_hot(labels, self.num_outputs)
        loss[...] = binary_cross_entropy(predictions, targets)
        gradients = self.backward((predictions - targets) / len(labels))
        for parameter, gradient in zip(self.parameters, gradients):
            parameter -= learning_rate * gradient  # in place: see the rule above

    def epoch(
        self,
        images: xp.ndarray,
        labels: xp.ndarray,
        *,
        learning_rate: float = 0.1,
        batch_size: int = BATCH_SIZE,
    ) -> xp.ndarray:
        """Train on all full batches of images (N, num_inputs), labels (N,), in their order.

        Returns the losses, (steps,), on the device. Raises TypeError or ValueError for arrays or
        numbers that do not fit, before anything has changed.
        """
        images, labels = self._check_epoch(images, labels, learning_rate, batch_size)
        losses = xp.empty(len(images) // batch_size, self.weights_hidden.dtype)
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

    def astype(self, dtype: type) -> "MnistNetBase":
        """A new network with these parameters in another float type: float64 to check gradients."""
        sizes = self.num_inputs, self.num_hidden, self.num_outputs
        copy = type(self)(*sizes, **self._options())
        for name in PARAMETERS:
            object.__setattr__(
                copy, name, getattr(self, name).astype(dtype)
            )  # before any plan holds them
        return copy

    def _options(self) -> dict[str, Any]:
        """What a network like this one is made with, besides its sizes and its seed."""
        return {}

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

    def _check_epoch(
        self, images: xp.ndarray, labels: xp.ndarray, learning_rate: float, batch_size: int
    ) -> tuple[xp.ndarray, xp.ndarray]:
        """The images and labels of an epoch, as kernels need them; looks at every label."""
        check_learning_rate(learning_rate)
        images = self._check_images(images)
        if not isinstance(labels, xp.ndarray) or labels.dtype != xp.int64:
            raise TypeError(f"labels must be a {xp.__name__}.ndarray of int64")
        if labels.shape != (len(images),):
            raise ValueError(f"labels must have shape ({len(images)},), they have {labels.shape}")
        if not isinstance(batch_size, int) or not 1 <= batch_size <= len(images):
            raise ValueError(f"a batch of {batch_size} cannot be had from {len(images)} images")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.num_outputs:
            raise ValueError(
                f"labels must be 0 to {self.num_outputs - 1}, they go from {low} to {high}"
            )
        return images, self._row_major(labels)

    @staticmethod
    def _row_major(x: xp.ndarray) -> xp.ndarray:
        """`x` where it is dense, row-major and begins at a multiple of 16 bytes; else a copy.

        A kernel gets a pointer, which knows no strides; an algorithm may load 16 bytes at once.
        """
        dense = x.strides == _dense_strides(x) and address(x) % 16 == 0
        return x if dense else xp.array(x, order="C")


def _dense_strides(x: xp.ndarray) -> tuple[int, ...]:
    strides = x.itemsize, x.itemsize * x.shape[-1]
    return strides[: x.ndim][::-1]


def address(x: xp.ndarray) -> int:
    """Where the first element of an array lies, in bytes."""
    return x.data.ptr if hasattr(x.data, "ptr") else x.ctypes.data


def check_learning_rate(learning_rate: float) -> None:
    """Raises TypeError or ValueError for anything but a finite number above 0."""
    if not isinstance(learning_rate, numbers.Real):
        raise TypeError(f"the learning rate must be a number, not {type(learning_rate).__name__}")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"the learning rate must be finite and above 0, it is {learning_rate}")
