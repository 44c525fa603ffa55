"""The training loop on several ranks: the losses and weights of one process."""

import hashlib
from pathlib import Path
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import Array, to_numpy
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.distributed import checkpoint as checkpoints
from tutorial_lib.distributed.data_parallel import (
    DataParallel,
    InPlaceDataParallel,
    OverlappedDataParallel,
)
from tutorial_lib.distributed.tensor_parallel import TensorParallel
from tutorial_lib.networks import Graph, MnistNet, MnistNetInPlace
from tutorial_lib.networks.base import MnistNetBase

# How a network can be cut, and for which classes each way is made.
PARALLEL = {
    "data": {MnistNetInPlace: InPlaceDataParallel, MnistNetBase: DataParallel},
    "overlap": {MnistNetInPlace: OverlappedDataParallel},
    "tensor": {MnistNet: TensorParallel},
}


def on_ranks(parallel: str, network: type[MnistNetBase], *arguments: Any, **options: Any) -> Any:
    """`network`, cut over ranks as `PARALLEL` has it by name, made of the other arguments.

    Raises ValueError for a network that cannot be cut so.
    """
    for made_for, kind in PARALLEL[parallel].items():
        if issubclass(network, made_for):
            bases = (kind,) if issubclass(kind, network) else (kind, network)
            return type(network.__name__, bases, {})(*arguments, **options)
    names = " or ".join(made_for.__name__ for made_for in PARALLEL[parallel])
    raise ValueError(f"{parallel} is for {names}, which {network.__name__} is not")


def train(
    model: DataParallel | TensorParallel,
    data: tuple[Array, Array],
    *,
    epochs: int = 1,
    batch: int = BATCH_SIZE,
    learning_rate: float = 0.1,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> list[float]:
    """Train in place, print on rank 0 the loss of each 20th batch, return all losses, on all ranks.

    `data`, images (n, 784) and labels (n,), is the whole data set on every rank, and `batch` the
    images of a step over all ranks. Rank 0 writes `checkpoint` after each epoch; with `resume`,
    training goes on from it, and `epochs` counts from the first. Raises ValueError.
    """
    ranks = model.ranks
    if backend.name == "gpu" and ranks.engine == "gloo" and isinstance(model.launch, Graph):
        raise ValueError("a CUDA graph cannot hold gloo's sums: it needs NCCL, a GPU for each rank")
    images, labels = model.check_epoch(*data, learning_rate, batch)
    sizes = f"{model.units} units, {len(images)} images in batches of {batch}"
    settings = f"{type(model).__name__}, {sizes}, learning rate {learning_rate}"
    images, labels, share = model.share(images, labels, batch)
    keeps = checkpoint is not None and ranks.rank == 0
    first, losses = 0, []
    if found := ranks.gather(keeps and checkpoints.load(checkpoint, settings, resume=resume))[0]:
        first, losses = int(found["epoch"]), found["losses"].tolist()
        model.scatter(found)
        if ranks.rank == 0:
            print(f"Resumed after epoch {first}", flush=True)
    for epoch in range(first, epochs):
        ranks.place = f"epoch {epoch + 1}"
        latest = model.epoch(images, labels, learning_rate=learning_rate, batch_size=share)
        ranks.sum(latest, mean=True)  # of each batch: the loss of all its images
        latest = to_numpy(latest).tolist()
        for step in range(0, len(latest) if ranks.rank == 0 else 0, 20):
            print(f"Batch {step}  Loss: {latest[step]:.4f}", flush=True)
        losses += latest
        ranks.place = f"after epoch {epoch + 1}"
        check_equal(model, ranks.place)
        whole = model.gather() if checkpoint else None  # from all ranks
        if keeps:
            checkpoints.save(checkpoint, whole, losses, epoch + 1, settings)
    ranks.place = ""  # from here on, ranks may be apart
    return losses


def check_equal(model: DataParallel | TensorParallel, when: str) -> None:
    """Raises ValueError, on all ranks, if what every rank has differs in any bit."""
    weights = b"".join(to_numpy(parameter).tobytes() for parameter in model.replicated)
    if len(set(model.ranks.gather(hashlib.sha256(weights).digest()))) > 1:
        raise ValueError(f"the weights differ between ranks {when}")
