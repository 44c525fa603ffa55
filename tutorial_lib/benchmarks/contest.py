"""What every contestant has to do: train one epoch, get its losses right, and only then be timed.

A contestant is a script that prints one row, as JSON: what the check found, and milliseconds an
epoch on the clocks of `timing.Times`; or why it is absent, or has failed.

The bounds, measured in NumPy at widths from 30 to 8192: another order of summation, or float64,
moves a loss by less than 1e-7 in the first ten batches and, where a hidden unit crosses zero, by
up to 2e-5 later on. Operands rounded to TF32 move one of the first ten by 2e-5 to 2e-4. So the
first ten tell the arithmetic, and a contestant that quietly takes TF32 is not timed as float32.
"""

import argparse
import json
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tutorial_lib import backend, results
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import BATCH_SIZE, find_mnist, normalized
from tutorial_lib.networks import MnistNetBase, MnistNetNaive
from tutorial_lib.timing import measure
from tutorial_lib.training import test

FLOAT32, TF32 = "float32", "tf32"
LEARNING_RATE = 0.1  # the default of the book's networks
# The largest difference of a loss: over the first ten batches, and over all.
EARLY = {FLOAT32: 5e-6, TF32: 1e-3}
LATER = {FLOAT32: 1e-4, TF32: 1e-3}
NARROW = {FLOAT32: 1e-5, TF32: 1e-3}  # over all batches, and to the published losses, at width 30
CORRECT = 9131  # of the 9,984 test images, after one epoch at width 30
IMAGES_OFF = {FLOAT32: 2, TF32: 10}


class Absent(Exception):
    """A contestant or a measurement cannot be had, here or as asked for; the message says why."""


class Mismatch(Exception):
    """A contestant computes something else than the plain network."""


class Problem:
    """One epoch of 784-`hidden`-10 over the first `steps` full batches of the training images.

    Raises Absent for TF32 without a GPU: that would be float32 under another name.
    """

    def __init__(
        self, hidden: int, arithmetic: str, batch: int = BATCH_SIZE, steps: int | None = None
    ) -> None:
        if arithmetic == TF32 and backend.name != "gpu":
            raise Absent("TF32 needs a GPU")
        images, labels = normalized(True)
        full = len(images) // batch
        self.hidden, self.arithmetic, self.batch = hidden, arithmetic, batch
        self.steps = min(steps or full, full)
        self.images = images[: self.steps * batch]  # (steps * batch, 784)
        self.labels = labels[: self.steps * batch]
        whole = (hidden, batch, self.steps) == (30, BATCH_SIZE, full)
        self.is_published = whole and find_mnist() is not None

    def train(self, model: MnistNetBase) -> Any:
        """One epoch of one of the book's networks; its losses (steps,), on the device."""
        return model.epoch(self.images, self.labels, batch_size=self.batch)

    def in_numpy(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Images (steps, batch, 784), labels (steps, batch), the four initial parameters."""
        images = fetch(self.images).reshape(self.steps, self.batch, 784)
        weights = [fetch(p) for p in MnistNetBase(784, self.hidden, 10).parameters]
        return images, fetch(self.labels).reshape(self.steps, self.batch), weights


# A contestant, built: a function that trains one epoch and returns its losses (steps,), and one
# that returns the four parameters as they are then, in the published order and shapes.
Contestant = tuple[Callable[[], Any], Callable[[], Sequence[Any]]]


def fetch(array: Any) -> np.ndarray:
    """A copy, in NumPy, of an array of any of the frameworks."""
    return np.array(array.detach().cpu() if hasattr(array, "detach") else to_numpy(array))


def check(
    problem: Problem, expected: np.ndarray, losses: np.ndarray, parameters: Sequence[np.ndarray]
) -> dict[str, Any]:
    """By how much the losses of the first epoch deviate from those of the plain network.

    Raises Mismatch for another number of losses, a deviation above the bounds, NaN included.
    """
    if losses.shape != expected.shape:
        raise Mismatch(f"returns losses of shape {losses.shape}, not {expected.shape}")
    published, arithmetic = results.load("published_h200"), problem.arithmetic
    off = abs(losses.astype(np.float64) - expected)
    later = NARROW if problem.hidden == 30 else LATER
    found = [("first ten losses", off[:10], EARLY), ("losses", off, later)]
    if problem.is_published:
        off = [abs(losses[int(i)] - loss) for i, loss in published["losses"].items()]
        found.append(("published losses", off, NARROW))
    report: dict[str, Any] = {}
    for what, off, bounds in found:
        report[what] = float(f"{np.max(off):.3g}")
        if not np.max(off) <= (bound := bounds[arithmetic]):  # written this way, NaN fails
            raise Mismatch(f"{what} differ by up to {np.max(off):.1e}, more than {bound:.0e}")
    if problem.is_published:
        model, off = MnistNetNaive(784, 30, 10), IMAGES_OFF[arithmetic]
        for buffer, values in zip(model.parameters, parameters):
            buffer[...] = xp.asarray(values)
        report["correct"] = round(test(model) * published["tested"])
        if abs(report["correct"] - CORRECT) > off:
            raise Mismatch(f"gets {report['correct']} test images right, not {CORRECT} ± {off}")
    return report


def compete(make: Callable[..., Contestant], options: argparse.Namespace) -> dict[str, Any]:
    """Build the contestant, check it, time it: its row."""
    problem = Problem(options.hidden, options.arithmetic, options.batch, options.steps)
    expected = fetch(problem.train(MnistNetNaive(784, problem.hidden, 10)))
    epoch, parameters = make(problem, options)
    first = fetch(epoch())
    row = {"check": check(problem, expected, first, [fetch(p) for p in parameters()])}
    times = measure(epoch, repeats=options.repeats)
    if not fetch(epoch()).mean() < first.mean():
        raise Mismatch(f"no longer learns after {options.repeats} epochs")
    clocks = {"host": times.host, "gpu": times.gpu, "wall": times.wall}
    return row | {k: x if x is None else results.summary(1e3 * x) for k, x in clocks.items()}


def main(make: Callable[..., Contestant], **choices: Sequence[str]) -> None:
    """A contestant's command line: prints the row of ``make(problem, options)``.

    `choices` are the contestant's own options, each with what it may be; the first is the default.
    """
    parser = argparse.ArgumentParser(description="Prints a contestant's row: milliseconds an epoch")
    parser.add_argument("--hidden", type=positive, default=30, help="hidden units")
    parser.add_argument("--arithmetic", choices=(FLOAT32, TF32), default=FLOAT32)
    parser.add_argument("--batch", type=positive, default=BATCH_SIZE)
    parser.add_argument("--steps", type=positive, help="instead of all full batches")
    parser.add_argument("--repeats", type=positive, default=7, help="timed epochs")
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=values, default=values[0])
    options = parser.parse_args()
    try:
        row = compete(make, options)
    except Exception as error:
        traceback.print_exc()
        what = "absent" if isinstance(error, (Absent, ImportError)) else "failed"
        row = {what: f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    print(json.dumps(row))


def positive(text: str) -> int:
    """For argparse: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
