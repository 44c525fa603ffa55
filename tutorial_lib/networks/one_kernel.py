"""An epoch in one kernel. See chapter 11."""

from typing import Any

from tutorial_lib import kernels
from tutorial_lib.backend import Array, to_numpy, xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.kernels import in_numpy
from tutorial_lib.kernels.launches import MULTIPROCESSORS
from tutorial_lib.kernels.needs import require
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.inputs import place
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.networks.plans import PRECISIONS

MAX_HIDDEN = 64 * MULTIPROCESSORS  # beyond, the weights do not fit on the chip


class OneKernel:
    """How `MnistNetOneKernel` launches an epoch: one kernel; labels are checked as in `Graph`."""

    train_epoch = staticmethod(kernels.train_epoch)
    checked: tuple | None = None  # where the arrays lie that were looked at

    def epoch(self, net: Any, images: Array, labels: Array, learning_rate: float, n: int) -> Array:
        """See `Loop.epoch`; ValueError for a batch size other than 256."""
        wanted = place(images), place(labels), learning_rate, n
        if wanted != self.checked:
            images, labels = net.check_epoch(images, labels, learning_rate, n)
            if n != BATCH_SIZE:
                raise ValueError(f"the kernel is written for batches of {BATCH_SIZE}, not {n}")
            dense = wanted[:2] == (place(images), place(labels))
            self.checked = wanted if dense else None  # a copy is another array each time
        precision = PRECISIONS[net.plans.compute_type]
        return self.train_epoch(images, labels, net.parameters, learning_rate, precision=precision)


class MnistNetOneKernel(MnistNet):
    """The network whose weights stay on the chip for a whole epoch, one launch of a kernel."""

    default_launch = OneKernel

    def __init__(self, *sizes: int, compute_type: int | None = None, **choices: Any) -> None:
        """See `MnistNetBase`; ValueError for a compute type other than float32's and TF32."""
        if compute_type not in PRECISIONS:
            raise ValueError(f"the kernel computes in float32 or TF32, not {compute_type!r}")
        super().__init__(*sizes, compute_type=compute_type, **choices)

    def check_sizes(self) -> None:
        """Raises ValueError but for 784-H-10, H up to `MAX_HIDDEN`; RuntimeError for the GPU."""
        super().check_sizes()
        if (self.num_inputs, self.num_outputs) != (784, 10) or self.num_hidden > MAX_HIDDEN:
            got = f"{self.num_inputs}-{self.num_hidden}-{self.num_outputs}: take MnistNetCaptured"
            limit = f"784-H-10 with H up to {MAX_HIDDEN:,}"
            raise ValueError(f"the kernel is written for {limit}, not {got}")
        require(self.num_hidden)


class Twin(OneKernel):
    """How `MnistNetTwin` launches an epoch: as the kernel's NumPy twin, on the CPU."""

    @staticmethod
    def train_epoch(
        images: Array, labels: Array, parameters: tuple, learning_rate: float, precision: str
    ) -> Array:
        """As `kernels.train_epoch`, in float32 whatever the precision."""
        trained = tuple(to_numpy(parameter) for parameter in parameters)
        losses = in_numpy.train_epoch(to_numpy(images), to_numpy(labels), trained, learning_rate)
        for parameter, value in zip(parameters, trained):
            parameter[...] = xp.asarray(value)
        return xp.asarray(losses)


class MnistNetTwin(MnistNetNaive):
    """Computes on the CPU what `MnistNetOneKernel` computes on a GPU."""

    default_launch = Twin
