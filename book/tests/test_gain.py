"""The figure of the gain over K is what its generator makes of the record."""

from xml.etree import ElementTree

import pytest

import gain
from tutorial_lib import results

SVG = gain.PICTURE.read_text()
ROWS = {
    (row["epilog"], row["arithmetic"], row["m"], row["n"], row["k"]): row
    for row in results.load("fusion")["points"]
}


def median(*case):
    return ROWS[case]["one kernel"][1] / ROWS[case]["fused"][1]


def test_the_committed_picture_is_what_the_generator_makes():
    assert gain.picture() == SVG, "run python book/tools/gain.py"
    assert len(SVG) < 12_000


def test_the_place_where_the_gain_ends_lies_on_the_line_between_two_measured_ones():
    assert gain.falls_below({1: (0, 3, 0), 10: (0, 1.5, 0), 1000: (0, 0.5, 0)}, 1) == pytest.approx(
        100
    )
    before, after = (median("RELU_BIAS", "float32", 8192, 8192, k) for k in (2048, 4096))
    assert before > gain.LITTLE > after
    assert 2048 < gain.facts()["end"] < 4096


def test_a_curve_is_of_square_results_and_has_the_bounds_of_the_quartiles():
    times = {"one kernel": [8, 12, 18], "fused": [2, 3, 4]}
    shapes = [(8192, 8192, 16), (8192, 8192, 8), (8192, 256, 4), (256, 8192, 2), (8192, 256, 8)]
    rows = [dict(zip("mnk", shape)) | times for shape in shapes]
    assert list(gain.curve(rows).items()) == [(8, (2, 4, 9)), (16, (2, 4, 9))]


def test_the_picture_is_described_and_so_are_the_numbers_of_the_landing_page():
    root = ElementTree.fromstring(SVG)
    alt = root.find("{*}title").text
    page = (gain.TOOLS.parent / "index.md").read_text()
    assert f":alt: {alt}\n" in page
    for arithmetic in ("float32", "tf32", "bfloat16"):
        for epilog in ("RELU_BIAS", "RELU_AUX_BIAS"):
            first, last = (median(epilog, arithmetic, 8192, 8192, k) for k in (8, 8192))
            assert f"{first:.2f} to {last:.2f}" in alt
    layer = {m: median("RELU_AUX_BIAS", "float32", m, 256, 784) for m in (30, 8192)}
    assert f"{layer[30]:.2f} with 30 units, {layer[8192]:.2f} with 8,192" in alt
    gains = gain.facts()["curves"]
    for arithmetic in ("float32", "tf32", "bfloat16"):  # "always gains", "begins as a loss"
        assert min(low for low, *_ in gains["RELU_BIAS", arithmetic].values()) > 0.97
        assert min(at for _, at, _ in gains["RELU_BIAS", arithmetic].values()) > 1
    for arithmetic in ("float32", "tf32"):
        assert max(at for _, at, _ in list(gains["RELU_AUX_BIAS", arithmetic].values())[:-1]) < 1
