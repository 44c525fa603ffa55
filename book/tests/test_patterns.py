"""The page of patterns: its code runs, top to bottom, and its speeds are those of the record."""

import re

import pytest

from tutorial_lib import results
from tutorial_lib.benchmarks import profiler

PAGE = (results.RESULTS.parent / "patterns.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
FUSION = results.load("fusion")
CALLS = {tuple(row.values())[:5]: row for row in FUSION["points"]}
MASKED = "RELU_AUX_BIAS", "RELU_BIAS"  # with a mask, and without
FULL, HALF = ("float32", "tf32"), ("float16", "bfloat16")
SECTIONS = re.split(r"^## ", PAGE, flags=re.M)[1:]


def test_the_code_runs_from_top_to_bottom():
    namespace = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"patterns.md, code block {number}", "exec"), namespace)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.partition("\n")[0])
def test_each_pattern_says_when_what_it_costs_and_what_it_prevents(section):
    assert section.count("```python") == 1
    for part in ("**When.**", "**Cost.**", "**Without it**", "**Derived in**"):
        assert section.count(part) == 1
    assert "{doc}`chapter " in section.partition("**Derived in**")[2]


def test_every_speed_is_in_the_record():
    epochs = results.load("published_h200")["epoch_milliseconds"]
    del epochs["statistic"]
    recorded = {str(ms) for by_width in epochs.values() for ms in by_width.values()}
    for name in ("update in the matmul", "captured epoch"):
        recorded.add(f"{results.milliseconds(results.load('ladder'), name, 30):.3g}")
    stated = re.findall(r"([\d.,]+)\s+ms\b", PAGE)
    assert stated
    assert set(stated) <= recorded
    fused, naive = (epochs[f"images on the GPU, {n} network"]["30"] for n in ("fused", "naive"))
    (overhead,) = re.findall(r"about (\d+) microseconds", PAGE)
    assert overhead == str(round(1000 * (fused - naive) / 234 / 5))


def gain(arithmetic, epilog, m, n, k):
    row = CALLS[arithmetic, epilog, m, n, k]
    return row["one kernel"][1] / row["fused"][1]


def microseconds(arithmetic, epilog, form="fused", m=8192, n=256, k=784):
    low, median, high = CALLS[arithmetic, epilog, m, n, k][form]
    assert high - median < 0.01 * median > median - low  # as the page says
    return median


def pairs(arithmetic, m, n):
    """Forward and backward together: with the mask, and without it."""
    forms = zip(MASKED, ("fused", "from the result"))
    return [
        CALLS[arithmetic, epilog, m, n, 784]["fused"][1]
        + CALLS[arithmetic, "DRELU_BGRAD", m, n, 10][form][1]
        for epilog, form in forms
    ]


def test_every_time_of_a_call_is_in_the_record():
    expected = [
        microseconds("float32", "RELU_BIAS", form, m)
        for m in (30, 8192)
        for form in ("calls", "fused")
    ]
    expected.append(FUSION["operands"]["CuPy"][1])
    square = [
        microseconds("float32", "RELU_BIAS", form, 8192, 8192, 64)
        for form in ("one kernel", "matmul")
    ]
    expected.append(square[0] - square[1])
    expected += [2 * width * 8192**2 / 3.35e6 for width in (4, 2)]  # read and written once
    calls = [(a, epilog) for a in ("bfloat16", "float32", "tf32") for epilog in MASKED]
    expected += [microseconds(*call) for call in calls]
    expected += [us for arithmetic in FULL for us in reversed(pairs(arithmetic, 8192, 256))]
    expected += reversed(pairs("tf32", 512, 8192))
    for m, n in ((512, 8192), (8192, 512)):
        whole, product = (
            microseconds("tf32", "DRELU_BGRAD", form, m, n, 10)
            for form in ("from the result", "matmul")
        )
        expected.append(whole - product)
    for form in ("fused", "matmul", "one kernel"):
        expected.append(microseconds("float32", "DRELU_BGRAD", form, k=10))
    stated = re.findall(r"([\d.]+)\s+µs", re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S))
    assert stated == [f"{us:.3g}" for us in expected]


def test_every_gain_is_in_the_record():
    shapes = [(8192, 8192, k) for k in (8, 64, 1024, 4096)]
    expected = [gain("float32", "RELU_BIAS", *shape) for shape in shapes]
    for m in (8192, 30):
        expected += [gain(a, "RELU_BIAS", m, 256, 784) for a in ("float32", "tf32", "bfloat16")]
    ratios = {}  # of the pair with the mask to that without, by what the page tells apart
    for arithmetic, _, m, n, k in [case for case in CALLS if case[1] == "DRELU_BGRAD"]:
        if (k, m >= 512) == (10, True):
            width = 8192 if m >= 8192 else 2048 if m >= 2048 else 512
            large = n >= {512: 1024, 2048: 2048}.get(width, 0)
            with_mask, without = pairs(arithmetic, m, n)
            found = ratios.setdefault((width, arithmetic in FULL, large), [])
            found.append(with_mask / without)
    for full in (True, False):
        expected += [min(ratios[8192, full, True]), max(ratios[8192, full, True])]
    slowest = ratios[2048, True, False] + ratios[2048, True, True]
    assert 1 / 1.02 < min(slowest) < 1 / 1.01
    expected.append(max(slowest))
    for found in (ratios[2048, False, True], ratios[512, True, True] + ratios[512, False, True]):
        expected += [1 / max(found), 1 / min(found)]
    assert sum(map(len, ratios.values())) == 4 * 36
    back = [case for case in CALLS if case[:2] == ("float32", "DRELU_BGRAD") and case[4] == 10]
    for wide in (False, True):
        found = [gain(*case) for case in back if (case[2] > 4096) == wide]
        expected += [min(found), max(found)]
    stated = re.findall(r"\b(\d\.\d\d)\b(?!\s+µs)", PAGE)
    assert stated == [f"{each:.2f}" for each in expected]


def test_words_about_kernels_hold_in_the_record():
    counts, narrow = {}, {}
    for call in results.load("kernels")["calls"]:
        found = [(kernel["name"], 0) for kernel in call["kernels"]]
        if call["epilog"] in ("DRELU_BGRAD", "DGELU_BGRAD"):
            assert profiler.count(found) == 2
        if (call["m"], call["k"], call["arithmetic"]) == (30, 784, "bfloat16"):
            narrow[call["epilog"]] = [profiler.role(name) for name, _ in found]
        if (call["m"], call["n"], call["k"]) == (8192, 256, 784):
            counts.setdefault(call["epilog"], {})[call["arithmetic"]] = profiler.count(found)
    half, full = {"float16": 1, "bfloat16": 1}, {"float32": 2, "tf32": 2}
    assert set(counts["RELU_BIAS"].values()) == {1}
    for epilog in ("RELU_AUX", "RELU_AUX_BIAS", "GELU_BIAS", "GELU"):
        assert counts[epilog] == half | full
    for epilog in ("BGRADA", "BGRADB"):
        assert counts[epilog] == full | {"float16": 1, "bfloat16": 2}
    assert [narrow[None], narrow["RELU_BIAS"]] == [["product"], ["product", "split-K sum"]]
