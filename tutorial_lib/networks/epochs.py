"""How an epoch is launched: as a loop over its steps, or as one CUDA graph of all of them."""

from typing import Any

from tutorial_lib.backend import Array, xp
from tutorial_lib.dataset import batches
from tutorial_lib.graphs import CapturedWork, CaptureError
from tutorial_lib.networks.inputs import place


class Loop:
    """Each step launched from Python."""

    def epoch(self, net: Any, images: Array, labels: Array, learning_rate: float, n: int) -> Array:
        """Train the network on all full batches of n images; returns their losses, (steps,)."""
        images, labels = net.check_epoch(images, labels, learning_rate, n)
        losses = xp.empty(len(images) // n, net.weights_hidden.dtype)
        run_steps(net, images, labels, losses, learning_rate, n)
        return losses


class Graph:
    """All steps recorded at the first epoch, and replayed by one launch from then on.

    The graph reads the very memory of `images` and `labels`: write other images into them, and the
    next epoch trains on those. Other arrays, another learning rate or batch size are recorded anew.
    Labels are looked at when an epoch is recorded. Those written later are left to the kernels.
    """

    graph = losses = recorded = None  # of the last recording, and what it was made for

    def epoch(self, net: Any, images: Array, labels: Array, learning_rate: float, n: int) -> Array:
        """As `Loop.epoch`. The losses are the graph's own memory: the next epoch overwrites them.

        Raises ValueError for images or labels that are not dense in memory, CaptureError for a
        step that cannot be captured.
        """
        wanted = place(images), place(labels), learning_rate, n
        if wanted != self.recorded:
            self.graph, self.losses = self.record(net, images, labels, learning_rate, n)
            self.recorded = wanted
        self.graph.replay()
        return self.losses

    def record(
        self, net: Any, images: Array, labels: Array, learning_rate: float, n: int
    ) -> tuple[CapturedWork, Array]:
        """Capture an epoch, and leave the weights as they were; the graph and its losses."""
        checked = net.check_epoch(images, labels, learning_rate, n)
        for name, given, dense in zip(("images", "labels"), (images, labels), checked):
            if given is not dense:
                need = "row-major, without gaps, from a multiple of 16 bytes on"
                where = f"a captured epoch reads the {name} where they are, and needs them {need}"
                raise ValueError(f"{where}: pass {name}.copy()")
        before = [parameter.copy() for parameter in net.parameters]
        losses = xp.empty(len(images) // n, net.weights_hidden.dtype)
        try:
            return CapturedWork(
                lambda: run_steps(net, images, labels, losses, learning_rate, n)
            ), losses
        except CaptureError:
            # nvmath waits for its last call when freed: that must not be one of a failed capture.
            net.step(images[:n], labels[:n], losses[:1], learning_rate)
            raise
        finally:
            for parameter, value in zip(net.parameters, before):
                parameter[...] = value  # what the rehearsal changed
            net.saved = None  # memory of the graph


def run_steps(
    net: Any, images: Array, labels: Array, losses: Array, learning_rate: float, n: int
) -> None:
    """One step for each full batch of n images; writes their losses, (steps,)."""
    for i, batch in enumerate(batches(len(images), n)):
        net.step(images[batch], labels[batch], losses[i : i + 1], learning_rate)
