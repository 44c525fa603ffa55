"""A whole epoch in one kernel launch, and its NumPy twin. Chapter "One kernel"."""

from tutorial_lib import kernels
from tutorial_lib.backend import Array, to_numpy, xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.kernels import in_numpy
from tutorial_lib.kernels.needs import require
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.inputs import check_epoch, place
from tutorial_lib.networks.naive import MnistNetNaive

MAX_HIDDEN = 512  # beyond, the weights and a batch do not fit on the chip at once


class OneKernel:
    """How `MnistNetOneKernel` launches an epoch: all its steps are one kernel.

    As in `Graph`, labels are looked at when an epoch first gets an array, and those that are
    written into it later are left to the kernel.
    """

    def __init__(self) -> None:
        self.free()

    def epoch(
        self, net: MnistNetBase, images: Array, labels: Array, learning_rate: float, n: int
    ) -> Array:
        """See `Loop.epoch`; ValueError for a batch size other than 256."""
        given = images, labels
        wanted = place(images), place(labels), learning_rate, n
        if wanted != self.checked:
            images, labels = check_epoch(net, *given, learning_rate, n)
            check_batch_size(n)
            dense = images is given[0] and labels is given[1]
            self.checked = wanted if dense else None  # a copy is another array each time
        return kernels.train_epoch(images, labels, net.parameters, learning_rate)

    def free(self) -> None:
        """Forget which arrays were looked at."""
        self.checked: tuple | None = None


class MnistNetOneKernel(MnistNet):
    """The network for narrow hidden layers: its weights stay on the chip for a whole epoch.

    Raises ValueError for more than 512 hidden units, or other than 784 inputs and 10 outputs,
    RuntimeError on a GPU that cannot run the kernel.
    """

    default_launch = OneKernel

    def check_sizes(self) -> None:
        """Raises ValueError for sizes that the kernel cannot have, RuntimeError for the GPU."""
        super().check_sizes()
        if (self.num_inputs, self.num_outputs) != (784, 10) or self.num_hidden > MAX_HIDDEN:
            raise ValueError(
                f"the kernel is written for 784-H-10 with H up to {MAX_HIDDEN}, "
                f"not {self.num_inputs}-{self.num_hidden}-{self.num_outputs}: take MnistNetMerged"
            )
        require("epoch", self.num_hidden)


class Twin:
    """How `MnistNetTwin` launches an epoch: as the kernels' NumPy twin, on the CPU."""

    def epoch(
        self, net: MnistNetBase, images: Array, labels: Array, learning_rate: float, n: int
    ) -> Array:
        """See `Loop.epoch`; ValueError for a batch size other than 256."""
        images, labels = check_epoch(net, images, labels, learning_rate, n)
        check_batch_size(n)
        parameters = tuple(to_numpy(parameter) for parameter in net.parameters)
        arrays = to_numpy(images), to_numpy(labels), parameters
        losses = in_numpy.train_epoch(*arrays, learning_rate)
        for parameter, trained in zip(net.parameters, parameters):
            parameter[...] = xp.asarray(trained)
        return xp.asarray(losses)

    def free(self) -> None:
        """It holds nothing."""


class MnistNetTwin(MnistNetNaive):
    """Computes on the CPU what `MnistNetMerged` and `MnistNetOneKernel` compute on a GPU."""

    default_launch = Twin


def check_batch_size(n: int) -> None:
    """Raises ValueError for a batch size other than 256."""
    if n != BATCH_SIZE:
        raise ValueError(f"the kernel is written for batches of {BATCH_SIZE}, not {n}")
