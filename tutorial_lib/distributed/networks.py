"""Both networks with a backward pass in two stages, so that the first's gradients can travel early.

The arithmetic is that of `networks.naive` and `networks.fused`, operation for operation.
"""

from tutorial_lib.backend import MatmulEpilog, xp
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.naive import MnistNetNaive

Pair = tuple[xp.ndarray, xp.ndarray]


class StagedNet(MnistNetBase):
    """A network whose `backward` is `backward_output`, then `backward_hidden`."""

    def backward_output(self, grad: xp.ndarray) -> Pair:
        """The gradients of weights_output and bias_output, given `grad` (n, 10) of the logits."""
        raise NotImplementedError

    def backward_hidden(self, grad: xp.ndarray) -> Pair:
        """The gradients of weights_hidden and bias_hidden, given the same `grad`."""
        raise NotImplementedError

    def backward(self, grad: xp.ndarray) -> tuple[xp.ndarray, ...]:
        """The gradients of the four parameters, in their order."""
        output = self.backward_output(grad)
        return *self.backward_hidden(grad), *output


class StagedMnistNetNaive(StagedNet, MnistNetNaive):
    """The plain network in two stages."""

    def backward_output(self, grad: xp.ndarray) -> Pair:
        """A plain matmul (10, n) (n, H), and a sum over the batch."""
        grad = self._check_grad(grad)
        _, hidden, _ = self._saved
        return grad.T @ hidden.T, grad.sum(axis=0)

    def backward_hidden(self, grad: xp.ndarray) -> Pair:
        """Through the ReLU, then a plain matmul (H, n) (n, 784), and a sum over the batch."""
        grad = self._check_grad(grad)
        x, _, positive = self._saved
        grad_hidden = (self.weights_output.T @ grad.T) * positive
        return grad_hidden @ x, grad_hidden.sum(axis=1)


class StagedMnistNet(StagedNet, MnistNet):
    """The fused network in two stages, with the plans of `MnistNet`."""

    def backward_output(self, grad: xp.ndarray) -> Pair:
        """A planned matmul (10, n) (n, H), and a sum over the batch."""
        grad = self._check_grad(grad)
        _, hidden, _ = self._saved
        mm = self._planned("grad_output", len(grad), grad.T, hidden.T)
        mm.reset_operands(a=grad.T, b=hidden.T)
        return mm.execute(), grad.sum(axis=0)

    def backward_hidden(self, grad: xp.ndarray) -> Pair:
        """DRELU_BGRAD through the ReLU, bias gradient with it, then a planned (H, n) (n, 784)."""
        grad = self._check_grad(grad)
        x, _, mask = self._saved
        n = len(x)
        plan = {"epilog": MatmulEpilog.DRELU_BGRAD, "epilog_inputs": {"relu_aux": mask}}
        mm = self._planned("grad_relu", n, self.weights_output.T, grad.T, **plan)
        mm.reset_operands(b=grad.T, epilog_inputs={"relu_aux": mask})
        grad_hidden, extra = mm.execute()
        mm = self._planned("grad_hidden", n, grad_hidden, x)
        mm.reset_operands(a=grad_hidden, b=x)
        return mm.execute(), extra["drelu_bgrad"]


NETWORKS: dict[str, type[StagedNet]] = {"fused": StagedMnistNet, "naive": StagedMnistNetNaive}
