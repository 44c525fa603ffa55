"""Two matmuls and two hand-written kernels a step. Chapter "One kernel"."""

from tutorial_lib import kernels
from tutorial_lib.backend import Array, MatmulEpilog
from tutorial_lib.graphs import Branch
from tutorial_lib.kernels.needs import require
from tutorial_lib.networks.epochs import Graph
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.inplace import TILE
from tutorial_lib.networks.plans import MeasuredPlans

MAX_HIDDEN = 17_152  # an eighth of it, for 16 images, fills a block's shared memory


class MnistNetMerged(MnistNet):
    """The two large matmuls stay nvmath's; all that touches the output layer is one kernel.

    Raises ValueError for more than 17,152 hidden units, or other than 10 outputs, and RuntimeError
    on a GPU that cannot run the kernel.
    """

    default_plans, default_launch = MeasuredPlans, Graph
    ten_outputs = True

    def check_sizes(self) -> None:
        """Raises ValueError for sizes that the kernel cannot have, RuntimeError for the GPU."""
        super().check_sizes()
        if self.num_hidden > MAX_HIDDEN:
            limit = f"the kernel of the output layer takes at most {MAX_HIDDEN:,} hidden units"
            raise ValueError(f"{limit}, not {self.num_hidden:,}: take MnistNetTuned")
        require("output_layer", self.num_hidden)

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        # (H, 784) (784, n): the hidden layer before its ReLU, column-major
        plan = {"epilog": MatmulEpilog.BIAS, "inputs": {"bias": self.bias_hidden}}
        before_relu = self.plans.run("before_relu", self.weights_hidden, x.T, **plan)
        grad_hidden, sums = kernels.output_layer(
            before_relu.T, self.weights_output, self.bias_output, labels
        )  # (n, H)
        with Branch() as side:
            small = self.weights_output, self.bias_hidden, self.bias_output
            kernels.update_small(sums, *small, loss, learning_rate)
        operands = self.weights_hidden, grad_hidden.T, x, learning_rate
        self.plans.descend("update_hidden", *operands, tile=TILE)
        side.join()
