"""The ring by hand, the cost model, and the record of the scaling benchmark."""

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib import MnistNet, results
from tutorial_lib.distributed.cost import Machine, Ring, fit, gradient_bytes
from tutorial_lib.distributed.ranks import torchrun
from tutorial_lib.distributed.ring import ring_all_reduce
from tutorial_lib.networks.base import step_flops


@given(ranks=st.integers(1, 7), n=st.integers(0, 20), seed=st.integers(0, 99))
def test_the_ring_leaves_the_sum_everywhere_and_sends_one_chunk_at_a_time(ranks, n, seed):
    arrays = list(np.random.default_rng(seed).integers(-9, 9, (ranks, n)))
    before, total, steps = np.stack(arrays), sum(arrays), 0
    for steps, _ in enumerate(ring_all_reduce(arrays), start=1):  # noqa: B007
        assert ((np.stack(arrays) != before).sum(axis=1) <= -(-n // ranks)).all()
        before = np.stack(arrays)
    assert steps == 2 * (ranks - 1)
    for array in arrays:
        np.testing.assert_array_equal(array, total)


def test_counts_are_those_of_the_network():
    with MnistNet(784, 30, 10) as model:
        elements = sum(parameter.size for parameter in model.parameters)
    assert gradient_bytes(30) == 4 * (elements + 1)
    products = [(30, 784), (10, 30), (10, 30), (30, 10), (30, 784)]
    assert step_flops(30, 256) == 2 * 256 * sum(rows * columns for rows, columns in products)


def test_fit_finds_the_ring_that_made_the_times():
    ring = Ring(hop=1.0, bandwidth=10.0, start=5.0)
    assert [ring.seconds(p, 100) for p in (1, 2, 4)] == [0, 5 + 2 * (1 + 5), 5 + 6 * (1 + 2.5)]
    ring = Ring(hop=3e-6, bandwidth=2e9)
    ranks, sizes = zip(*[(p, size) for p in (2, 4) for size in (4, 4096, 10**7)])
    found = fit(ranks, sizes, list(map(ring.seconds, ranks, sizes)))
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
    """What the figures and tables of the chapter read."""
    assert {"engine", "hardware", "machine", "net", "date"} <= set(record)
    for point in record["all_reduce"] + record["steps"]:
        low, high = point["quartiles"]
        assert 0 < low <= point["median"] <= high
    points = {(p["ranks"], p["width"], p["batch_per_rank"], p["mode"]) for p in record["steps"]}
    assert len(points) == len(record["steps"])
    for width, batch in {(width, batch) for ranks, width, batch, _ in points if ranks == 1}:
        parts = product([2], [width], [batch // 2, batch], ["compute", "exchange", "overlap"])
        assert {(1, width, batch, "compute"), *parts} <= points
    assert {point["ranks"] for point in record["all_reduce"]} == {2}


def test_the_benchmark_measures_and_writes_what_the_chapter_reads(tmp_path):
    torchrun(2, "tutorial_lib.tests.rank", "small_scaling", tmp_path, "gloo", 60, check=True)
    (path,) = tmp_path.iterdir()
    assert path.stem.startswith("scaling_gloo_")
    record = json.loads(path.read_text())
    check(record)
    assert len(record["steps"]) == 7


def test_the_stored_records_are_whole():
    for path in results.RESULTS.glob("scaling*.json"):
        record = results.load(path.stem)
        assert record["engine"] in path.stem or path.stem == "scaling"
        check(record)
