"""An epoch of each network on the CPU, against a bare NumPy loop of the same arithmetic."""

import contextlib
import io
import random
import time
from collections.abc import Callable

import numpy as np

from tutorial_lib import backend
from tutorial_lib.benchmarks import checks, record
from tutorial_lib.benchmarks.contestant import FLOAT32, Absent
from tutorial_lib.dataset import describe_dataset, get_loader
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.training import train


def bare_epoch(num_hidden: int) -> list[float]:
    """One epoch with nothing between the mathematics and NumPy; returns the losses."""
    wh, bh, wo, bo = MnistNetBase(784, num_hidden, 10).parameters
    losses = []
    for x, labels in get_loader(train=True):
        z = wh @ x.T + bh[:, None]
        y = np.maximum(z, 0)
        p = 1 / (1 + np.exp(-(wo @ y + bo[:, None]).T))
        t = np.zeros_like(p)
        t[np.arange(len(labels)), labels] = 1
        losses.append(float(-np.mean(t * np.log(p + 1e-8) + (1 - t) * np.log(1 - p + 1e-8))))
        grad = (p - t) / len(labels)
        grad_hidden = (wo.T @ grad.T) * (z >= 0)
        wo -= 0.1 * (grad.T @ y.T)
        bo -= 0.1 * grad.sum(axis=0)
        wh -= 0.1 * (grad_hidden @ x)
        bh -= 0.1 * grad_hidden.sum(axis=1)
    return losses


def network_epoch(network: type[MnistNetBase], num_hidden: int) -> list[float]:
    """One epoch of a network of the book, its printing swallowed; returns the losses."""
    with contextlib.redirect_stdout(io.StringIO()), network(784, num_hidden, 10) as model:
        return train(model)


def run(*, num_hidden: int = 30, repeats: int = 15) -> None:
    """Check, time in random order, print a table, and write ``book/results/cpu_epoch.json``.

    Raises Absent on a GPU backend, checks.Refused if the contestants' losses differ.
    """
    if backend.name != "cpu":
        raise Absent("this benchmark is for the CPU: set TUTORIAL_BACKEND=cpu")
    contestants: dict[str, Callable[[], list[float]]] = {
        "bare NumPy loop": lambda: bare_epoch(num_hidden),
        "MnistNetNaive": lambda: network_epoch(MnistNetNaive, num_hidden),
        "MnistNet": lambda: network_epoch(MnistNet, num_hidden),
    }
    losses = {name: epoch() for name, epoch in contestants.items()}  # warms up, too
    expected = np.array(losses["bare NumPy loop"])
    found = [checks.compare(np.array(x), expected, FLOAT32, num_hidden) for x in losses.values()]

    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name in random.sample(list(contestants), len(contestants)):
            start = time.perf_counter()
            contestants[name]()
            samples[name].append(1e3 * (time.perf_counter() - start))

    times = {name: record.summary(values) for name, values in samples.items()}
    bare = times["bare NumPy loop"]["median"]
    print(f"One epoch, hidden width {num_hidden}, {describe_dataset()}, {record.machine()}")
    for name, time_ in times.items():
        low, high = time_["quartiles"]
        median = time_["median"]
        print(f"{name:16} {median:8.1f} ms  ({low:.1f} to {high:.1f})  {median / bare:5.2f} x bare")
    path = record.write(
        "cpu_epoch",
        ["numpy"],
        {
            "what": "one epoch on the CPU backend, initial weights and loss included",
            "data": describe_dataset(),
            "hidden": num_hidden,
            "unit": "milliseconds",
            "worst_loss_difference": max(report["losses"] for report in found),
            "times": times,
        },
    )
    print(f"Written to {path.name} in book/results")
