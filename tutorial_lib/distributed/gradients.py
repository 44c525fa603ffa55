"""The gradients and the loss of a step in one flat buffer, summed over the ranks in one call."""

import itertools

from tutorial_lib.backend import Array, xp
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.functions import binary_cross_entropy, one_hot
from tutorial_lib.networks.base import MnistNetBase


class FlatGradients:
    """One float32 array, allocated once: the four gradients in the parameters' order, the loss.

    `views` are the gradients, shaped like the parameters, and `loss` (1,): all parts of `flat`.
    CuPy or NumPy writes them, torch sums them where they lie: it got the address by DLPack.
    """

    def __init__(self, model: MnistNetBase, ranks: Ranks) -> None:
        import torch

        self.model, self.ranks = model, ranks
        ends = list(itertools.accumulate(parameter.size for parameter in model.parameters))
        self.flat = xp.zeros(ends[-1] + 1, dtype=xp.float32)
        *parts, self.loss = xp.split(self.flat, ends)  # views of flat
        self.views = [x.reshape(p.shape) for x, p in zip(parts, model.parameters)]
        tensor = torch.from_dlpack(self.flat)
        self.whole, self.hidden, self.output = tensor, tensor[: ends[1]], tensor[ends[1] :]
        ranks.begin_sum(tensor).wait()  # of zeros: at the first, NCCL connects the ranks

    def compute(self, images: Array, labels: Array, *, overlap: bool = False) -> None:
        """Fill the buffer with the global batch's gradients and loss; each rank gives its slice.

        images (n, 784) and labels (n,) are this rank's, with the same n on all. With `overlap` the
        output layer's gradients travel while the hidden layer's are computed, in two sums.
        """
        model, ranks = self.model, self.ranks
        predictions = model.forward(images)
        targets = one_hot(labels, model.num_outputs)
        self.loss[...] = binary_cross_entropy(predictions, targets) / ranks.size
        grad = xp.ascontiguousarray((predictions - targets) / (len(labels) * ranks.size))
        self.views[2][...], self.views[3][...] = model.backward_output(grad)
        sums = [ranks.begin_sum(self.output)] if overlap else []
        self.views[0][...], self.views[1][...] = model.backward_hidden(grad)
        sums.append(ranks.begin_sum(self.hidden if overlap else self.whole))
        for pending in sums:
            pending.wait()

    def update(self, learning_rate: float) -> None:
        """Subtract the gradients from the parameters, in place: plans hold these very arrays."""
        for parameter, gradient in zip(self.model.parameters, self.views):
            parameter -= learning_rate * gradient
