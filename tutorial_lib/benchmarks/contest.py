"""What every contestant has to do: train one epoch, get its losses right, and only then be timed.

A contestant is a script that prints rows, as JSON: what the check found, and milliseconds an epoch
on the clocks of `timing.Times`; or why it is absent, or has failed. Before each part of its work it
waits, so that many can be built side by side, and each be timed alone.

The bounds, measured in NumPy at widths from 30 to 8192: another order of summation, or float64,
moves a loss by less than 1e-7 in the first ten batches and, where a hidden unit crosses zero, by
up to 2e-5 later on. Operands rounded to TF32 or float16 move one of the first ten by 2e-5 to 2e-4,
to bfloat16 by 6e-5 to 2e-4, and a later one at width 30 by up to 4e-3. So the first ten tell who
quietly takes TF32 for float32, or float32 for half precision, but not the others from each other.
"""

import argparse
import contextlib
import importlib
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import to_numpy
from tutorial_lib.dataset import BATCH_SIZE, find_mnist, normalized
from tutorial_lib.networks import MnistNetBase, MnistNetNaive
from tutorial_lib.timing import measure
from tutorial_lib.training import test

ARITHMETICS = FLOAT32, TF32, FLOAT16, BFLOAT16 = "float32", "tf32", "float16", "bfloat16"
HALF = FLOAT16, BFLOAT16
LEARNING_RATE = 0.1  # the default of the book's networks
# The largest difference of a loss: over the first ten batches; over all; over all at width 30.
EARLY = {FLOAT32: 5e-6, TF32: 1e-3, FLOAT16: 2e-4, BFLOAT16: 1e-3}
LATER = {FLOAT32: 1e-4, TF32: 1e-3, FLOAT16: 5e-4, BFLOAT16: 1e-3}
NARROW = {FLOAT32: 1e-5, TF32: 1e-3, FLOAT16: 2e-3, BFLOAT16: 2e-2}
CORRECT = {FLOAT32: 2, TF32: 10}  # the largest difference of images recognized, at width 30
CLOCKS = "host", "gpu", "wall"
WARM_UP = 0.1  # seconds
QUERY = "nvidia-smi --id=0 --format=csv,noheader,nounits --query-gpu="
STATE = {"MHz": "clocks.sm", "W": "power.draw.instant", "C": "temperature.gpu"}

ROW = "row:"  # before a row, since compilers print, too
Epoch = Callable[[], Any]  # a contestant, built: trains one epoch, returns its losses (steps,)


class Absent(Exception):
    """A contestant or a measurement cannot be had, here or as asked for; the message says why."""


def need_gpu(what: str) -> None:
    """Raise Absent without a GPU: "{what} on a GPU, and here is none"."""
    if backend.name != "gpu":
        raise Absent(f"{what} on a GPU, and here is none")


