"""Two matmuls and two hand-written kernels a step. Chapter "One kernel"."""

from typing import Any

from tutorial_lib import kernels
from tutorial_lib.backend import MatmulEpilog, xp
from tutorial_lib.capture import Branch
from tutorial_lib.kernels.needs import require
from tutorial_lib.networks.tuned import MnistNetTuned

MAX_HIDDEN = 17_152  # an eighth of it, for 16 images, fills a block's shared memory


class MnistNetMerged(MnistNetTuned):
    """The two large matmuls stay nvmath's; all that touches the output layer is one kernel.

    Raises ValueError for more than 17,152 hidden units, or other than 10 outputs, and RuntimeError
    on a GPU that cannot run the kernel. `options` are those of `MnistNetUnchecked`.
    """

    def __init__(self, num_inputs: int, num_hidden: int, num_outputs: int, **options: Any) -> None:
        if num_hidden > MAX_HIDDEN:
            raise ValueError(
                f"the kernel of the output layer takes at most {MAX_HIDDEN:,} hidden units, "
                f"not {num_hidden:,}: take MnistNetTuned"
            )
        require("output_layer", num_hidden)
        super().__init__(num_inputs, num_hidden, num_outputs, **options)

    def step(
        self, x: xp.ndarray, labels: xp.ndarray, loss: xp.ndarray, learning_rate: float
    ) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        bias = {"bias": self.bias_hidden}
        before_relu = self._run(
            "before_relu", self.weights_hidden, x.T, epilog=MatmulEpilog.BIAS, inputs=bias
        )  # (H, n), column-major
        grad_hidden, sums = kernels.output_layer(
            before_relu.T, self.weights_output, self.bias_output, labels
        )
        with Branch() as side:
            small = self.weights_output, self.bias_hidden, self.bias_output
            kernels.update_small(sums, *small, loss, learning_rate)
        self._update_hidden(grad_hidden.T, x, learning_rate)
        side.join()
