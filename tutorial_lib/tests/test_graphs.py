"""Captured work, wherever it runs: what is replayed, what is refused, what a failure leaves."""

import functools
import gc

import numpy as np
import pytest

from tutorial_lib import Matmul, backend, kernels, xp
from tutorial_lib.backend import random, to_numpy
from tutorial_lib.graphs import Branch, CapturedWork, CaptureError, captured_time

cpu_only = pytest.mark.skipif(backend.name == "gpu", reason="models what a GPU does")


def array(*shape):
    return xp.asarray(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


# What is replayed.


def test_a_replay_reads_the_memory_as_it_is_and_runs_no_python():
    x, out, calls = array(3, 4), xp.zeros((3, 4), xp.float32), []

    def work():
        calls.append(1)
        scale = len(calls)  # a number of Python's: the graph has it as it was
        out[...] = scale * xp.maximum(x, 0)[::-1]

    graph = CapturedWork(work)
    captured_scale = 2
    runs = len(calls)
    for _ in range(2):
        x[...] = array(3, 4) * (1 + len(calls))
        graph.replay()
        expected = captured_scale * np.maximum(to_numpy(x), 0)[::-1]
        np.testing.assert_allclose(to_numpy(out), expected, rtol=1e-6)
        x[...] = 0
    assert len(calls) == runs


def test_what_the_work_makes_is_made_anew_at_each_replay():
    out, total = xp.zeros(4, xp.float32), xp.zeros((), xp.float32)

    def work():
        fresh = xp.zeros(4, xp.float32) + xp.arange(4, dtype=xp.float32)
        fresh += xp.ones(4, xp.float32)
        out[...] += fresh
        total[...] = out.sum() + out.max()

    graph = CapturedWork(work)
    before = to_numpy(out).copy()
    for i in (1, 2, 3):
        graph.replay()
        np.testing.assert_array_equal(to_numpy(out), before + i * np.arange(1, 5))
        assert float(total) == to_numpy(out).sum() + to_numpy(out).max()


def test_the_work_runs_twice_before_the_first_replay():
    count = xp.zeros((), xp.float32)
    graph = CapturedWork(lambda: count.__iadd__(1))
    assert float(count) == 2
    graph.replay()
    assert float(count) == 3


def test_views_indices_and_methods_are_replayed():
    x, rows, out = array(6, 4), xp.asarray([5, 0, 2]), xp.zeros((3, 4), xp.float32)
    small, one = xp.zeros(6, xp.float32), xp.zeros((), xp.float32)

    def work():
        out[...] = x[rows].copy() * 2
        out[1:, ::2] = 7
        small[...] = x.T.reshape(4, 6)[1].astype(xp.float64)
        one[...] = x[2, 3] + x.argmax() + x.ravel()[-1]

    graph = CapturedWork(work)
    for _ in range(2):
        x[...] = x * -1.5
        graph.replay()
        y = to_numpy(x)
        expected = y[[5, 0, 2]] * 2
        expected[1:, ::2] = 7
        np.testing.assert_allclose(to_numpy(out), expected, rtol=1e-6)
        np.testing.assert_allclose(to_numpy(small), y.T.reshape(4, 6)[1], rtol=1e-6)
        assert float(one) == pytest.approx(y[2, 3] + y.argmax() + y[-1, -1], rel=1e-6)


def test_a_matmul_and_a_kernel_are_replayed():
    a, b, labels = array(8, 4), array(4, 10), xp.arange(8)
    gradient, loss = xp.zeros((8, 10), xp.float32), xp.zeros(1, xp.float32)
    with Matmul(a, b) as mm:
        mm.plan()

        def work():
            kernels.loss_and_gradient(mm.execute(), labels, gradient, loss)

        work()
        graph = CapturedWork(work)
        a[...] *= 2
        graph.replay()
        found = to_numpy(gradient).copy(), to_numpy(loss).copy()
        work()
        np.testing.assert_array_equal(found[0], to_numpy(gradient))
        np.testing.assert_array_equal(found[1], to_numpy(loss))
        del graph


def test_arrays_are_reached_in_closures_objects_containers_and_arguments():
    class Holder:
        def __init__(self):
            self.x, self.pair, self.named = array(3), (array(3), [array(3)]), {"y": array(3)}

        def work(self):
            self.x[...] = self.pair[0] + self.pair[1][0] + self.named["y"]

    holder = Holder()
    graph = CapturedWork(holder.work)
    for part in (holder.pair[0], holder.pair[1][0], holder.named["y"]):
        part[...] = 2
    graph.replay()
    assert to_numpy(holder.x).tolist() == [6, 6, 6]
    x, y = array(3), array(3)
    graph = CapturedWork(functools.partial(xp.add, x, y, out=y))
    x[...], y[...] = 1, 2
    graph.replay()
    assert to_numpy(y).tolist() == [3, 3, 3]
    assert type(holder.x) is type(holder.pair[0]) is type(holder.named["y"]) is xp.ndarray
    assert type(holder.pair) is tuple


def test_what_is_made_from_an_array_of_the_capture_is_that_array_or_a_copy():
    x, ints = array(2, 3), xp.arange(3)
    same, copied, filled, dense = (xp.zeros((2, 3), xp.float32) for _ in range(4))

    def work():
        same[...] = xp.asarray(x)
        xp.asarray(x)[0] = 1  # no copy: written into x
        copied[...] = xp.array(x)
        filled[...] = xp.full((2, 3), 4, xp.float32) + xp.eye(2, 3, dtype=xp.float32) + ints
        dense[...] = xp.ascontiguousarray(x.T).T * xp.asarray([1, 2, 3])

    graph = CapturedWork(work)
    x[...], ints[...] = 7, [5, 6, 7]
    for out in (same, copied, filled, dense):
        out[...] = -1
    graph.replay()
    once = np.array([[1, 1, 1], [7, 7, 7]])
    np.testing.assert_array_equal(to_numpy(same), 7)
    np.testing.assert_array_equal(to_numpy(copied), once)
    np.testing.assert_array_equal(to_numpy(filled), [[10, 10, 11], [9, 11, 11]])
    np.testing.assert_array_equal(to_numpy(dense), once * [1, 2, 3])


@cpu_only
def test_memory_that_nobody_wrote_holds_no_number_that_could_be_meant():
    floats, ints = xp.zeros(3, xp.float32), xp.zeros(3, int)

    def work():
        floats[...] = xp.empty(3, xp.float32)
        ints[...] = xp.empty_like(ints)

    CapturedWork(work)
    assert np.isnan(floats).all()
    assert (ints == 77).all()


def test_what_the_work_binds_anew_stays_bound():
    class Holder:
        def __init__(self):
            self.x, self.count = array(3), xp.zeros(1, int)

        def work(self):
            self.x = self.x * 2
            self.count += 1

    holder = Holder()
    before, count = holder.x, holder.count
    CapturedWork(holder.work)
    assert holder.count is count
    assert holder.x is not before
    np.testing.assert_allclose(to_numpy(holder.x), to_numpy(before) * 4, rtol=1e-6)
    assert holder.x.tolist() == to_numpy(holder.x).tolist()
    assert float(holder.x[0]) == float(to_numpy(holder.x)[0])


def helper(out):
    out[...] = ANY + 1


def test_arrays_are_reached_through_functions_of_the_same_module():
    out = xp.zeros(3, xp.float32)
    graph = CapturedWork(lambda: helper(out))
    ANY[...] = 5
    graph.replay()
    assert to_numpy(out).tolist() == [6, 6, 6]


def test_a_column_major_copy_that_nothing_has_to_be_moved_for_is_captured():
    row, out = array(1, 4), xp.zeros((1, 4), xp.float32)
    graph = CapturedWork(lambda: out.__setitem__(..., xp.asfortranarray(row)))
    row[...] = 3
    graph.replay()
    assert to_numpy(out).tolist() == [[3, 3, 3, 3]]


ANY = array(3)


def test_arrays_are_reached_as_globals():
    out = xp.zeros(3, xp.float32)
    graph = CapturedWork(lambda: out.__setitem__(..., ANY * 2))
    ANY[...] = 5
    graph.replay()
    assert to_numpy(out).tolist() == [10, 10, 10]


# What is refused.


X, M = array(4, 4), xp.ones(4, bool)
REFUSED = {
    "@": lambda: X @ X,
    "dot": lambda: xp.dot(X, X),
    "method dot": lambda: X.dot(X),
    "tensordot": lambda: xp.tensordot(X, X, 1),
    "matmul": lambda: xp.matmul(X, X, out=X.copy()),
    "inverse": lambda: xp.linalg.inv(X),
    "geam": lambda: xp.asfortranarray(X),
    "float": lambda: float(X[0, 0]),
    "int": lambda: int(X.sum()),
    "bool": lambda: bool(X[0, 0] > 0),
    "if": lambda: X if X.sum() > 0 else None,
    "item": lambda: X[0, 0].item(),
    "tolist": lambda: X.tolist(),
    "to_numpy": lambda: to_numpy(X),
    "format": lambda: f"{X.sum():.3f}",
    "repr": lambda: repr(X),
    "mask": lambda: X[M],
    "nonzero": lambda: xp.nonzero(X),
    "synchronize": backend.synchronize,
    "random": lambda: random.uniform(0, 1, 3, dtype=xp.float32),
    "another random": lambda: xp.random.random_sample(3),
    "plan": lambda: Matmul(X, X).plan(),
    "stateless": lambda: backend.matmul(X, X),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_stream_cannot_capture_is_refused_with_a_remedy(what):
    REFUSED[what]()
    with pytest.raises(CaptureError, match="Plan before you capture") as refused:
        CapturedWork(REFUSED[what])
    assert refused.value.__cause__ is not None
    still_works()


def still_works():
    out = xp.zeros(4, xp.float32)
    graph = CapturedWork(lambda: out.__iadd__(X[0]))
    out[...] = 0
    graph.replay()
    np.testing.assert_array_equal(to_numpy(out), to_numpy(X)[0])


def test_copies_that_are_no_geam_are_captured():
    column = xp.zeros((4, 4), xp.float32, order="F")
    cube, doubles = array(2, 2, 2), array(2, 3).astype(xp.int64)

    def work():
        column[...] = X
        X.copy(order="F")
        xp.asfortranarray(column)
        xp.asfortranarray(cube)
        xp.asfortranarray(doubles)
        xp.ascontiguousarray(column)

    CapturedWork(work).replay()
    np.testing.assert_array_equal(to_numpy(column), to_numpy(X))


@cpu_only
def test_a_graph_whose_matmul_was_freed_says_so():
    out = xp.zeros((4, 4), xp.float32)
    mm = Matmul(X, X)
    mm.plan()
    graph = CapturedWork(lambda: out.__setitem__(..., mm.execute()))
    mm.free()
    with pytest.raises(Exception, match="freed"):
        graph.replay()


# What a failure leaves.


@pytest.mark.parametrize("run", [1, 2])
def test_an_error_of_the_work_comes_out_as_itself(run):
    runs = []

    def work():
        runs.append(X * 2)
        if len(runs) == run:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        CapturedWork(work)
    assert len(runs) == run
    assert type(X) is xp.ndarray
    still_works()


def test_no_garbage_is_collected_in_the_middle_of_a_capture():
    states = []
    CapturedWork(lambda: states.append(gc.isenabled()))
    assert states[0]
    assert not states[1]
    assert gc.isenabled()

    def fails():
        states.append(0)
        if not gc.isenabled():
            raise KeyError

    with pytest.raises(KeyError):
        CapturedWork(fails)
    assert gc.isenabled()
    gc.disable()
    try:
        CapturedWork(lambda: None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_captured_time_is_that_of_one_call(monkeypatch):
    ticks = iter([10, 14, 20, 22, 30, 33])  # three replays of 4, 2 and 3 seconds
    monkeypatch.setattr("tutorial_lib.graphs.time.perf_counter", lambda: next(ticks))
    calls = []
    assert captured_time(lambda: calls.append(X * 2), repeats=5) == 2 / 5
    assert len(calls) % 5 == 0


# Branches.


def replays(work, out, times=4):
    """The results of several replays: where an order is missing, the stand-in tries both."""
    graph = CapturedWork(work)
    results = []
    for _ in range(times):
        out[...] = 1
        graph.replay()
        results.append(to_numpy(out).tolist())
    return results


def test_a_branch_is_ordered_by_its_beginning_and_its_join():
    out, x = xp.zeros(2, xp.float32), xp.zeros(2, xp.float32)

    def work():
        x[...] = out * 3
        with Branch() as side:
            x[...] += 1  # after the line before
        side.join()
        out[...] = x * 10  # after the branch

    assert replays(work, out) == [[40, 40]] * 4


def test_what_is_in_branches_keeps_its_order():
    out = xp.zeros(1, xp.float32)

    def work():
        with Branch() as first:
            out[...] *= 5
        with Branch() as second:
            out[...] += 1
        first.join()
        second.join()

    assert replays(work, out) == [[6]] * 4


@cpu_only
def test_a_race_between_a_branch_and_what_follows_is_seen():
    out = xp.zeros(1, xp.float32)

    def work():
        with Branch() as side:
            out[...] *= 5
        out[...] += 1
        side.join()

    assert {result[0] for result in replays(work, out)} == {6, 10}


@cpu_only
def test_memory_that_one_stream_lets_go_while_another_reads_it_is_seen():
    """A temporary of the main stream, read by the side: freed too early, it is handed out again."""
    out = xp.zeros(3, xp.float32)

    def work():
        temporary = out * 2
        with Branch() as side:
            out[...] = temporary
        del temporary
        xp.full(3, 9, xp.float32)
        side.join()

    assert {result[0] for result in replays(work, out)} == {2, 9}


def test_a_branch_that_is_not_joined_is_refused():
    out = xp.zeros(3, xp.float32)

    def work():
        with Branch():
            out[...] += 1

    with pytest.raises(CaptureError):
        CapturedWork(work)
    still_works()


def test_a_branch_outside_of_a_capture_is_a_plain_block():
    out = xp.zeros(1, xp.float32)
    with Branch() as side:
        out += 1
    side.join()
    assert float(out[0]) == 1


@cpu_only
def test_an_error_inside_a_branch_leaves_the_current_stream():
    from tutorial_lib.reference import streams

    before = streams.current_stream()
    with pytest.raises(KeyError), Branch():
        raise KeyError
    assert streams.current_stream() is before
