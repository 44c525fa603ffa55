"""The whole epoch as one CUDA graph. Chapter "Getting out of the way"."""

from tutorial_lib.backend import xp
from tutorial_lib.capture import CapturedWork
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.networks.inplace import MnistNetInPlace


class MnistNetCaptured(MnistNetInPlace):
    """`MnistNetInPlace`, an epoch recorded at the first call and replayed by one launch after.

    The graph reads the very memory of `images` and `labels`: write other images into them, and the
    next epoch trains on those. Other arrays, another learning rate or batch size are recorded anew.
    """

    _captured: tuple | None = None  # what the graph was captured for

    def epoch(
        self,
        images: xp.ndarray,
        labels: xp.ndarray,
        *,
        learning_rate: float = 0.1,
        batch_size: int = BATCH_SIZE,
    ) -> xp.ndarray:
        """See `MnistNetUnchecked.epoch`. The losses are the graph's own memory: the next epoch
        overwrites them."""
        wanted = _place(images), _place(labels), learning_rate, batch_size
        if wanted != self._captured:
            self._capture(images, labels, learning_rate, batch_size)
            self._captured = wanted
        self._graph.replay()
        return self._losses

    def _capture(
        self, images: xp.ndarray, labels: xp.ndarray, learning_rate: float, batch_size: int
    ) -> None:
        if self._check_images(images) is not images:
            raise ValueError(
                "a captured epoch reads the images where they are: make them row-major"
            )
        self._check_labels(labels, len(images), batch_size)
        self._losses = xp.empty(len(images) // batch_size, xp.float32)
        before = [parameter.copy() for parameter in self.parameters]
        self._graph = CapturedWork(
            lambda: self._steps(images, labels, self._losses, learning_rate, batch_size)
        )
        for parameter, value in zip(self.parameters, before):
            parameter[...] = value  # what the rehearsal changed

    def free(self) -> None:
        """Free the graph, then the plans whose workspaces it uses."""
        self._graph = self._captured = self._losses = None
        super().free()


def _place(array: xp.ndarray) -> tuple:
    """Where an array lies: what a graph remembers of it."""
    if not isinstance(array, xp.ndarray):
        return ()
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"], array.shape, array.strides, array.dtype
