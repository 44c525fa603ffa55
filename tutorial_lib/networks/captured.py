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

    def epoch(
        self,
        images: xp.ndarray,
        labels: xp.ndarray,
        *,
        learning_rate: float = 0.1,
        batch_size: int = BATCH_SIZE,
    ) -> xp.ndarray:
        """See `MnistNetInPlace.epoch`. The losses are the graph's own memory: the next epoch
        overwrites them."""
        wanted = images, labels, learning_rate, batch_size
        if not self._is_captured(wanted):
            self._capture(*wanted)
        self._graph.replay()
        return self._losses

    def _is_captured(self, wanted: tuple) -> bool:
        held = getattr(self, "_captured", None)
        return held is not None and all(
            new is old if isinstance(old, xp.ndarray) else new == old
            for new, old in zip(wanted, held)
        )

    def _capture(
        self, images: xp.ndarray, labels: xp.ndarray, learning_rate: float, batch_size: int
    ) -> None:
        rows = self._check_images(images)
        self._check_labels(labels, len(images), batch_size)
        self._losses = xp.empty(len(images) // batch_size, xp.float32)
        before = [parameter.copy() for parameter in self.parameters]
        self._graph = CapturedWork(
            lambda: self._steps(rows, labels, self._losses, learning_rate, batch_size)
        )
        for parameter, value in zip(self.parameters, before):
            parameter[...] = value  # what the rehearsal changed
        self._captured = images, labels, learning_rate, batch_size

    def free(self) -> None:
        """Free the graph, then the plans whose workspaces it uses."""
        self._graph = self._captured = self._losses = None
        super().free()
