"""Fused networks whose matmuls take the step themselves. Chapter "Getting out of the way"."""

from tutorial_lib import kernels
from tutorial_lib.backend import Array, MatmulEpilog, xp
from tutorial_lib.graphs import Branch
from tutorial_lib.networks.epochs import Graph
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.plans import MeasuredPlans, UncheckedPlans

# The columns of a tile. 784 are 12 tiles and a quarter, for which the H200 needs a wave of its own.
TILE = 64


class MnistNetInPlace(MnistNet):
    """Gradient descent inside the matmuls: ``W ← -lr · gradient + 1 · W``, with c = W, in place.

    A step is five matmuls, one kernel for the loss and its gradient, and two updates of a bias.
    The kernel looks at each label: an image whose label is not 0 to 9 is left out of the gradient,
    and makes the loss of its batch NaN. Raises ValueError for other than 10 outputs, for which the
    kernel is written.
    """

    default_plans = UncheckedPlans

    def check_sizes(self) -> None:
        """Raises ValueError for sizes that the kernel of the loss cannot have."""
        super().check_sizes()
        require_ten(self.num_outputs)

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        hidden, grad, grad_hidden, grad_bias_hidden = back_to_hidden(self, x, labels, loss)
        update_output(self, hidden, grad, learning_rate)
        self.bias_hidden -= learning_rate * grad_bias_hidden
        self.plans.descend("update_hidden", self.weights_hidden, grad_hidden, x, learning_rate)


class MnistNetTuned(MnistNet):
    """The step of `MnistNetInPlace`, with what is independent side by side.

    The small updates run beside the large one, which gets a width of whole tiles; the columns left
    over are a matmul of their own.
    """

    default_plans, default_launch = MeasuredPlans, Graph

    def check_sizes(self) -> None:
        """Raises ValueError for sizes that the kernel of the loss cannot have."""
        super().check_sizes()
        require_ten(self.num_outputs)

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        hidden, grad, grad_hidden, grad_bias_hidden = back_to_hidden(self, x, labels, loss)
        with Branch() as side:
            update_output(self, hidden, grad, learning_rate)
            self.bias_hidden -= learning_rate * grad_bias_hidden
        weights = self.weights_hidden
        self.plans.descend("update_hidden", weights, grad_hidden, x, learning_rate, tile=TILE)
        side.join()


def back_to_hidden(net: MnistNet, x: Array, labels: Array, loss: Array) -> tuple[Array, ...]:
    """Forward, the loss, and back to the hidden layer, whose weights and bias are not yet touched.

    Returns the hidden layer (H, n), the gradient of the logits (n, 10), that of the hidden layer
    before its ReLU (H, n), and its sum over the batch, (H,).
    """
    run, bias = net.plans.run, {"bias": net.bias_hidden}
    epilog = MatmulEpilog.RELU_AUX_BIAS
    hidden, extra = run("hidden", net.weights_hidden, x.T, epilog=epilog, inputs=bias)
    bias = {"bias": net.bias_output}
    logits = run("output", net.weights_output, hidden, epilog=MatmulEpilog.BIAS, inputs=bias).T
    grad = xp.empty_like(logits)
    kernels.loss_and_gradient(logits, labels, grad, loss)
    # It needs the weights of the output layer as they were.
    epilog, mask = MatmulEpilog.DRELU_BGRAD, {"relu_aux": extra["relu_aux"]}
    operands = net.weights_output.T, grad.T
    grad_hidden, extra = run("grad_relu", *operands, epilog=epilog, inputs=mask)
    return hidden, grad, grad_hidden, extra["drelu_bgrad"]


def update_output(net: MnistNet, hidden: Array, grad: Array, learning_rate: float) -> None:
    """W_oᵀ -= lr y grad, (H, n) (n, 10), and the sum over n of the same grad for the bias."""
    weights, epilog = net.weights_output.T, MatmulEpilog.BGRADB
    operands = weights, hidden, grad, learning_rate
    _, extra = net.plans.descend("update_output", *operands, epilog=epilog)
    net.bias_output -= learning_rate * extra["bgradb"]


def require_ten(num_outputs: int) -> None:
    """Raises ValueError for other than 10 outputs."""
    if num_outputs != 10:
        raise ValueError(f"the loss kernel is written for 10 outputs, not {num_outputs}")
