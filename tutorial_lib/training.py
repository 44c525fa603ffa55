"""Training and testing a network on MNIST, in file order."""

from tutorial_lib.dataset import get_loader, normalized
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.inputs import check_learning_rate


def train(model: MnistNetBase, *, epochs: int = 1, learning_rate: float = 0.1) -> list[float]:
    """Train in place, print the loss of each 20th batch, return the losses of all batches.

    Each epoch is the model's own: a loop over steps, one graph, or one kernel. Raises ValueError
    for fewer than one epoch or a learning rate that is not a finite number above 0.
    """
    if epochs < 1:
        raise ValueError(f"train needs at least one epoch, got {epochs}")
    check_learning_rate(learning_rate)
    images, labels = normalized(True)
    losses: list[float] = []
    for _ in range(epochs):
        latest = model.epoch(images, labels, learning_rate=learning_rate).tolist()
        for batch in range(0, len(latest), 20):
            print(f"Batch {batch}  Loss: {latest[batch]:.4f}")
        losses += latest
    return losses


def test(model: MnistNetBase) -> float:
    """The share of test images, in full batches, whose label gets the largest probability."""
    correct = total = 0
    for images, labels in get_loader(train=False):
        correct += int((model.forward(images).argmax(axis=1) == labels).sum())
        total += len(labels)
    return correct / total
