"""The ring all-reduce by hand: NumPy arrays in one process stand for the ranks."""

from collections.abc import Iterator, Sequence

import numpy as np


def ring_all_reduce(arrays: Sequence[np.ndarray]) -> Iterator[int]:
    """Turn each of p arrays of one shape (n,) into the sum of all, in place, in 2 (p - 1) steps.

    In a step every rank sends one of its p chunks to the next rank of the ring. For p - 1 steps the
    receiver adds, then for p - 1 steps it replaces. Yields the number of each finished step.
    """
    p = len(arrays)
    chunks = [np.array_split(array, p) for array in arrays]  # views
    for step in range(2 * (p - 1)):
        parcels = [chunks[rank][(rank - step) % p].copy() for rank in range(p)]
        for rank, parcel in enumerate(parcels):
            target = chunks[(rank + 1) % p][(rank - step) % p]
            if step < p - 1:
                target += parcel
            else:
                target[...] = parcel
        yield step
