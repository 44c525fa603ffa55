"""The training loop and the test, as published: gradient descent in file order."""

from tutorial_lib.backend import xp
from tutorial_lib.dataset import BATCH_SIZE, get_loader
from tutorial_lib.functions import binary_cross_entropy, one_hot
from tutorial_lib.networks.base import MnistNetBase


def train(model: MnistNetBase, *, epochs: int = 1, learning_rate: float = 0.1) -> list[float]:
    """Train in place, print the loss of each 20th batch, return the losses of all batches.

    Raises ValueError for fewer than one epoch or a learning rate that is not above 0.
    """
    if epochs < 1 or not learning_rate > 0:
        raise ValueError(
            "train needs epochs of at least 1 and a learning rate above 0, "
            f"got {epochs} and {learning_rate}"
        )
    losses = []
    for _ in range(epochs):
        for batch, (images, labels) in enumerate(get_loader(train=True)):
            predictions = model.forward(images)
            targets = one_hot(labels, model.num_outputs)
            losses.append(binary_cross_entropy(predictions, targets))
            if batch % 20 == 0:
                print(f"Batch {batch}  Loss: {float(losses[-1]):.4f}")
            gradients = model.backward((predictions - targets) / len(labels))
            for parameter, gradient in zip(model.parameters, gradients):
                parameter -= learning_rate * gradient  # in place: see networks/base.py
    return xp.stack(losses).tolist()


def test(model: MnistNetBase) -> float:
    """The share of test images, in full batches, whose label gets the largest probability."""
    correct = total = 0
    for images, labels in get_loader(train=False):
        correct += int((model.forward(images).argmax(axis=1) == labels).sum())
        total += len(labels)
    return correct / total


test.__test__ = False  # a function of the book, not one that pytest should collect


def train_epoch(
    model: MnistNetBase, images: xp.ndarray, labels: xp.ndarray, *, learning_rate: float = 0.1
) -> xp.ndarray:
    """The same epoch over images (N, 784) and labels (N,) on the device, nothing printed.

    Returns the losses, (steps,), on the device. The faster networks have an ``epoch`` of their own.
    """
    starts = range(0, len(images) - BATCH_SIZE + 1, BATCH_SIZE)
    batches = [slice(i, i + BATCH_SIZE) for i in starts]
    return xp.stack([step(model, images[b], labels[b], learning_rate) for b in batches])


def step(
    model: MnistNetBase, images: xp.ndarray, labels: xp.ndarray, learning_rate: float
) -> xp.ndarray:
    """The published step, in place: forward, loss, backward, update. Returns the loss."""
    predictions = model.forward(images)
    targets = one_hot(labels, model.num_outputs)
    loss = binary_cross_entropy(predictions, targets)
    gradients = model.backward((predictions - targets) / len(labels))
    for parameter, gradient in zip(model.parameters, gradients):
        parameter -= learning_rate * gradient
    return loss
