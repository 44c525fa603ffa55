"""The training loop on several ranks: the losses and weights of one process, from slices."""

import hashlib
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.distributed import checkpoint as checkpoints
from tutorial_lib.distributed.gradients import FlatGradients
from tutorial_lib.distributed.networks import StagedNet
from tutorial_lib.distributed.ranks import Ranks
from tutorial_lib.distributed.rendezvous import Refused
from tutorial_lib.networks.base import PARAMETERS


def train(
    ranks: Ranks,
    model: StagedNet,
    images: xp.ndarray,
    labels: xp.ndarray,
    *,
    epochs: int = 1,
    batch: int = BATCH_SIZE,
    learning_rate: float = 0.1,
    overlap: bool = False,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> list[float]:
    """Train in place, print on rank 0 the loss of each 20th batch, return all losses, on all ranks.

    images (n, 784) and labels (n,) are the whole data set on every rank, in file order. Of each
    global batch rank r takes the r-th of `size` equal slices. With `checkpoint`, rank 0 writes the
    file after each epoch; with `resume`, training goes on after the epoch that is in it, and
    `epochs` counts from the first. Raises Refused for settings, labels or a checkpoint that cannot
    work, and if the weights differ between ranks after an epoch; RankLost if another rank dies or
    hangs.
    """
    _check(ranks, len(images), epochs, batch, learning_rate)
    _check_labels(labels, len(images), model.num_outputs)
    run = {
        "net": type(model).__name__,
        "hidden": model.num_hidden,
        "batch": batch,
        "learning_rate": learning_rate,
        "images": len(images),
    }
    first, losses = _start(ranks, model, checkpoint, resume, run)
    if resume and ranks.rank == 0:
        print(f"Resumed after epoch {first}", flush=True)
    share = batch // ranks.size
    gradients = FlatGradients(model, ranks)
    ranks.wait_for_all()  # from here on, --timeout counts
    for epoch in range(first, epochs):
        steps = xp.zeros(len(images) // batch, dtype=xp.float32)  # stays on the device
        for step in range(len(steps)):
            begin = step * batch + ranks.rank * share
            mine = slice(begin, begin + share)
            ranks.place = f"epoch {epoch + 1}, batch {step}"
            gradients.compute(model, images[mine], labels[mine], overlap=overlap)
            steps[step : step + 1] = gradients.loss
            for parameter, gradient in zip(model.parameters, gradients.views):
                parameter -= learning_rate * gradient  # in place: see networks/base.py
            if step % 20 == 0 and ranks.rank == 0:
                print(f"Batch {step}  Loss: {float(steps[step]):.4f}", flush=True)
        losses += steps.tolist()
        ranks.place = f"after epoch {epoch + 1}"
        check_equal(ranks, model, ranks.place)
        if checkpoint:
            save = partial(checkpoints.save, checkpoint, model, losses, epoch + 1, run)
            ranks.agree(save, ranks.timeout)
    return losses


def check_equal(ranks: Ranks, model: StagedNet, when: str) -> None:
    """Raises Refused, on all ranks, if the weights of any two differ in any bit."""
    import torch

    digest = hashlib.sha256()
    for parameter in model.parameters:
        digest.update(to_numpy(parameter).tobytes())
    table = xp.zeros((ranks.size, 32), dtype=xp.int32)  # each fills its row: the sum is the table
    table[ranks.rank] = xp.asarray(np.frombuffer(digest.digest(), dtype=np.uint8))
    ranks.sum(torch.from_dlpack(table))
    rows = to_numpy(table)
    different = [rank for rank, row in enumerate(rows) if (row != rows[0]).any()]
    if different:
        raise Refused(
            f"the weights differ between ranks {when}: rank {different[0]} and rank 0 drifted "
            "apart. Update with what came out of the all-reduce only, and with nothing of one rank"
        )


def _check(ranks: Ranks, images: int, epochs: int, batch: int, learning_rate: float) -> None:
    if epochs < 1 or batch < 1 or not 0 < learning_rate < math.inf:
        raise Refused(
            "training needs epochs and a batch of at least 1 and a finite learning rate above 0, "
            f"got {epochs}, {batch} and {learning_rate:g}"
        )
    if batch % ranks.size:
        raise Refused(
            f"a batch of {batch} images cannot be split evenly over {ranks.size} ranks: "
            f"take a number of ranks that divides {batch}, or another --batch"
        )
    if batch > images:
        raise Refused(f"a batch of {batch} needs as many images, the data set has {images}")


def _check_labels(labels: xp.ndarray, images: int, classes: int) -> None:
    """Once, at the start: `one_hot` looks at no value, so that a step does not wait for the GPU."""
    got = f"{getattr(labels, 'dtype', type(labels).__name__)} {getattr(labels, 'shape', '')}"
    if (
        not isinstance(labels, xp.ndarray)
        or labels.dtype.kind not in "iu"
        or labels.shape != (images,)
    ):
        raise Refused(f"labels must be one integer per image, ({images},), they are {got}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise Refused(f"labels must lie in 0 … {classes - 1}, they run from {low} to {high}")


def _start(
    ranks: Ranks, model: StagedNet, path: Path | None, resume: bool, run: checkpoints.Settings
) -> tuple[int, list[float]]:
    """The number of finished epochs and their losses, with the model as they left it."""

    def look() -> dict[str, Any]:
        if resume and not path:
            raise Refused("--resume needs --checkpoint: the file to resume from")
        if path:
            checkpoints.check_place(path)
        if path and not resume and path.exists():
            raise Refused(f"{path} is there already: --resume goes on from it, or delete it first")
        if not resume:
            return {"epoch": 0, "losses": []}
        arrays = checkpoints.load(path, model, run)
        for parameter, name in zip(model.parameters, PARAMETERS):
            parameter[...] = xp.asarray(arrays[name])
        return {"epoch": int(arrays["epoch"]), "losses": arrays["losses"].tolist()}

    found = ranks.agree(look)
    if resume:
        import torch

        for parameter in model.parameters:
            ranks.broadcast(torch.from_dlpack(parameter))
    return found["epoch"], found["losses"]
