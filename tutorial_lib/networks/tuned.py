"""The captured network with measured algorithms and parallel branches.

Chapter "Getting out of the way".
"""

from typing import Any

from tutorial_lib import kernels
from tutorial_lib.backend import Matmul, MatmulEpilog, xp
from tutorial_lib.capture import Branch, captured_time
from tutorial_lib.networks.captured import MnistNetCaptured
from tutorial_lib.networks.inplace import descend

CANDIDATES = 32  # how many algorithms cuBLASLt is asked for
# The columns of a tile. 784 are 12 tiles and a quarter, for which the H200 needs a wave of its own.
TILE = 64


class MnistNetTuned(MnistNetCaptured):
    """`MnistNetCaptured`, each matmul's algorithm chosen by timing it inside a graph.

    The small updates run beside the large one, which gets a width of whole tiles; the columns left
    over are a matmul of their own.
    """

    def step(
        self, x: xp.ndarray, labels: xp.ndarray, loss: xp.ndarray, learning_rate: float
    ) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        logits = self._logits(x)
        grad = xp.empty_like(logits)
        kernels.loss_and_gradient(logits, labels, grad, loss)
        grad_hidden, grad_bias_hidden = self._through_relu(grad)  # needs the old weights_output
        with Branch() as side:
            self._update_output(grad, learning_rate)
            descend(self.bias_hidden, grad_bias_hidden, learning_rate)
        self._update_hidden(grad_hidden, x, learning_rate)
        side.join()

    def _update_hidden(self, grad_hidden: xp.ndarray, x: xp.ndarray, learning_rate: float) -> None:
        """W_h -= lr grad_hidden x, (H, n) (n, 784), in two pieces of W_h."""
        whole = self.num_inputs // TILE * TILE
        pieces = (
            [slice(whole, None), slice(whole)] if 0 < whole < self.num_inputs else [slice(None)]
        )
        with Branch() as beside:
            for rest in pieces[:-1]:
                self._update_columns(rest, grad_hidden, x, learning_rate)
        self._update_columns(pieces[-1], grad_hidden, x, learning_rate)
        beside.join()

    def _update_columns(
        self, columns: slice, grad_hidden: xp.ndarray, x: xp.ndarray, learning_rate: float
    ) -> None:
        weights = self.weights_hidden[:, columns]
        self._run("update_hidden", grad_hidden, x[:, columns], weights, alpha=-learning_rate)

    def _plan(
        self, mm: Matmul, epilog: MatmulEpilog | None, inputs: dict[str, xp.ndarray] | None
    ) -> Any:
        """The algorithm that is fastest among its own repetitions, in a graph."""
        algorithms = mm.plan(epilog=epilog, epilog_inputs=inputs, preferences={"limit": CANDIDATES})
        if len(algorithms) == 1:
            return None
        before = [parameter.copy() for parameter in self.parameters]
        fastest = min(algorithms, key=lambda one: captured_time(lambda: mm.execute(algorithm=one)))
        for parameter, value in zip(self.parameters, before):
            parameter[...] = value  # what the timed updates changed
        return fastest
