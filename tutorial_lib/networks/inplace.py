"""Fused networks whose matmuls take the step themselves. See chapter 9."""

from tutorial_lib import kernels
from tutorial_lib.backend import Array, MatmulEpilog, xp
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.plans import UncheckedPlans


class MnistNetInPlace(MnistNet):
    """Gradient descent inside the matmuls: ``W ← -lr · gradient + 1 · W``, with c = W, in place.

    A step is five matmuls, one kernel for the loss and its gradient, and two updates of a bias.
    Raises ValueError for other than 10 outputs, for which the kernel is written.
    """

    default_plans = UncheckedPlans
    ten_outputs = True

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        hidden, grad, grad_hidden, grad_bias_hidden = back_to_hidden(self, x, labels, loss)
        update_output(self, hidden, grad, learning_rate)
        self.bias_hidden -= learning_rate * grad_bias_hidden
        self.plans.descend("update_hidden", self.weights_hidden, grad_hidden, x, learning_rate)


def back_to_hidden(net: MnistNet, x: Array, labels: Array, loss: Array) -> tuple[Array, ...]:
    """Forward, the loss, and back to the hidden layer, whose weights and bias are not yet touched.

    Returns the hidden layer (H, n), the gradient of the logits (n, 10), that of the hidden layer
    before its ReLU (H, n), and its sum over the batch, (H,).
    """
    plan = {"epilog": MatmulEpilog.RELU_AUX_BIAS, "inputs": {"bias": net.bias_hidden}}
    hidden, extra = net.plans.run("hidden", net.weights_hidden, x.T, **plan)
    plan = {"epilog": MatmulEpilog.BIAS, "inputs": {"bias": net.bias_output}}
    logits = net.plans.run("output", net.weights_output, hidden, **plan).T
    grad = xp.empty_like(logits)
    kernels.loss_and_gradient(logits, labels, grad, loss)
    # It needs the weights of the output layer as they were.
    plan = {"epilog": MatmulEpilog.DRELU_BGRAD, "inputs": {"relu_aux": extra["relu_aux"]}}
    grad_hidden, extra = net.plans.run("grad_relu", net.weights_output.T, grad.T, **plan)
    return hidden, grad, grad_hidden, extra["drelu_bgrad"]


def update_output(net: MnistNet, hidden: Array, grad: Array, learning_rate: float) -> None:
    """W_oᵀ -= lr y grad, (H, n) (n, 10), and the sum over n of the same grad for the bias."""
    plan = {"alpha": -learning_rate, "epilog": MatmulEpilog.BGRADB}
    _, extra = net.plans.run("update_output", hidden, grad, net.weights_output.T, **plan)
    net.bias_output -= learning_rate * extra["bgradb"]
