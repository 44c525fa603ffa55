"""The whole epoch as one CUDA graph. Chapter "Getting out of the way"."""

from tutorial_lib.backend import xp
from tutorial_lib.capture import CapturedWork
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.networks.base import address
from tutorial_lib.networks.inplace import MnistNetInPlace


class MnistNetCaptured(MnistNetInPlace):
    """`MnistNetInPlace`, an epoch recorded at the first call and replayed by one launch after.

    The graph reads the very memory of `images` and `labels`: write other images into them, and the
    next epoch trains on those. Other arrays, another learning rate or batch size are recorded anew.
    Labels are looked at when an epoch is recorded. Those written later are left to the kernels: an
    image whose label is not 0 to 9 is left out, and the loss of its batch is NaN.
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
        """See `MnistNetBase.epoch`. The losses are the graph's own memory: the next epoch
        overwrites them. Raises ValueError for images or labels that are not dense in memory."""
        wanted = place(images), place(labels), learning_rate, batch_size
        if wanted != self._captured:
            self._capture(images, labels, learning_rate, batch_size)
            self._captured = wanted
        self._graph.replay()
        return self._losses

    def _capture(
        self, images: xp.ndarray, labels: xp.ndarray, learning_rate: float, batch_size: int
    ) -> None:
        checked = self._check_epoch(images, labels, learning_rate, batch_size)
        for name, given, dense in zip(("images", "labels"), (images, labels), checked):
            if given is not dense:
                raise ValueError(
                    f"a captured epoch reads the {name} where they are, and needs them row-major, "
                    f"without gaps, from a multiple of 16 bytes on: pass {name}.copy()"
                )
        losses = xp.empty(len(images) // batch_size, xp.float32)
        before = [parameter.copy() for parameter in self.parameters]
        try:
            graph = CapturedWork(
                lambda: self._steps(images, labels, losses, learning_rate, batch_size)
            )
        finally:
            for parameter, value in zip(self.parameters, before):
                parameter[...] = value  # what the rehearsal changed
            self._saved = None  # memory of the graph
        self._graph, self._losses = graph, losses

    def free(self) -> None:
        """Free the graph, then the plans whose workspaces it uses."""
        self._graph = self._captured = self._losses = None
        super().free()


def place(array: xp.ndarray) -> tuple:
    """Where an array lies: what a graph remembers of it."""
    if not isinstance(array, xp.ndarray):
        return ()
    return address(array), array.shape, array.strides, array.dtype
