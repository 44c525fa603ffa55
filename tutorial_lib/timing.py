"""The book's timer: how long a call keeps the host, and how long until the device has done it."""

import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutorial_lib import backend


@dataclass(frozen=True)
class Times:
    """Seconds of each repeat, (repeats,): on the host, until the call has returned, and on the GPU.

    `gpu` is between two CUDA events around the call, waits included; None without a GPU.
    """

    host: np.ndarray
    gpu: np.ndarray | None = None

    @property
    def wall(self) -> np.ndarray:
        """Seconds until the call has returned and its work is done, (repeats,)."""
        return self.host if self.gpu is None else np.maximum(self.host, self.gpu)


def measure(work: Callable[[], Any], *, repeats: int = 7, warm_up: int = 1) -> Times:
    """Time `work` `repeats` times, after `warm_up` calls that are not counted."""
    if backend.name == "gpu":
        from cupyx.profiler import benchmark

        found = benchmark(work, name="work", n_repeat=repeats, n_warmup=warm_up)
        return Times(found.cpu_times, found.gpu_times[0])
    calls = timeit.repeat(work, number=1, repeat=warm_up + repeats)
    return Times(np.array(calls[warm_up:]))
