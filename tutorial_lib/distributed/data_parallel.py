"""The batch cut over the ranks: each has a share of the images, and gradients travel."""

from typing import Any

from tutorial_lib.backend import Array, MatmulEpilog, xp
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.graphs import Branch
from tutorial_lib.networks.base import PARAMETERS, MnistNetBase
from tutorial_lib.networks.inplace import MnistNetInPlace, back_to_hidden


class DataParallel(MnistNetBase):
    """The whole network on every rank, and of each batch the rank's share. Comes before the class
    of a network: ``class Net(DataParallel, MnistNet): ...``, then ``Net(ranks, 784, 30, 10)``."""

    def __init__(self, ranks: Ranks, *sizes: int, **options: Any) -> None:
        self.ranks, self.units = ranks, sizes[1]
        super().__init__(*sizes, **options)

    def backward(self, grad: Array) -> tuple[Array, ...]:
        """The network's own gradients, of this rank's images, become their mean over all ranks."""
        gradients = super().backward(grad)
        self.ranks.sum(*gradients, mean=True)
        return gradients

    def share(self, images: Array, labels: Array, batch: int) -> tuple[Array, Array, int]:
        """Of each full batch the r-th of `size` equal slices, for rank r, and how many that are.

        Raises ValueError for a batch that cannot be split evenly.
        """
        rank, size = self.ranks.rank, self.ranks.size
        if batch % size:
            raise ValueError(f"{batch} images cannot be split evenly over {size} ranks")
        n = len(images) // batch * batch

        def mine(x: Array) -> Array:
            parts = x[:n].reshape(-1, size, batch // size, *x.shape[1:])[:, rank]
            return xp.ascontiguousarray(parts).reshape(-1, *x.shape[1:])

        return mine(images), mine(labels), batch // size

    def gather(self) -> dict[str, Array]:
        """The parameters of the whole network, by name: this rank's own."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def scatter(self, whole: dict[str, Any]) -> None:
        """Take over the parameters of a whole network."""
        for name in PARAMETERS:
            getattr(self, name)[...] = xp.asarray(whole[name])

    @property
    def replicated(self) -> tuple[Array, ...]:
        """The parameters that every rank has, and that must be equal on all."""
        return self.parameters


class InPlaceDataParallel(DataParallel, MnistNetInPlace):
    """The matmuls and the kernel of `MnistNetInPlace`. What they change in a weight has to travel
    before it is added, so the update is a kernel of its own again."""

    overlap = False  # whether changes travel on a branch while the next are computed
    pieces = 1  # of W_h, computed one after the other

    def step(self, x: Array, labels: Array, loss: Array, learning_rate: float) -> None:
        """See `MnistNetBase.step`; the arrays are those of an epoch, and not checked again."""
        down, size = {"alpha": -learning_rate}, self.num_hidden
        hidden, grad, grad_hidden, grad_bias_hidden = back_to_hidden(self, x, labels, loss)
        plan = {"epilog": MatmulEpilog.BGRADB, **down}
        change, extra = self.plans.run("grad_output", hidden, grad, **plan)
        small = [(self.weights_output.T, change)]
        small += [(self.bias_output, -learning_rate * extra["bgradb"])]
        small += [(self.bias_hidden, -learning_rate * grad_bias_hidden)]
        changes = [small]  # kept to the end, so that no memory is reused before it has traveled
        for i in range(self.pieces):
            if self.overlap:
                with Branch() as travels:
                    self.add(*changes[-1])
            rows = slice(size * i // self.pieces, size * (i + 1) // self.pieces)
            change = self.plans.run(f"grad_hidden{i}", grad_hidden[rows], x, **down)
            changes.append([(self.weights_hidden[rows], change)])
        if self.overlap:
            travels.join()
            self.add(*changes[-1])
        else:
            self.add(*(one for part in changes for one in part))

    def add(self, *changes: tuple[Array, Array]) -> None:
        """Add to each parameter the mean over the ranks of its change."""
        self.ranks.sum(*(change for _, change in changes), mean=True)
        for parameter, change in changes:
            parameter += change


class OverlappedDataParallel(InPlaceDataParallel):
    """The output layer's changes, and the biases', travel while W_h's are computed."""

    overlap = True
