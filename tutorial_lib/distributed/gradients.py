"""The gradients and the loss of a step in one flat buffer, summed over the ranks in one call."""

from tutorial_lib.backend import xp
from tutorial_lib.distributed.networks import StagedNet
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.functions import binary_cross_entropy, one_hot


class FlatGradients:
    """One float32 array, allocated once: the four gradients in the parameters' order, the loss.

    `views` are the gradients, shaped like the parameters, and `loss` (1,): all parts of `flat`.
    CuPy or NumPy writes them, torch sums them where they lie: it got the address by DLPack.
    """

    def __init__(self, model: StagedNet, ranks: Ranks) -> None:
        import torch

        self.ranks = ranks
        sizes = [parameter.size for parameter in model.parameters]
        self.flat = xp.zeros(sum(sizes) + 1, dtype=xp.float32)
        self.views, start = [], 0
        for parameter, size in zip(model.parameters, sizes):
            self.views.append(self.flat[start : start + size].reshape(parameter.shape))
            start += size
        self.loss = self.flat[-1:]
        self._tensor = torch.from_dlpack(self.flat)
        self._hidden_size = sizes[0] + sizes[1]

    def compute(
        self, model: StagedNet, images: xp.ndarray, labels: xp.ndarray, *, overlap: bool = False
    ) -> None:
        """Fill the buffer with the global batch's gradients and loss; each rank gives its slice.

        images (n, 784) and labels (n,) are this rank's; every rank must give as many. With
        `overlap` the output layer's gradients travel while the hidden layer's are computed, at the
        price of a second all-reduce. Raises RankLost.
        """
        self.compute_output(model, images, labels)
        if overlap:
            travelling = self.ranks.sum(self._tensor[self._hidden_size :], wait=False)
        self.compute_hidden(model)
        if overlap:
            self.ranks.sum(self._tensor[: self._hidden_size])
            self.ranks.finish(travelling)
        else:
            self.ranks.sum(self._tensor)

    def compute_output(self, model: StagedNet, images: xp.ndarray, labels: xp.ndarray) -> None:
        """Forward, this rank's share of the loss, and the output layer's gradients."""
        predictions = model.forward(images)
        targets = one_hot(labels, model.num_outputs)
        self.loss[...] = binary_cross_entropy(predictions, targets) / self.ranks.size
        self._grad = (predictions - targets) / (len(labels) * self.ranks.size)
        self._put(2, model.backward_output(self._grad))

    def compute_hidden(self, model: StagedNet) -> None:
        """This rank's share of the hidden layer's gradients."""
        self._put(0, model.backward_hidden(self._grad))

    def _put(self, first: int, gradients: tuple[xp.ndarray, ...]) -> None:
        for view, gradient in zip(self.views[first:], gradients):
            view[...] = gradient
