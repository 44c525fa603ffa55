"""Captured work, wherever it runs: what is replayed, what is refused, what a failure leaves."""

import functools
import gc
import weakref
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest

from tutorial_lib import Matmul, backend, graphs, xp
from tutorial_lib.backend import random, to_numpy
from tutorial_lib.graphs import Branch, CapturedWork, CaptureError, captured_time
from tutorial_lib.timing import Times

cpu_only = pytest.mark.skipif(backend.name == "gpu", reason="models what a GPU does")


def array(*shape):
    return xp.asarray(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


X, MASK, ROWS, ANY = array(4, 4), xp.ones(4, bool), xp.asarray([3, 0, 2, 2]), array(4)
COLUMN_MAJOR, CUBE, INTS = xp.asfortranarray(array(4, 4)), array(2, 2, 2), xp.arange(4)


def written_in_place(x):
    fresh = xp.zeros(4, xp.float32) + xp.arange(4, dtype=xp.float32)
    fresh += xp.ones(4, xp.float32)
    fresh[1:3] = 7
    fresh[...] *= x[0]
    xp.asarray(x)[0] = 1  # no copy: written into x
    copied = xp.array(x)
    copied[1] = 1
    return x + copied + fresh + ANY * 2  # the latter has no x in it


class Holder:
    """Arrays in an object's containers."""

    def __init__(self):
        self.x, self.pair, self.named = array(4), (ANY, [ANY[1:]]), {"y": ANY}

    def add(self, x):
        return self.pair[0] + self.pair[1][0][0] + self.named["y"] + x

    def bind(self):
        self.x = self.x * 2


HOLDER = Holder()


def unjoined():
    with Branch():
        xp.add(X, 1)


REPLAYED = {
    "arithmetic": lambda x: 2 * xp.maximum(x, 0)[::-1],
    "indices": lambda x: x[ROWS].copy() * 2,
    "methods": lambda x: x.T.reshape(4, 4)[1].astype(xp.float64),
    "scalars": lambda x: x[2, 3] + x.argmax() + x.ravel()[-1] + x.sum() + x.max(),
    "new arrays": lambda x: xp.full((4, 4), 4, xp.float32) + xp.eye(4) + INTS + x,
    "dense": lambda x: xp.ascontiguousarray(x.T).T * xp.arange(1, 5),
    "a row, column-major": lambda x: xp.asfortranarray(X[:1]) * x,
    "a copy in another order": lambda x: x.copy(order="F"),
    "no geam": lambda x: xp.asfortranarray(COLUMN_MAJOR) + xp.asfortranarray(CUBE)[0, 0, 0] * x,
    "no geam of integers": lambda x: xp.asfortranarray(INTS.reshape(2, 2))[0, 1] * x,
    "a global": lambda x: ANY * x,
    "a method": HOLDER.add,
    "a partial function": functools.partial(xp.add, ANY),
    "in place, by a function of this module": lambda x: written_in_place(x),
}


@pytest.mark.parametrize("what", REPLAYED)
def test_a_replay_computes_anew_from_the_memory_as_it_is(what):
    compute, x, out = REPLAYED[what], array(4, 4), xp.zeros((4, 4), xp.float32)
    graph = CapturedWork(lambda: out.__setitem__(..., compute(x)))
    for _ in range(3):
        x[...], ANY[...], out[...] = array(4, 4) * x * -1.5, ANY - 0.5, -1
        expected = to_numpy(xp.broadcast_to(compute(x.copy()), out.shape))
        graph.replay()
        np.testing.assert_allclose(to_numpy(out), expected, rtol=1e-6)
    assert {type(y) for y in (ANY, *HOLDER.pair[1], HOLDER.named["y"])} == {xp.ndarray}


@cpu_only  # a GPU runs the work once more
def test_what_the_work_binds_anew_stays_bound_and_is_an_array_like_any_other():
    holder = Holder()
    expected = to_numpy(holder.x) * 4
    CapturedWork(holder.bind)
    assert holder.x.tolist() == expected.tolist()


def test_the_work_runs_twice_and_a_replay_runs_no_python():
    count, scale, calls = xp.zeros((), xp.float32), xp.zeros((), xp.float32), []

    def work():
        calls.append(1)
        count[...] += 1
        scale[...] = len(calls)  # a number of Python's: the graph has it as it was

    graph = CapturedWork(work)
    assert float(count) == 2
    runs = len(calls)
    for done in (3, 4):
        graph.replay()
        assert (float(count), float(scale), len(calls)) == (done, 2, runs)


@cpu_only
def test_memory_that_nobody_wrote_holds_no_number_that_could_be_meant():
    floats, ints = xp.zeros(3, xp.float32), xp.zeros(3, int)
    CapturedWork(lambda: floats.__setitem__(..., xp.empty(3, xp.float32)))
    CapturedWork(lambda: ints.__setitem__(..., xp.empty_like(ints)))
    assert (np.isnan(floats) & (ints == 77)).all()


def test_captured_time_is_the_best_of_three_by_the_number_of_calls(monkeypatch):
    count = xp.zeros((), xp.float32)
    timed = Times(np.array([4.0, 2.0, 3.0]))
    monkeypatch.setattr(graphs, "measure", lambda replay, **_: replay() or timed)
    assert captured_time(lambda: count.__iadd__(1), repeats=5) == 2 / 5
    assert float(count) == 3 * 5


REFUSED = {
    "@": lambda: X @ X,
    "dot": lambda: xp.dot(X, X),
    "method dot": lambda: X.dot(X),
    "matmul": lambda: xp.matmul(X, X, out=X.copy()),
    "inverse": lambda: xp.linalg.inv(X),
    "geam": lambda: xp.asfortranarray(X),
    "float": lambda: float(X[0, 0]),
    "int": lambda: int(X.sum()),
    "bool": lambda: bool(X[0, 0] > 0),
    "item": lambda: X[0, 0].item(),
    "to_numpy": lambda: to_numpy(X),
    "format": lambda: f"{X.sum():.3f}",
    "repr": lambda: repr(X),
    "mask": lambda: X[MASK],
    "nonzero": lambda: xp.nonzero(X),
    "synchronize": backend.synchronize,
    "a list": lambda: X * xp.asarray([1, 2, 3, 4]),
    "random": lambda: random.uniform(0, 1, 3, dtype=xp.float32),
    "another random": lambda: xp.random.random_sample(3),
    "plan": lambda: Matmul(X, X).plan(),
    "stateless": lambda: backend.matmul(X, X),
    "a branch without join": unjoined,
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


@cpu_only
def test_a_graph_whose_matmul_was_freed_says_so():
    out, mm = xp.zeros((4, 4), xp.float32), Matmul(X, X)
    mm.plan()
    graph = CapturedWork(lambda: out.__setitem__(..., mm.execute()))
    mm.free()
    with pytest.raises(Exception, match="freed"):
        graph.replay()


@pytest.mark.parametrize("run", [1, 2])
@pytest.mark.parametrize("collecting", [True, False])
def test_an_error_of_the_work_comes_out_as_itself_and_no_garbage_is_collected(run, collecting):
    runs = []

    def work():
        xp.multiply(X, 2)
        runs.append(gc.isenabled())
        if len(runs) == run:
            raise KeyError("mine")

    (gc.enable if collecting else gc.disable)()
    with pytest.raises(KeyError, match="mine"):
        CapturedWork(work)
    assert (type(X), gc.isenabled()) == (xp.ndarray, collecting)
    gc.enable()
    assert runs == [collecting, False][:run]  # not in the middle of a capture
    still_works()


def test_a_graph_that_is_freed_lets_go_of_its_memory_at_once():
    out, held = xp.zeros(1, xp.float32), []

    def work():
        big = xp.ones(1 << 22, xp.float32)
        held[:] = [weakref.ref(big)]
        out[...] = big[:1]

    graph = CapturedWork(work)
    assert held[0]() is not None if backend.name == "cpu" else graph.pool.total_bytes() > 1 << 23
    graph.free()
    assert held[0]() is None if backend.name == "cpu" else graph.pool.total_bytes() == 0


def ordered(out):
    x = out * 3
    with Branch() as first:
        x += 1  # after the line before
    with Branch() as second:
        x *= 2  # after the first: one stream for all branches
    first.join()
    second.join()
    out[...] = x * 10  # after the branches


def race(out):
    with Branch() as side:
        out[...] *= 5
    out[...] += 1
    side.join()


def temporary_that_is_let_go(out):
    """A temporary of the main stream, read by the side: freed too early, it is handed out again."""
    temporary = out * 2
    with Branch() as side:
        out[...] = temporary
    del temporary
    xp.full(2, 9, xp.float32)
    side.join()


ORDERS = {ordered: {80}}
if backend.name == "cpu":
    ORDERS |= {race: {6, 10}, temporary_that_is_let_go: {2, 9}}


@pytest.mark.parametrize("work", ORDERS)
def test_what_depends_on_the_order_of_two_streams_is_seen_to_vary(work):
    out, results = xp.zeros(2, xp.float32), set()
    graph = CapturedWork(lambda: work(out))
    for _ in range(4):
        out[...] = 1
        graph.replay()
        results.add(float(out[0]))
    assert results == ORDERS[work]


def test_a_branch_outside_of_a_capture_is_a_plain_block_and_an_error_leaves_the_stream():
    out = xp.zeros(1, xp.float32)
    with Branch() as before:
        out += 1
    before.join()
    assert float(out[0]) == 1
    with pytest.raises(KeyError), Branch():
        raise KeyError
    with Branch() as after:
        pass
    assert after.main == before.main


@cpu_only
def test_on_a_gpu_a_capture_calls_only_what_cupy_has(monkeypatch):
    """CuPy's own classes say which calls exist; what they do, only a GPU can show."""
    cuda = create_autospec(pytest.importorskip("cupy").cuda)
    stream = cuda.Stream.return_value
    stream.__enter__.return_value = cuda.get_current_stream.return_value = stream
    monkeypatch.setattr(graphs, "xp", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(graphs, "stream_for", graphs.stream_for.__wrapped__)  # none is kept
    monkeypatch.setattr(backend, "synchronize", lambda: None)
    monkeypatch.setattr(backend, "name", "gpu")
    calls = []
    graph = CapturedWork(lambda: calls.append(1))
    graph.replay()
    graph.pool.free_all_blocks.assert_not_called()
    graph.free()
    graph.pool.free_all_blocks.assert_called_once_with()
    with Branch() as side:
        calls.append(2)
    side.join()
    assert calls == [1, 1, 1, 2]
    stream.begin_capture.assert_called_once_with()
    stream.end_capture.assert_called_once_with()
