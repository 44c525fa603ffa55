"""Who may be timed: contestants whose losses are those of the naive network.

Measured in NumPy at widths from 30 to 8192: another order of summation, or float64, moves a loss by
less than 1e-7 in the first ten batches and, where a hidden unit crosses zero, by up to 2e-5 later
on. Operands rounded to TF32 move one of the first ten by 2e-5 to 2e-4. So the first ten tell the
arithmetic, and a contestant that quietly takes TF32 is not timed as float32.
"""

from typing import Any

import numpy as np

from tutorial_lib import results
from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.benchmarks.contestant import FLOAT32, TF32, Contestant, Problem
from tutorial_lib.dataset import find_mnist, normalized
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.training import test

# The largest difference of a loss: over the first ten batches, and over all.
EARLY = {FLOAT32: 5e-6, TF32: 1e-3}
LATER = {FLOAT32: 1e-4, TF32: 1e-3}
NARROW = {FLOAT32: 1e-5, TF32: 1e-3}  # over all batches, and to the published losses, at width 30
CORRECT = 9131  # of the 9,984 test images, after one epoch at width 30
IMAGES_OFF = {FLOAT32: 2, TF32: 10}


class Refused(Exception):
    """The contestant computes something else than the naive network."""


def naive_losses(problem: Problem) -> np.ndarray:
    """The losses of the naive network in the problem's epoch, (steps,)."""
    model = MnistNetNaive(problem.images.shape[1], problem.num_hidden, 10)
    for parameter, weights in zip(model.parameters, problem.weights):
        parameter[...] = xp.asarray(weights)
    losses = model.epoch(
        problem.images,
        problem.labels,
        learning_rate=problem.learning_rate,
        batch_size=problem.batch_size,
    )
    return to_numpy(losses).astype(np.float64)


def check(
    contestant: Contestant, arithmetic: str, problem: Problem, expected: np.ndarray
) -> dict[str, Any]:
    """Train one epoch from the initial weights and compare; returns by how much it deviates.

    Raises Refused for a deviation above the bounds of this module, NaN included.
    """
    contestant.reset()
    contestant.epoch()
    contestant.wait()
    losses = np.asarray(contestant.losses(), np.float64)
    report = compare(losses, expected, arithmetic, problem.num_hidden)
    if problem.num_hidden == 30 and _is_published(problem):
        published = results.load("published_h200")["losses"]
        worst = np.max([abs(losses[int(batch)] - loss) for batch, loss in published.items()])
        _hold(report, "published losses", worst, NARROW[arithmetic])
        report["correct"] = count = correct(contestant.parameters())
        off = IMAGES_OFF[arithmetic]
        if abs(count - CORRECT) > off:
            raise Refused(f"gets {count} test images right, not {CORRECT} ± {off}")
    return report


def compare(
    losses: np.ndarray, expected: np.ndarray, arithmetic: str, num_hidden: int
) -> dict[str, Any]:
    """By how much the losses (steps,) of an epoch deviate; Refused above the bounds, NaN, shape."""
    if losses.shape != expected.shape:
        raise Refused(f"returns losses of shape {losses.shape}, not {expected.shape}")
    later = NARROW if num_hidden == 30 else LATER
    difference = np.abs(losses - expected)
    report: dict[str, Any] = {}
    _hold(report, "first ten losses", difference[:10].max(), EARLY[arithmetic])
    _hold(report, "losses", difference.max(), later[arithmetic])
    return report


def _hold(report: dict[str, Any], what: str, worst: float, bound: float) -> None:
    report[what] = float(f"{worst:.3g}")
    if not worst <= bound:  # written this way, NaN fails
        raise Refused(f"{what} differ by up to {worst:.1e}, more than {bound:.0e}")


def _is_published(problem: Problem) -> bool:
    return find_mnist() is not None and problem.images is normalized(True)[0]


def correct(parameters: list[np.ndarray]) -> int:
    """How many images of the full test batches a network with these parameters gets right."""
    model = MnistNetNaive(parameters[0].shape[1], parameters[0].shape[0], 10)
    for buffer, values in zip(model.parameters, parameters):
        buffer[...] = xp.asarray(values)
    return round(test(model) * results.load("published_h200")["tested"])
