"""The cost model, and the record of the scaling benchmark."""

import json
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib import MnistNet, results, xp
from tutorial_lib.distributed import scaling
from tutorial_lib.distributed.cost import (
    Protocols,
    Ring,
    fit,
    gradient_bytes,
    logit_bytes,
    predicted,
)
from tutorial_lib.distributed.ranks import torchrun
from tutorial_lib.tests.lesson import lesson

ring_all_reduce = lesson(12, "ring_all_reduce")


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
        assert gradient_bytes(30) == sum(parameter.nbytes for parameter in model.parameters)
        assert logit_bytes(7) == model.forward(xp.zeros((7, 784), dtype=xp.float32)).nbytes


def test_fit_finds_the_rings_that_made_the_times():
    ring = Ring(hop=1.0, bandwidth=10.0, start=5.0)
    assert [ring.seconds(p, 100) for p in (1, 2, 4)] == [0, 5 + 2 * (1 + 5), 5 + 6 * (1 + 2.5)]
    rings = Ring(3e-6, 2e9, 1e-6), Ring(5e-6, 9e9, 1e-6), Ring(2e-5, 2e11, 1e-6)
    ranks, sizes = zip(*product((2, 4), [2**k for k in range(8, 28)]))
    link = Protocols(rings)
    found = fit(ranks, sizes, list(map(link.seconds, ranks, sizes)), 3)
    for one, other in zip(found.rings, rings):
        assert vars(one) == pytest.approx(vars(other))
    found = fit([2] * 3, [64, 640, 6400], [Ring(1e-6, 1e9).seconds(2, s) for s in (64, 640, 6400)])
    assert vars(found.rings[0]) == pytest.approx({"hop": 1e-6, "bandwidth": 1e9, "start": 0})
    with pytest.raises(ValueError, match="3 protocols cannot be told apart by 4 points"):
        fit([2] * 4, [1, 2, 3, 4], [1, 2, 3, 4], 3)


def test_a_step_is_predicted_from_a_share_alone_and_what_travels():
    link = Protocols((Ring(hop=1.0, bandwidth=1e4),))
    alone = {("data", 512, 128): 100.0, ("none", 256, 256): 90.0}
    found = predicted(alone, link, "data", 2, 512, 256)
    assert found == pytest.approx(100 + 2 * (1 + gradient_bytes(512) / 2 / 1e4))
    found = predicted(alone, link, "tensor", 2, 512, 256)
    assert found == pytest.approx(90 + 2 * (1 + 10240 / 2 / 1e4))


def check(rows):
    """What the figures and tables of the chapter read."""
    for point in rows["all_reduce"] + rows["steps"]:
        low, high = point["quartiles"]
        assert 0 < low <= point["median"] <= high
    keys = "parallel", "ranks", "width", "batch"
    points = {tuple(p[key] for key in keys) for p in rows["steps"]}
    shares = [point for point in points if point[0] in ("data", "tensor") and point[1] > 1]
    assert shares
    for parallel, ranks, width, batch in shares:
        share = (width // ranks, batch) if parallel == "tensor" else (width, batch // ranks)
        assert {
            ("none", 1, *share),
            ("data", 1, *share),
            ("overlap", ranks, width, batch),
        } <= points
    sums = {(p["ranks"], p["arrays"], p["captured"]) for p in rows["all_reduce"]}
    assert sums == set(product({p[1] for p in shares}, (1, 4), (True, False)))


def test_the_benchmark_measures_what_the_chapter_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_BACKEND", "cpu")
    torchrun(2, "tutorial_lib.tests.rank", "small_scaling", tmp_path, "gloo", 60, check=True)
    rows = json.loads((tmp_path / "rows.json").read_text())
    check(rows)
    kinds = Counter(point["parallel"] for point in rows["steps"])
    assert kinds == {"none": 4, "data": 6, "overlap": 2, "tensor": 2, "pieces": 1, "torch": 2}


def test_the_benchmark_writes_one_record_of_all_numbers_of_ranks(monkeypatch, tmp_path):
    rows = {"steps": [{"ranks": 1}], "all_reduce": []}

    def torchrun(size, module, path, engine, check):
        path.write_text(json.dumps(rows | {"all_reduce": [size]}), encoding="utf-8")

    monkeypatch.setattr(scaling, "torchrun", torchrun)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    scaling.main([2, 4])
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert record["all_reduce"] == [2, 4]
    assert set(record["sources"]) == set(scaling.SOURCES)


@pytest.mark.parametrize("path", results.RESULTS.glob("scaling*.json"), ids=lambda path: path.stem)
def test_the_stored_records_are_whole(path):
    record = results.load(path.stem)
    assert (record["engine"] in path.stem) != (path.stem == "scaling")
    check(record)
