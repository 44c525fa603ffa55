"""The training loop on several ranks: the losses and weights of one process, from slices."""

import hashlib
from pathlib import Path

from tutorial_lib.backend import Array, to_numpy, xp
from tutorial_lib.dataset import BATCH_SIZE, batches
from tutorial_lib.distributed import checkpoint as checkpoints
from tutorial_lib.distributed.gradients import FlatGradients
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.networks.base import PARAMETERS, MnistNetBase


def train(
    ranks: Ranks,
    model: MnistNetBase,
    data: tuple[Array, Array],
    *,
    epochs: int = 1,
    batch: int = BATCH_SIZE,
    learning_rate: float = 0.1,
    overlap: bool = False,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> list[float]:
    """Train in place, print on rank 0 the loss of each 20th batch, return all losses, on all ranks.

    `data`, images (n, 784) and labels (n,), is the whole data set on every rank. Of each batch rank
    r takes the r-th of `size` equal slices. Rank 0 writes `checkpoint` after each epoch; with
    `resume`, training goes on from it, and `epochs` counts from the first. Raises ValueError.
    """
    if batch % ranks.size:
        raise ValueError(f"{batch} images cannot be split evenly over {ranks.size} ranks")
    images, labels = model.check_epoch(*data, learning_rate, batch)
    sizes = f"{model.num_hidden} units, {len(images)} images in batches of {batch}"
    settings = f"{type(model).__name__}, {sizes}, learning rate {learning_rate}"
    keeps = checkpoint is not None and ranks.rank == 0
    first, losses = 0, []
    if found := ranks.gather(keeps and checkpoints.load(checkpoint, settings, resume=resume))[0]:
        first, losses = int(found["epoch"]), found["losses"].tolist()
        for name in PARAMETERS:
            getattr(model, name)[...] = xp.asarray(found[name])
        if ranks.rank == 0:
            print(f"Resumed after epoch {first}", flush=True)
    gradients, share = FlatGradients(model, ranks), batch // ranks.size
    for epoch in range(first, epochs):
        steps = xp.zeros(len(images) // batch, dtype=xp.float32)  # stays on the device
        for step, whole in enumerate(batches(len(images), batch)):
            ranks.place = f"epoch {epoch + 1}, batch {step}"
            begin = whole.start + ranks.rank * share
            mine = slice(begin, begin + share)
            gradients.compute(images[mine], labels[mine], overlap=overlap)
            steps[step : step + 1] = gradients.loss
            gradients.update(learning_rate)
            if step % 20 == 0 and ranks.rank == 0:
                print(f"Batch {step}  Loss: {float(steps[step]):.4f}", flush=True)
        losses += steps.tolist()
        ranks.place = f"after epoch {epoch + 1}"
        check_equal(ranks, model, ranks.place)
        if keeps:
            checkpoints.save(checkpoint, model, losses, epoch + 1, settings)
    ranks.place = ""  # from here on, ranks may be apart
    return losses


def check_equal(ranks: Ranks, model: MnistNetBase, when: str) -> None:
    """Raises ValueError, on all ranks, if the weights of any two differ in any bit."""
    weights = b"".join(to_numpy(parameter).tobytes() for parameter in model.parameters)
    if len(set(ranks.gather(hashlib.sha256(weights).digest()))) > 1:
        raise ValueError(f"the weights differ between ranks {when}")
