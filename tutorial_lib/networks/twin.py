"""The one kernel's NumPy twin as a network, for a GPU that cannot run it. Chapter "One kernel"."""

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.reference import kernels as twins


class MnistNetTwin(MnistNetNaive):
    """Computes on the CPU what `MnistNetMerged` and `MnistNetOneKernel` compute on a GPU."""

    def epoch(
        self, images: xp.ndarray, labels: xp.ndarray, *, learning_rate: float = 0.1
    ) -> xp.ndarray:
        """Train on all full batches of 256 images, in place; images (N, 784), labels (N,).

        Returns the losses, (steps,). Raises TypeError or ValueError for images that do not fit.
        """
        images = to_numpy(self._check_images(images))
        parameters = tuple(to_numpy(parameter) for parameter in self.parameters)
        losses = twins.train_epoch(images, to_numpy(labels), parameters, learning_rate)
        for parameter, trained in zip(self.parameters, parameters):
            parameter[...] = xp.asarray(trained)
        return xp.asarray(losses)
