"""What is compared: contestants that train the same epoch, each in its own way."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tutorial_lib.backend import name as backend_name
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import BATCH_SIZE
from tutorial_lib.networks.base import MnistNetBase

FLOAT32, TF32 = "float32", "tf32"


class Absent(Exception):
    """A contestant or a measurement cannot be had, here or as asked for; the message says why."""


@dataclass(frozen=True, eq=False)
class Problem:
    """One epoch in file order: images (m, 784) and labels (m,) on the device, and the network.

    The last, partial batch is dropped. All contestants start from the same weights.
    """

    num_hidden: int
    images: xp.ndarray
    labels: xp.ndarray
    learning_rate: float = 0.1
    batch_size: int = BATCH_SIZE

    @property
    def steps(self) -> int:
        """How many full batches there are."""
        return len(self.images) // self.batch_size

    @cached_property
    def weights(self) -> list[np.ndarray]:
        """The four initial parameters, in the order of ``MnistNetBase.parameters``, in NumPy."""
        model = MnistNetBase(self.images.shape[1], self.num_hidden, 10)
        return [np.array(to_numpy(p)) for p in model.parameters]

    @cached_property
    def batches(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (steps, batch, 784) and labels (steps, batch) in NumPy, to hand to a framework."""
        m = self.steps * self.batch_size
        images, labels = to_numpy(self.images[:m]), to_numpy(self.labels[:m])
        shape = self.steps, self.batch_size
        return images.reshape(*shape, -1), labels.reshape(shape)


def require_arithmetic(arithmetic: str) -> None:
    """Raise Absent for TF32 without a GPU: there it would be float32 under another name."""
    if arithmetic == TF32 and backend_name != "gpu":
        raise Absent("TF32 needs a GPU")


class Contestant:
    """One way to train the epoch of a `Problem`, built, planned and compiled when constructed.

    Of the losses, each contestant computes the published ones and leaves them on the device. A
    contestant that cannot run here raises `Absent` or ImportError on construction.
    """

    on_default_stream = True  # CUDA events there see its work
    slow = False  # an epoch takes seconds: no warm-up, few repeats

    def epoch(self) -> None:
        """Enqueue one epoch, from the weights as they are, without waiting for it."""
        raise NotImplementedError

    def losses(self) -> np.ndarray:
        """The loss of each batch of the last epoch, (steps,); waits for it."""
        raise NotImplementedError

    def parameters(self) -> list[np.ndarray]:
        """The four parameters as they are now, in NumPy, in the published shapes."""
        raise NotImplementedError

    def reset(self) -> None:
        """Back to the initial weights."""
        raise NotImplementedError

    def wait(self) -> None:
        """Wait until the device has done everything that was enqueued."""
        if backend_name == "gpu":
            xp.cuda.Device().synchronize()

    def close(self) -> None:
        """Give back what is held on the device."""


@dataclass(frozen=True)
class Entry:
    """A contestant by name, in one arithmetic, before it is built.

    `make(problem, arithmetic)` builds it. `kind` is "rung" (of the book's ladder) or "peer".
    """

    name: str
    kind: str
    arithmetic: str
    make: Callable[[Problem, str], Contestant]

    @property
    def key(self) -> str:
        """Name and arithmetic, for example ``captured epoch, tf32``."""
        return f"{self.name}, {self.arithmetic}"


def chosen(names: Iterable[str], only: Sequence[str]) -> list[str]:
    """Those of the names that contain one of the parts `only`; without parts, all of them.

    Raises Absent for a part that is in no name.
    """
    names = list(names)
    for part in only:
        if not any(part in name for name in names):
            raise Absent(f"no name contains {part!r}; the names are: {'; '.join(names)}")
    return [name for name in names if not only or any(part in name for part in only)]


def entries(
    name: str, kind: str, target: str, *, tf32: bool = True, **arguments: object
) -> list[Entry]:
    """Entries for a contestant class given as ``module:Class``, imported only when it is built."""
    module, _, cls = target.partition(":")

    def make(problem: Problem, arithmetic: str) -> Contestant:
        return getattr(importlib.import_module(module), cls)(problem, arithmetic, **arguments)

    return [Entry(name, kind, a, make) for a in ([FLOAT32, TF32] if tf32 else [FLOAT32])]
