"""Who may be timed: each bound, at its edge, on losses that are made up."""

from types import SimpleNamespace

import numpy as np
import pytest

from tutorial_lib import results, xp
from tutorial_lib.benchmarks import checks
from tutorial_lib.benchmarks.contestant import FLOAT32, TF32, Problem
from tutorial_lib.dataset import normalized

PUBLISHED = {int(batch): loss for batch, loss in results.load("published_h200")["losses"].items()}


@pytest.mark.parametrize(
    ("width", "arithmetic", "batch", "allowed", "refused"),
    [
        # The first ten tell the arithmetic; 0 and 9 are the first and the last of them.
        *((64, FLOAT32, batch, 4.9e-6, 5.1e-6) for batch in (0, 5, 9)),
        (30, FLOAT32, 5, 4.9e-6, 5.1e-6),
        (64, TF32, 5, 0.99e-3, 1.01e-3),
        # From the eleventh on, where units cross zero, wide networks may differ more.
        *((64, FLOAT32, batch, 0.99e-4, 1.01e-4) for batch in (10, 233)),
        (30, FLOAT32, 10, 0.99e-5, 1.01e-5),
        *((width, TF32, 10, 0.99e-3, 1.01e-3) for width in (30, 64)),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_one_loss_off_by_more_than_its_bound_is_refused(
    width, arithmetic, batch, allowed, refused, sign
):
    expected = np.linspace(0.5, 0.1, 234)
    losses = expected.copy()
    losses[batch] += sign * allowed
    report = checks.compare(losses, expected, arithmetic, width)
    assert report["losses"] == pytest.approx(allowed, rel=1e-2)
    assert report["first ten losses"] == pytest.approx(allowed if batch < 10 else 0, rel=1e-2)
    losses[batch] = expected[batch] + sign * refused
    what = "first ten losses" if batch < 10 else "losses"
    with pytest.raises(checks.Refused, match=f"^{what} differ by up to"):
        checks.compare(losses, expected, arithmetic, width)


@pytest.mark.parametrize("batch", [0, 100])
def test_a_loss_that_is_no_number_is_refused(batch):
    losses = np.ones(234)
    losses[batch] = np.nan
    with pytest.raises(checks.Refused, match="differ by up to nan"):
        checks.compare(losses, np.ones(234), TF32, 64)


def test_too_few_losses_are_refused():
    with pytest.raises(checks.Refused, match=r"shape \(233,\), not \(234,\)"):
        checks.compare(np.ones(233), np.ones(234), TF32, 64)


@pytest.fixture
def check(monkeypatch):
    """Check a pretended contestant that has these losses and this many images right."""

    def run(losses, correct, *, width=30, arithmetic=FLOAT32, published=True):
        calls = []
        contestant = SimpleNamespace(
            reset=lambda: calls.append("reset"),
            epoch=lambda: calls.append("epoch"),
            wait=lambda: calls.append("wait"),
            losses=lambda: losses,
            parameters=lambda: "parameters",
        )
        monkeypatch.setattr(checks, "correct", {"parameters": correct}.get)
        monkeypatch.setattr(checks, "_is_published", lambda problem: published)
        problem = Problem(width, None, None)
        report = checks.check(contestant, arithmetic, problem, np.array(losses))
        assert calls == ["reset", "epoch", "wait"]
        return report

    return run


def losses_as_published():
    losses = np.full(234, 0.1)
    losses[list(PUBLISHED)] = list(PUBLISHED.values())
    return losses


@pytest.mark.parametrize(("arithmetic", "off"), [(FLOAT32, 2), (TF32, 10)])
def test_the_count_of_right_answers_is_that_of_the_published_run(check, arithmetic, off):
    for count in (9131 - off, 9131 + off):
        report = check(losses_as_published(), count, arithmetic=arithmetic)
        assert report == {
            "first ten losses": 0,
            "losses": 0,
            "published losses": 0,
            "correct": count,
        }
    for count in (9131 - off - 1, 9131 + off + 1):
        with pytest.raises(checks.Refused, match=f"gets {count} .* right, not 9131 ± {off}$"):
            check(losses_as_published(), count, arithmetic=arithmetic)


@pytest.mark.parametrize("batch", [min(PUBLISHED), 100, max(PUBLISHED)])
@pytest.mark.parametrize(("arithmetic", "bound"), [(FLOAT32, 1e-5), (TF32, 1e-3)])
def test_the_published_losses_are_met(check, batch, arithmetic, bound):
    losses = losses_as_published()
    losses[batch] += 0.9 * bound
    check(losses, 9131, arithmetic=arithmetic)
    losses[batch] = PUBLISHED[batch] - 1.1 * bound
    with pytest.raises(checks.Refused, match="published losses differ"):
        check(losses, 9131, arithmetic=arithmetic)


@pytest.mark.parametrize("other", [{"width": 31}, {"published": False}])
def test_only_the_published_problem_has_published_numbers(check, other):
    assert set(check(np.ones(234), 0, **other)) == {"first ten losses", "losses"}


def test_the_published_problem_is_the_full_training_set(monkeypatch):
    images, labels = xp.ones((300, 784), xp.float32), xp.zeros(300, int)
    splits = {True: (images, labels), False: (images.copy(), labels)}
    monkeypatch.setattr(checks, "normalized", splits.get)
    monkeypatch.setattr(checks, "find_mnist", lambda: "a folder")
    assert checks._is_published(Problem(30, images, labels))
    assert not checks._is_published(Problem(30, images[:256], labels[:256]))
    assert not checks._is_published(Problem(30, *splits[False]))
    monkeypatch.setattr(checks, "find_mnist", lambda: None)  # the sample
    assert not checks._is_published(Problem(30, images, labels))


@pytest.mark.usefixtures("full_mnist")
def test_the_problem_that_the_ladder_makes_is_the_published_one():
    assert checks._is_published(Problem(30, *normalized(True)))


@pytest.mark.usefixtures("full_mnist")
def test_right_answers_are_counted_over_the_full_test_batches():
    """A network that answers 7, whatever it sees, is right about each 7 of the 9,984."""
    parameters = [np.zeros((3, 784)), np.zeros(3), np.zeros((10, 3)), np.eye(10)[7]]
    assert checks.correct(parameters) == int((normalized(False)[1][:9984] == 7).sum())
