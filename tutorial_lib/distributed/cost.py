"""What a step should cost on p ranks: arithmetic, and a ring all-reduce. Chapter 12."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutorial_lib.networks.base import step_flops


def gradient_bytes(width: int) -> int:
    """What travels in a step: the four gradients of 784-width-10 and the loss, in float32."""
    return 4 * (784 * width + width + 10 * width + 10 + 1)


@dataclass(frozen=True)
class Ring:
    """A ring of equal links: what an all-reduce on it costs."""

    hop: float  # seconds of each message, however short it is
    bandwidth: float  # bytes per second
    start: float = 0.0  # seconds of each all-reduce, however many take part

    def seconds(self, ranks: int, size: float) -> float:
        """For an all-reduce of `size` bytes: 2 (p - 1) messages of size / p bytes, in a row."""
        if ranks == 1:
            return 0.0
        return self.start + 2 * (ranks - 1) * (self.hop + size / ranks / self.bandwidth)


def fit(ranks: Sequence[int], sizes: Sequence[float], seconds: Sequence[float]) -> Ring:
    """The ring, with no `start`, that has the least squares of relative errors of `seconds`."""
    p, size, measured = (np.asarray(values, dtype=float) for values in (ranks, sizes, seconds))
    terms = np.stack([2 * (p - 1), 2 * (p - 1) / p * size], axis=1) / measured[:, None]
    (hop, per_byte), *_ = np.linalg.lstsq(terms, np.ones(len(measured)), rcond=None)
    return Ring(hop=float(hop), bandwidth=float(1 / per_byte))


@dataclass(frozen=True)
class Machine:
    """Equal GPUs in a ring: `rate` operations a second each, `host` seconds to hand over a step."""

    rate: float
    host: float
    ring: Ring

    def seconds(self, ranks: int, width: int, batch: int) -> float:
        """For a step of `batch` images over all ranks; nothing overlaps but host and GPU."""
        compute = step_flops(width, batch) / ranks / self.rate
        return max(self.host, compute + self.ring.seconds(ranks, gradient_bytes(width)))

    def speedup(self, ranks: int, width: int, batch: int) -> float:
        """How many times faster than one GPU: the same batch, split. Strong scaling."""
        return self.seconds(1, width, batch) / self.seconds(ranks, width, batch)

    def efficiency(self, ranks: int, width: int, batch: int) -> float:
        """One GPU's time over that of `ranks`: `batch` images on each. Weak scaling."""
        return self.seconds(1, width, batch) / self.seconds(ranks, width, ranks * batch)

    def width_that_pays(self, ranks: int, batch: int, *, speedup: float = 1.0) -> int | None:
        """The least width at which `ranks` GPUs are more than `speedup` times faster, or None."""
        widths = range(1, 10**6)  # the speed-up grows with the width
        found = bisect_right(widths, speedup, key=lambda width: self.speedup(ranks, width, batch))
        return widths[found] if found < len(widths) else None
