"""The one kernel's NumPy twin as a network, for a GPU that cannot run it. Chapter "One kernel"."""

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.kernels import in_numpy as twins
from tutorial_lib.networks.naive import MnistNetNaive


class MnistNetTwin(MnistNetNaive):
    """Computes on the CPU what `MnistNetMerged` and `MnistNetOneKernel` compute on a GPU."""

    def epoch(
        self,
        images: xp.ndarray,
        labels: xp.ndarray,
        *,
        learning_rate: float = 0.1,
        batch_size: int = BATCH_SIZE,
    ) -> xp.ndarray:
        """See `MnistNetBase.epoch`; ValueError for a batch size other than 256."""
        images, labels = self._check_epoch(images, labels, learning_rate, batch_size)
        if batch_size != BATCH_SIZE:
            raise ValueError(f"the twin is written for batches of {BATCH_SIZE}, not {batch_size}")
        parameters = tuple(to_numpy(parameter) for parameter in self.parameters)
        losses = twins.train_epoch(to_numpy(images), to_numpy(labels), parameters, learning_rate)
        for parameter, trained in zip(self.parameters, parameters):
            parameter[...] = xp.asarray(trained)
        return xp.asarray(losses)
