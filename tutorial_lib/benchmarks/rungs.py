"""The rungs of the ladder: the networks of the book as contestants."""

import numpy as np

from tutorial_lib.backend import MatmulComputeType, to_numpy, xp
from tutorial_lib.benchmarks.contestant import (
    TF32,
    Absent,
    Contestant,
    Entry,
    Problem,
    entries,
    require_arithmetic,
)
from tutorial_lib.dataset import BATCH_SIZE, normalized, per_image_loader
from tutorial_lib.networks import NETWORKS


class Rung(Contestant):
    """A network of the book, trained by its ``epoch``; `network` is its name in `NETWORKS`."""

    def __init__(
        self, problem: Problem, arithmetic: str, *, network: str, widest: int | None = None
    ) -> None:
        if widest is not None and problem.num_hidden > widest:
            raise Absent(f"made for a width of at most {widest}")
        require_arithmetic(arithmetic)
        options = {}
        if arithmetic == TF32:
            options["compute_type"] = MatmulComputeType.COMPUTE_32F_FAST_TF32
        self.problem, self._losses = problem, None
        self.initial = [xp.asarray(w) for w in problem.weights]
        self.model = NETWORKS[network](problem.images.shape[1], problem.num_hidden, 10, **options)

    def epoch(self) -> None:
        """One epoch over the images on the device."""
        p = self.problem
        self._losses = self.model.epoch(
            p.images, p.labels, learning_rate=p.learning_rate, batch_size=p.batch_size
        )

    def losses(self) -> np.ndarray:
        """The losses that the last epoch returned."""
        return np.array(to_numpy(self._losses))

    def parameters(self) -> list[np.ndarray]:
        """The network's live buffers, copied."""
        return [np.array(to_numpy(p)) for p in self.model.parameters]

    def reset(self) -> None:
        """Write the initial weights into the live buffers."""
        for parameter, weights in zip(self.model.parameters, self.initial):
            parameter[...] = weights

    def close(self) -> None:
        """Free the network's plans."""
        self.model.free()
        self._losses, self.initial = None, []


class PublishedLoader(Rung):
    """As published, whole: the images prepared one by one by torch's DataLoader, every epoch."""

    slow = True

    def __init__(self, problem: Problem, arithmetic: str, *, network: str) -> None:
        if problem.num_hidden != 30:
            raise Absent("its time is that of the loader: run at width 30 only")
        if problem.images is not normalized(True)[0] or problem.batch_size != BATCH_SIZE:
            raise Absent(f"it loads the data set, not a part of it, in batches of {BATCH_SIZE}")
        import torchvision  # noqa: F401  # what the loader needs: absent here if it is missing

        super().__init__(problem, arithmetic, network=network)

    def epoch(self) -> None:
        """The published loop over the published loader."""
        self._losses = xp.empty(self.problem.steps, xp.float32)
        for i, (images, labels) in enumerate(per_image_loader(train=True)):
            loss = self._losses[i : i + 1]
            self.model.step(images, labels, loss, self.problem.learning_rate)


def _rung(name: str, network: str, *, cls: str = "Rung", **arguments: object) -> list[Entry]:
    target = f"{__name__}:{cls}"
    return entries(name, "rung", target, network=network, **arguments)


PUBLISHED: list[Entry] = _rung("published loader", "fused", cls="PublishedLoader", tf32=False)

RUNGS: list[Entry] = [
    *_rung("unchecked resets", "unchecked", tf32=False),
    *_rung("update in the matmul", "inplace"),
    *_rung("captured epoch", "captured"),
    *_rung("tuned algorithms", "tuned"),
    *_rung("merged kernels", "merged"),
    *_rung("one kernel", "one-kernel", tf32=False, widest=512),
]

# The two loops that every rung and every peer has to beat: they are run with either.
LOOPS: list[Entry] = [
    *entries("published loop", "peer", f"{__name__}:Rung", network="fused", tf32=False),
    *entries("naive CuPy", "peer", f"{__name__}:Rung", network="naive", tf32=False),
]
