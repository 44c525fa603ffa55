"""The ring by hand, the cost model, and the record of the scaling benchmark."""

import json
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib import MnistNet, results
from tutorial_lib.distributed import scaling
from tutorial_lib.distributed.cost import Machine, Ring, fit, gradient_bytes, step_flops
from tutorial_lib.distributed.ring import ring_all_reduce


@given(ranks=st.integers(1, 7), n=st.integers(0, 20), seed=st.integers(0, 99))
def test_the_ring_leaves_the_sum_everywhere(ranks, n, seed):
    arrays = list(np.random.default_rng(seed).integers(-9, 9, (ranks, n)))
    total = sum(arrays)
    assert list(ring_all_reduce(arrays)) == list(range(2 * (ranks - 1)))
    for array in arrays:
        np.testing.assert_array_equal(array, total)


def test_the_ring_sends_one_chunk_per_rank_and_step():
    arrays = [np.arange(1, 9) * 10**rank for rank in range(4)]
    before = [array.copy() for array in arrays]
    for _ in ring_all_reduce(arrays):
        assert [int((x != y).sum()) for x, y in zip(arrays, before)] == [2] * 4
        before = [array.copy() for array in arrays]


def test_counts_are_those_of_the_network():
    with MnistNet(784, 30, 10) as model:
        elements = sum(parameter.size for parameter in model.parameters)
    assert gradient_bytes(30) == 4 * (elements + 1)
    products = [(30, 784), (10, 30), (10, 30), (30, 10), (30, 784)]
    assert step_flops(30, 256) == 2 * 256 * sum(rows * columns for rows, columns in products)


def test_the_time_of_a_ring():
    ring = Ring(hop=1.0, bandwidth=10.0, start=5.0)
    assert ring.seconds(1, 100) == 0
    assert ring.seconds(2, 100) == 5 + 2 * (1 + 5)
    assert ring.seconds(4, 100) == 5 + 6 * (1 + 2.5)


def test_fit_finds_the_ring_that_made_the_times():
    ring = Ring(hop=3e-6, bandwidth=2e9)
    points = [(p, size) for p in (2, 4) for size in (4, 4096, 10**7)]
    ranks, sizes = zip(*points)
    found = fit(ranks, sizes, [ring.seconds(*point) for point in points])
    assert found.hop == pytest.approx(ring.hop)
    assert found.bandwidth == pytest.approx(ring.bandwidth)


def test_what_two_gpus_gain():
    ring = Ring(hop=0.0, bandwidth=4e11)
    machine = Machine(rate=4e13, host=1e-3, ring=ring)
    assert machine.speedup(2, 1, 256) == 1, "the host sets the pace"
    assert machine.width_that_pays(2, 10) is None, "more bytes than arithmetic, at any width"
    width = machine.width_that_pays(2, 4096)
    assert machine.speedup(2, width, 4096) > 1 == machine.speedup(2, width - 1, 4096)
    compute = step_flops(8192, 4096) / 4e13
    share = compute / (compute + ring.seconds(2, gradient_bytes(8192)))
    assert machine.efficiency(2, 8192, 4096) == pytest.approx(share)


def check(record):
    for point in record["all_reduce"]:
        assert point["ranks"] > 1
        assert 0 < point["quartiles"][0] <= point["median"] <= point["quartiles"][1]
    points = {(p["ranks"], p["width"], p["batch_per_rank"], p["mode"]) for p in record["steps"]}
    assert len(points) == len(record["steps"])
    assert {mode for *_, mode in points} == {"compute", "exchange", "overlap"}
    return points


def test_the_benchmark_writes_what_its_ranks_found(monkeypatch, tmp_path):
    plans = {}

    def launch(ranks, plan):
        plans[ranks] = plan
        return {"engine": "gloo", "all_reduce": [], "steps": [{"ranks": ranks}]}

    monkeypatch.setattr(scaling, "launch", launch)
    monkeypatch.setattr("tutorial_lib.benchmarks.record.RESULTS", tmp_path)
    path = scaling.main(["--batches", "64", "100", "--ranks", "1", "2"])
    record = json.loads(path.read_text())
    assert path.stem.startswith("scaling_gloo_")
    assert record["steps"] == [{"ranks": 1}, {"ranks": 2}]
    assert plans[1]["batches"] == [64, 100]
    assert plans[2]["batches"] == [32, 50, 64, 100]


@pytest.mark.parametrize(
    "options",
    [
        *[[f"--{name}", n] for name in ("repeats", "widths", "ranks", "batches") for n in "0x"],
        ["--repeats", "1"],
        ["--bytes", "0"],
        ["--bytes", "4", "6"],
        ["--widths", "30", "-1"],
        ["--widths"],
        ["--net", "tuned"],
        ["--engine", "mpi"],
        ["--batches", "64", "--ranks", "1", "3"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_measured_is_refused_before_any_rank_starts(options, capsys, monkeypatch):
    monkeypatch.setattr(scaling, "launch", lambda *_: pytest.fail("has started"))
    with pytest.raises(SystemExit) as end:
        scaling.main(options)
    assert end.value.code == 2
    assert "scaling: error: " in capsys.readouterr().err


def test_ranks_that_fail_leave_one_message_and_no_record(monkeypatch, tmp_path):
    def launch(*_):
        raise subprocess.CalledProcessError(1, "torchrun")

    monkeypatch.setattr(scaling, "launch", launch)
    monkeypatch.setattr("tutorial_lib.benchmarks.record.RESULTS", tmp_path)
    with pytest.raises(SystemExit, match="error: 2 ranks did not finish"):
        scaling.main(["--ranks", "2"])
    assert not list(tmp_path.iterdir())


def test_the_stored_records_are_whole():
    for path in results.RESULTS.glob("scaling*.json"):
        record = results.load(path.stem)
        assert record["engine"] in path.stem or path.stem == "scaling"
        points = check(record)
        assert {ranks for ranks, *_ in points} >= {1, 2}
