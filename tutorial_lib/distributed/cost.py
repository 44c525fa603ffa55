"""What a step should cost on p ranks: one rank's arithmetic, and an all-reduce. Chapter 12."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


def gradient_bytes(width: int) -> int:
    """What travels in a data-parallel step: the gradients of 784-width-10, in float32."""
    return 4 * (784 * width + width + 10 * width + 10)


def logit_bytes(batch: int) -> int:
    """What travels in a tensor-parallel step: ten logits for each image, in float32."""
    return 4 * 10 * batch


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


@dataclass(frozen=True)
class Protocols:
    """Rings for messages of different lengths, of which the fastest is taken."""

    rings: tuple[Ring, ...]

    def seconds(self, ranks: int, size: float) -> float:
        """For an all-reduce of `size` bytes over `ranks` ranks."""
        return min(ring.seconds(ranks, size) for ring in self.rings)


def fit(
    ranks: Sequence[int], sizes: Sequence[float], seconds: Sequence[float], protocols: int = 1
) -> Protocols:
    """The rings with the least squares of relative errors of `seconds`, (points,).

    With several protocols, a range of message lengths belongs to each, cut where the errors are
    smallest. `start` is fitted only where `ranks` differ. Raises ValueError for too few points.
    """
    p, size, measured = (np.asarray(values, dtype=float) for values in (ranks, sizes, seconds))
    length = size / p
    columns = [2 * (p - 1), 2 * (p - 1) / p * size] + [np.ones(len(p))] * (len(set(ranks)) > 1)
    terms = np.stack(columns, axis=1) / measured[:, None]

    def rings(cuts: Sequence[float]) -> Protocols:
        found = []
        for low, high in zip([0, *cuts], [*cuts, np.inf]):
            part = terms[(low <= length) & (length < high)]
            (hop, per_byte, *start), *_ = np.linalg.lstsq(part, np.ones(len(part)), rcond=None)
            found.append(Ring(float(hop), float(1 / per_byte), *map(float, start)))
        return Protocols(tuple(found))

    def error(model: Protocols) -> float:
        return sum((model.seconds(*point) / t - 1) ** 2 for *point, t in zip(p, size, measured))

    edges, least = sorted(set(length)), terms.shape[1]
    cuts = [
        cut
        for cut in itertools.combinations(edges[1:], protocols - 1)
        if np.histogram(length, [0, *cut, np.inf])[0].min() >= least
    ]
    if not cuts:
        raise ValueError(f"{protocols} protocols cannot be told apart by {len(size)} points")
    return min(map(rings, cuts), key=error)


def predicted(
    alone: Mapping[tuple[str, int, int], float],
    link: Protocols,
    parallel: str,
    ranks: int,
    width: int,
    batch: int,
) -> float:
    """Seconds of a step: what one rank takes for its share, `alone`, and what travels, by `link`.

    `alone` has the seconds by ("none" or "data", width, batch); `parallel` is "data" or "tensor".
    """
    if parallel == "tensor":
        return alone["none", width // ranks, batch] + link.seconds(ranks, logit_bytes(batch))
    return alone["data", width, batch // ranks] + link.seconds(ranks, gradient_bytes(width))
