"""A whole epoch in one kernel launch. Chapter "One kernel"."""

from typing import Any

from tutorial_lib import kernels
from tutorial_lib.backend import xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.kernels.needs import require
from tutorial_lib.networks.captured import place
from tutorial_lib.networks.inplace import MnistNetInPlace

MAX_HIDDEN = 512  # beyond, the weights and a batch do not fit on the chip at once


class MnistNetOneKernel(MnistNetInPlace):
    """The network for narrow hidden layers: its weights stay on the chip for a whole epoch.

    As in `MnistNetCaptured`, labels are looked at when an epoch first gets an array, and those that
    are written into it later are left to the kernel. Raises ValueError for more than 512 hidden
    units, or other than 784 inputs and 10 outputs, RuntimeError on a GPU that cannot run it.
    """

    _checked: tuple | None = None  # the place of the arrays that were looked at

    def __init__(
        self, num_inputs: int, num_hidden: int, num_outputs: int, *, seed: int = 1234
    ) -> None:
        if (num_inputs, num_outputs) != (784, 10) or num_hidden > MAX_HIDDEN:
            raise ValueError(
                f"the kernel is written for 784-H-10 with H up to {MAX_HIDDEN}, "
                f"not {num_inputs}-{num_hidden}-{num_outputs}: take MnistNetMerged"
            )
        require("epoch", num_hidden)
        super().__init__(num_inputs, num_hidden, num_outputs, seed=seed)

    def _options(self) -> dict[str, Any]:
        return {}  # its kernel has one arithmetic

    def epoch(
        self,
        images: xp.ndarray,
        labels: xp.ndarray,
        *,
        learning_rate: float = 0.1,
        batch_size: int = BATCH_SIZE,
    ) -> xp.ndarray:
        """See `MnistNetBase.epoch`; ValueError for a batch size other than 256."""
        wanted = place(images), place(labels), learning_rate, batch_size
        if wanted != self._checked:
            given = images, labels
            images, labels = self._check_epoch(*given, learning_rate, batch_size)
            if images is given[0] and labels is given[1]:
                self._checked = wanted
        if batch_size != BATCH_SIZE:
            raise ValueError(f"the kernel is written for batches of {BATCH_SIZE}, not {batch_size}")
        return kernels.train_epoch(images, labels, self.parameters, learning_rate)
