"""What all networks share: the parameters, how they start, the rule that keeps them alive.

The rule: **the weights are live buffers.** A planned matmul holds the very arrays
`weights_hidden`, `bias_hidden`, `weights_output` and `bias_output`, and reads them at each
execution. So an update writes into them (``-=``, ``[...] =``); binding a name to another array
would leave the plans with the old one, and is refused.
"""

from contextlib import AbstractContextManager
from typing import Any

from tutorial_lib.backend import Array, random, xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.functions import binary_cross_entropy, one_hot
from tutorial_lib.networks.epochs import Loop
from tutorial_lib.networks.inputs import check_array, check_learning_rate
from tutorial_lib.networks.plans import Plans

PARAMETERS = ("weights_hidden", "bias_hidden", "weights_output", "bias_output")


class MnistNetBase(AbstractContextManager):
    """A network with one hidden layer: inputs (n, num_inputs) to probabilities (n, num_outputs).

    Its class says what a step computes. Two more choices are independent of it: `plans`, how its
    matmuls are planned (see `networks.plans`; with their `compute_type`), and `launch`, how an
    epoch is launched (see `networks.epochs`). Raises ValueError for sizes that it cannot have.
    """

    default_plans, default_launch = Plans, Loop
    ten_outputs = False  # whether its kernels are written for 10 outputs

    def __init__(
        self,
        num_inputs: int,
        num_hidden: int,
        num_outputs: int,
        *,
        seed: int = 1234,
        plans: type[Plans] | None = None,
        launch: type | None = None,
        compute_type: int | None = None,
    ) -> None:
        self.num_inputs, self.num_hidden, self.num_outputs = num_inputs, num_hidden, num_outputs
        self.check_sizes()
        self.plans = (plans or self.default_plans)(compute_type)
        self.launch = (launch or self.default_launch)()
        self.saved: tuple | None = None  # what forward leaves for backward
        self.draw_parameters(seed)

    def check_sizes(self) -> None:
        """Raises ValueError for sizes that the network cannot have."""
        sizes = self.num_inputs, self.num_hidden, self.num_outputs
        if min(sizes) < 1:
            raise ValueError("each layer needs at least one unit, got {}-{}-{}".format(*sizes))
        if self.ten_outputs and self.num_outputs != 10:
            raise ValueError(f"the loss kernel is written for 10 outputs, not {self.num_outputs}")

    def draw_parameters(self, seed: int) -> None:
        """Draw all parameters, float32, from CuPy's stream, in the published order and ranges.

        ``weights_hidden`` (H, num_inputs) and ``bias_hidden`` (H,) are uniform in
        ±1/sqrt(num_inputs), ``weights_output`` (num_outputs, H) and ``bias_output`` (num_outputs,)
        in ±1/sqrt(H).
        """
        random.seed(seed)
        bound = 1 / self.num_inputs**0.5
        shape = self.num_hidden, self.num_inputs
        self.weights_hidden = random.uniform(-bound, bound, shape, dtype=xp.float32)
        self.bias_hidden = random.uniform(-bound, bound, self.num_hidden, dtype=xp.float32)
        bound = 1 / self.num_hidden**0.5
        shape = self.num_outputs, self.num_hidden
        self.weights_output = random.uniform(-bound, bound, shape, dtype=xp.float32)
        self.bias_output = random.uniform(-bound, bound, self.num_outputs, dtype=xp.float32)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in PARAMETERS and getattr(self, name, value) is not value:
            raise AttributeError(
                f"{name} is a live buffer that planned matmuls read: "
                f"write into it, {name}[...] = new"
            )
        super().__setattr__(name, value)

    @property
    def parameters(self) -> tuple[Array, ...]:
        """The four live buffers, in the order in which `backward` returns their gradients."""
        return self.weights_hidden, self.bias_hidden, self.weights_output, self.bias_output

    def forward(self, x: Array) -> Array:
        """Probabilities (n, num_outputs) for the images x (n, num_inputs), for any n."""
        raise NotImplementedError

    def backward(self, grad: Array) -> tuple[Array, ...]:
        """The four parameters' gradients, given that of the last logits; RuntimeError if none."""
        grad = self.check_gradient(grad)
        grad_weights_output, grad_bias_output = self.backward_output(grad)
        return *self.backward_hidden(grad), grad_weights_output, grad_bias_output

    def backward_output(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_output and bias_output."""
        raise NotImplementedError

    def backward_hidden(self, grad: Array) -> tuple[Array, Array]:
        """The gradients of weights_hidden and bias_hidden; `grad` is again that of the logits."""
        raise NotImplementedError

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """One step on the images x (n, num_inputs) with labels (n,), in place.

        Writes the batch's mean loss into `loss` (1,).
        """
        predictions = self.forward(x)
        targets = one_hot(labels, self.num_outputs)
        loss[...] = binary_cross_entropy(predictions, targets)
        gradients = self.backward((predictions - targets) / len(labels))
        for parameter, gradient in zip(self.parameters, gradients):
            parameter -= learning_rate * gradient  # in place: plans hold this very array

    def epoch(
        self,
        images: Array,
        labels: Array,
        *,
        learning_rate: float = 0.1,
        batch_size: int = BATCH_SIZE,
    ) -> Array:
        """Train on all full batches of images (N, num_inputs), labels (N,), in their order.

        Returns the losses, (steps,), on the device. Raises TypeError or ValueError for arrays or
        numbers that do not fit, before anything has changed.
        """
        return self.launch.epoch(self, images, labels, learning_rate, batch_size)

    def check_images(self, x: Array) -> Array:
        """The images as a row-major matrix (n, num_inputs); raises TypeError or ValueError."""
        return check_array("images", x, self.weights_hidden.dtype, ("n", self.num_inputs))

    def check_gradient(self, grad: Array) -> Array:
        """The gradient of the last batch's logits, row-major; TypeError, ValueError."""
        if self.saved is None:
            raise RuntimeError("backward needs the values of a forward pass: call forward first")
        shape = len(self.saved[0]), self.num_outputs
        return check_array("grad", grad, self.weights_hidden.dtype, shape)

    def check_epoch(
        self, images: Array, labels: Array, learning_rate: float, batch_size: int
    ) -> tuple[Array, Array]:
        """The images and labels of an epoch, row-major. Looks at each label; see `epoch`."""
        images = self.check_images(images)
        labels = check_array("labels", labels, xp.int64, (len(images),))
        if not isinstance(batch_size, int) or not 1 <= batch_size <= len(images):
            raise ValueError(f"a batch of {batch_size} cannot be had from {len(images)} images")
        check_learning_rate(learning_rate)
        low, high, last = int(labels.min()), int(labels.max()), self.num_outputs - 1
        if low < 0 or high > last:
            raise ValueError(f"labels must be 0 to {last}, they go from {low} to {high}")
        return images, labels

    def astype(self, dtype: type) -> "MnistNetBase":
        """A new network with these parameters in another float type: float64 to check gradients."""
        copy = object.__new__(type(self))
        vars(copy).update(vars(self), saved=None)
        vars(copy).update({name: getattr(self, name).astype(dtype) for name in PARAMETERS})
        copy.plans, copy.launch = type(self.plans)(self.plans.compute_type), type(self.launch)()
        return copy

    def free(self) -> None:
        """Give back what it holds on the GPU besides its parameters; the next use makes it anew."""
        self.launch = type(self.launch)()  # a graph goes before the plans, whose workspaces it uses
        self.plans.free()
        self.saved = None

    def __exit__(self, *exception: object) -> None:
        self.free()


def step_flops(num_hidden: int, n: int = BATCH_SIZE) -> int:
    """Multiplications and additions in the five matmuls of a step of 784-H-10 on n images."""
    return 2 * n * num_hidden * (2 * 784 + 3 * 10)