class Problem:
    """One epoch of 784-`hidden`-10 over the first `steps` batches of training images, or all."""

    def __init__(self, hidden: int, arithmetic: str, batch: int, steps: int | None) -> None:
        if arithmetic == TF32 and backend.name != "gpu":  # it would be float32 by another name
            raise Absent("TF32 needs a GPU")
        images, labels = normalized(True)
        self.hidden, self.arithmetic, self.batch = hidden, arithmetic, batch
        self.model: MnistNetBase | None = None  # the contestant, if it is a network of the book
        self.steps = min(steps or len(images), len(images) // batch)
        self.images = images[: self.steps * batch]  # (steps * batch, 784)
        self.labels = labels[: self.steps * batch]

    def train(self, model: MnistNetBase, images: Any = None) -> Any:
        """One epoch of one of the book's networks, over the images in another float type if given;
        its losses (steps,), on the device."""
        images = self.images if images is None else images
        return model.epoch(images, self.labels, batch_size=self.batch)

    def in_numpy(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Images (steps, batch, 784), labels (steps, batch), the four initial parameters."""
        images = fetch(self.images).reshape(self.steps, self.batch, 784)
        weights = [fetch(parameter) for parameter in self.initial()]
        return images, fetch(self.labels).reshape(self.steps, self.batch), weights

    def initial(self) -> tuple[Any, ...]:
        """The four initial parameters."""
        return MnistNetBase(784, self.hidden, 10).parameters

    def as_published(self) -> bool:
        """Whether it is NVIDIA's published run."""
        mine = self.hidden, self.batch, self.steps
        return mine == (30, BATCH_SIZE, 234) and find_mnist() is not None

    def expected(self) -> np.ndarray:
        """The losses of the plain network, (steps,), and every 20th as published, where it is."""
        losses = fetch(self.train(MnistNetNaive(784, self.hidden, 10)))
        if self.as_published():
            losses[::20] = [*results.load("published_h200")["losses"].values()]
        return losses


def fetch(array: Any) -> np.ndarray:
    """A copy, in NumPy, of an array of any of the frameworks."""
    return np.array(array.detach().cpu() if hasattr(array, "detach") else to_numpy(array))


def check(problem: Problem, expected: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """By how much the losses deviate from those expected; ValueError if by too much, or NaN."""
    if losses.shape != expected.shape:
        raise ValueError(f"returns losses of shape {losses.shape}, not {expected.shape}")
    off = abs(losses.astype(np.float64) - expected)
    later = NARROW if problem.hidden == 30 else LATER
    largest = {"first ten losses": np.max(off[:10]), "losses": np.max(off)}
    for (what, value), bounds in zip(largest.items(), (EARLY, later)):
        if not value <= (bound := bounds[problem.arithmetic]):  # written this way, NaN fails
            raise ValueError(f"{what} differ by up to {value:.1e}, more than {bound:.0e}")
    if problem.arithmetic in HALF and off[:10].max() < EARLY[FLOAT32]:
        raise ValueError(f"the first ten losses are those of float32, not {problem.arithmetic}")
    return {what: float(f"{value:.3g}") for what, value in largest.items()}


def check_network(problem: Problem, epoch: Epoch, losses: np.ndarray) -> dict[str, Any]:
    """Of a network after its first epoch: every 20th loss, the accuracy, and whether a second run
    from the same weights `repeats` losses and weights bit for bit."""
    model, accuracy = problem.model, test(problem.model)
    published = results.load("published_h200")
    off = abs(round(accuracy * published["tested"]) - published["correct"])
    if problem.as_published() and off > CORRECT.get(problem.arithmetic, off):
        raise ValueError(f"the number of images recognized differs by {off} from the published")
    trained = [parameter.copy() for parameter in model.parameters]
    for parameter, value in zip(model.parameters, problem.initial()):
        parameter[...] = value
    same = np.array_equal(fetch(epoch()), losses)
    same &= all(bool((a == b).all()) for a, b in zip(trained, model.parameters))
    return {"losses": losses[::20].tolist(), "accuracy": accuracy, "repeats": same}


def state(epoch: Epoch) -> dict[str, float]:
    """Clock, power and temperature of the GPU, while it goes on training; empty without a GPU."""
    command = f"{QUERY}{','.join(STATE.values())}".split()
    with contextlib.suppress(OSError, ValueError):  # without nvidia-smi; if it answers otherwise
        query = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while query.poll() is None:
            fetch(epoch())
        return dict(zip(STATE, map(float, query.communicate()[0].split(","))))
    return {}


def compete(make: Callable[..., Epoch], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A contestant sets up, then is built and checked, then timed, again and again: a row each."""
    problem = Problem(options.hidden, options.arithmetic, options.batch, options.steps)
    expected = problem.expected()
    yield {}
    epoch = make(problem, options)
    first, all_losses = fetch(epoch()), []
    checked = {"check": check(problem, expected, first)}
    yield checked | (check_network(problem, epoch, first) if problem.model else {})

    found: dict[str, Any] = {}
    while True:
        if options.repeats > 1:
            begin = time.perf_counter()
            while time.perf_counter() < begin + WARM_UP:
                fetch(epoch())
        times = measure(lambda: all_losses.append(epoch()), repeats=options.repeats, warm_up=0)
        if not fetch(all_losses[-1]).mean() < first.mean():
            raise ValueError(f"no longer learns after {options.repeats} epochs")
        found = {"state": found.get("state") or state(epoch)}
        for clock in CLOCKS:
            seconds = getattr(times, clock)
            found[clock] = None if seconds is None else results.summary(1e3 * seconds)
        yield found


def main(make: Callable[..., Epoch], *frameworks: str, **choices: Sequence[str]) -> None:
    """A contestant's command line; its own `choices` start with the default.

    For each line of its standard input it does its next part and prints a row: see `compete`. From
    a terminal it does three parts: it sets up, is checked, and is timed once.
    """
    parser = argparse.ArgumentParser(description="Prints a contestant's row: milliseconds an epoch")
    numbers = {"hidden": 30, "batch": BATCH_SIZE, "steps": None, "repeats": 7}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, values in ({"arithmetic": ARITHMETICS} | choices).items():
        parser.add_argument(f"--{name}", choices=values, default=values[0])
    options = parser.parse_args()
    rows = compete(make, options)
    try:
        for framework in frameworks:
            importlib.import_module(framework)
        for _ in range(3) if sys.stdin.isatty() else sys.stdin:
            print(ROW, json.dumps(next(rows)), flush=True)
    except Exception as error:
        traceback.print_exc()
        what = "absent" if isinstance(error, (Absent, ImportError)) else "failed"
        row = {what: f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        print(ROW, json.dumps(row), flush=True)
