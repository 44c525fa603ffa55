"""What each figure draws, for numbers whose picture is known; and the book's drawings."""

import json
import re
from collections import Counter
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from tutorial_lib import plotting, results, xp
from tutorial_lib.kernels import launches
from tutorial_lib.plotting import grids
from tutorial_lib.plotting.style import BLUE, GREY, ORANGE, styled
from tutorial_lib.reference.epilogs import mask_shape
from tutorial_lib.tests.lesson import lesson

DRAWINGS = sorted((Path(__file__).parents[2] / "book/_static/drawings").glob("*.svg"))


class Answers:
    """A network that is as sure of digit 3 as the first pixel of an image says, else of 7."""

    weights_hidden = xp.arange(2 * 784.0).reshape(2, 784) - 1000

    def forward(self, images):
        result = xp.full((len(images), 10), 0.01)
        result[:, 3], result[:, 7] = images[:, 0], 1 - images[:, 0]
        return result


IMAGES = xp.asarray(np.arange(2 * 784.0).reshape(2, 784))
COUNTS = np.array([[90, 10, 0], [5, 80, 7], [0, 6, 70]])
MASK = xp.asarray([[0b10000001], [0b00000101]], xp.uint8)
RATIOS = {30: {64: 1.5, 256: 1.0, 1024: 0.5}, 512: {64: 0.9, 256: 0.8, 1024: 0.1}}
POINTS = {"f": {"large": [(10, 3e12)], "small": [(2, 1e12)]}, "t": {"": [(40, 6e13), (70, 9e13)]}}
QUARTILES = [[1, 1, 3.01], [1, 2, 3.01], [1, 4, 3.01]]
CLOSE = {"a": QUARTILES, "b": [9, 2, 3], "a long name of two lines": [1, 1, 3.02]}

FACTS = {
    "words": lambda axis: [text.get_text() for text in axis.texts if text.get_text()],
    "titles": lambda axis: [axis.get_title()] if axis.images else [],
    "x": lambda axis: [x for line in axis.lines for x in line.get_xdata()],
    "y": lambda axis: [y for line in axis.lines for y in line.get_ydata()],
    "band": lambda axis: sorted({y for _, y in axis.collections[0].get_paths()[0].vertices}),
    "lefts": lambda axis: [box.get_x() for box in axis.patches if box.get_height()],
    "widths": lambda axis: [box.get_width() for box in axis.patches if box.get_height()],
    "tops": lambda axis: [x.get_y() + x.get_height() for x in axis.patches if x.get_height()],
    "colors": lambda axis: [to_hex(b.get_facecolor()) for b in axis.patches if b.get_height()],
    "shares": lambda axis: axis.patches[0].get_data().values,
    "cells": lambda axis: axis.collections[0].get_array().ravel(),
    "edges": lambda axis: [*np.ravel([e.get_segments()[0] for e in axis.collections[1:]])],
    "spans": lambda axis: [
        x
        for bars in axis.collections
        for bar in bars.get_paths()
        for x in (min(bar.vertices[:, 0]), max(bar.vertices[:, 0]))
    ],
    "lanes": lambda axis: [to_hex(bars.get_facecolor()[0]) for bars in axis.collections],
    "x axis": lambda axis: [axis.get_xlabel()],
    "inks": lambda axis: [text.get_color() for text in axis.texts],
    "pixels": lambda axis: [image.get_array()[0, 0] for image in axis.images],
    "blue": lambda axis: [to_hex(image.to_rgba(1000)) for image in axis.images],
    "limits": lambda axis: [*axis.get_xlim()],
    "faces": lambda axis: [to_hex(face) for face in axis.collections[0].get_facecolors()],
    "scale": lambda axis: [
        x for one in axis.collections[:1] or axis.images for x in one.get_clim()
    ],
}
# The function, its arguments and keywords, and the facts of all its axes, one after the other.
# fmt: off
FIGURES = [
    ("bars", [["30", "512"], {"f": [2, 4.5], "n": [3, 5]}], {"labels": True}, {
        "words": ["2", "4.5", "3", "5"], "colors": [BLUE, BLUE, ORANGE, ORANGE],
        "tops": [2, 4.5, 3, 5], "lefts": [-0.388, 0.612, 0.012, 1.012]}),
    ("break_even", [RATIOS], {"title": "t"}, {
        "words": ["0.90", "0.80", "0.10", "1.50", "1.00", "0.50"],  # the widest on top
        "faces": [*3 * [BLUE], *2 * [ORANGE], BLUE], "scale": [0.5, 2],  # whatever the ratios
        "edges": [2, 1, 2, 2, 0, 1, 1, 1, 1, 1, 2, 1]}),
    ("confusion", [COUNTS], {}, {
        "words": [*map(str, COUNTS.ravel())], "cells": [0, 10, 0, 5, 0, 7, 0, 6, 0],
        "inks": [GREY, *4 * ["black", GREY]], "faces": 9 * [ORANGE]}),
    ("curves", [{"1": ([0, 1, 2], CLOSE), "2": ([0, 1], {"c": [5, 6]})}], {}, {
        "y": [1, 2, 3.01, 9, 2, 3, 1, 1, 3.02, 5, 6], "band": [1, 3.01, 4, 5, 6],
        "words": ["b", "a", "a long name of\ntwo lines", "c"]}),  # in the order of their ends
    ("digits", [IMAGES, ["a", "b"]], {}, {"titles": ["a", "b"], "pixels": [0, 784]}),
    ("flattening", [IMAGES[1]], {}, {
        "pixels": [784] * 3, "limits": [0, 28, 0, 784, 28 * 11, 28 * 15],
        "lefts": [0] * 4 + 2 * [308, 336, 364, 392], "tops": [12, 13, 14, 15] + [1] * 8}),
    ("histograms", [{"a": xp.asarray([0.0, 0, 0, 1])}], {}, {"shares": [0.75, *[0] * 62, 0.25]}),
    ("learning_curve", [{"ours": range(10, 21)}], {}, {
        "x": [*range(11), 9, 10], "y": [*range(10, 21), 14.5, 15.5], "words": ["ours"]}),
    ("logarithmic", [[1, 9, 99], {"e": [1e-3, 2, 0]}], {}, {"y": [1e-3, 2, np.nan]}),
    ("mask", [MASK], {"m": 10}, {"cells": [1, 0, 0, 0, 0, 0, 0, 1, 1, 0] + [2] * 6}),
    ("memory_order", [xp.asarray(COUNTS.T.copy()).T], {}, {
        "words": [*map(str, [*COUNTS.ravel(), *COUNTS.T.ravel()])],
        "cells": np.array([1, 1, 1, 2, 2, 2, 3, 3, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]) / -3,
        "faces": 18 * [BLUE]}),
    ("mistakes", [Answers()], {}, {
        "titles": ["3 (0)", "7 (3)", "3 (7)", "3 (5)"], "pixels": [0.95, 0.1, 0.8, 0.6]}),
    ("predictions", [Answers(), 2], {}, {"titles": ["3 (3)", "3 (5)"], "pixels": [0.9, 0.6]}),
    ("roofline", [POINTS], {"peaks": {"a": 6e13, "b": 3e14}, "bandwidths": {"c": 4e12},
                            "machine": "m"}, {
        "x": [1, 75, 15, 1000, 10, 2, 75, 1000, 40, 70], "words": ["c", "a", "large", "small", "b"],
        "y": [4, 300, 60, 60, 3, 1, 300, 300, 60, 90]}),
    ("timeline", [{"1": {"host": ([(0, 10), (20, 5)], "n"), "GPU": ([(4, 1)], "1 µs"),
                         "waiting for": ([(5, 1)], "")}}], {"unit": "s", "machine": "m"}, {
        "spans": [0, 10, 20, 25, 4, 5, 5, 6], "words": ["n", "1 µs"], "x axis": ["s | m"],
        "lanes": [ORANGE, BLUE, GREY]}),
    ("weights", [Answers()], {"limit": 9}, {
        "pixels": [-1000, -216], "blue": 2 * [BLUE], "scale": 2 * [-9, 9]}),
]
# fmt: on


@pytest.fixture(autouse=True)
def _two_batches_of_test_digits(monkeypatch):
    """No window opens; the first pixels say how sure `Answers` is of a 3."""
    plt.switch_backend("Agg")
    images = xp.zeros((2, 3, 784))
    images[:, :, 0] = xp.asarray([[0.9, 0.6, 0.8], [0.1, 0.95, 0.7]])
    labels = xp.asarray([[3, 5, 7], [3, 0, 3]])
    monkeypatch.setattr(grids, "get_loader", lambda train: iter(zip(images, labels)))
    yield
    plt.close("all")


@pytest.mark.parametrize(("name", "arguments", "options", "expected"), FIGURES)
def test_a_figure_shows_its_data_in_the_book_s_style(name, arguments, options, expected):
    before = dict(plt.rcParams)
    getattr(plotting, f"plot_{name}")(*arguments, **options)
    figure = plt.gcf()
    figure.canvas.draw()
    for fact, values in expected.items():
        found = [value for axis in figure.axes for value in FACTS[fact](axis)]
        assert found == pytest.approx(list(values), nan_ok=True), fact
    assert dict(plt.rcParams) == before  # the reader's own figures look as ever
    assert figure.get_layout_engine() is not None
    figure.savefig(svg := StringIO(), format="svg")
    assert figure.get_figwidth() == 4.5
    sizes = re.findall(r"font(?:-size)?: ([\d.]+)px", svg.getvalue())  # on 4.5 inches, 324 points
    assert bool(sizes) == ("<text" in svg.getvalue()) == (name != "weights")
    assert all(float(size) >= 9 for size in sizes), "what cannot be read on a phone"
    boxes = [t.get_window_extent() for axis in figure.axes for t in axis.texts if t.get_text()]
    for i, box in enumerate(boxes):  # no words upon others, none cut off
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert figure.bbox.padded(1).count_contains([box.min, box.max]) == 2


def test_every_figure_is_tested_and_the_colors_are_those_of_the_style_sheet():
    cycle = styled(lambda: plt.rcParams["axes.prop_cycle"].by_key()["color"])()
    assert [f"#{color.strip('#')}" for color in cycle] == [BLUE, ORANGE, GREY]
    assert {f"plot_{name}" for name, *_ in FIGURES} == {x for x in dir(plotting) if "plot_" in x}


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_described_and_can_be_read_on_a_phone(path):
    root = ElementTree.fromstring(path.read_text())
    children = {child.tag.split("}")[1]: child.text for child in root}
    assert len(children["desc"]) > len(children["title"]) > 20
    sizes = re.findall(r"font-size\W+([\d.]+)", path.read_text())
    assert min(map(float, sizes)) * 360 / float(root.get("viewBox").split()[2]) >= 9


def test_drawings_say_what_the_code_does():
    files = {path.stem: path.read_text() for path in DRAWINGS}
    texts = {name: re.findall(r"<text[^>]*>([^<]+)<", text) for name, text in files.items()}
    units, cluster, features = launches.cut(512)
    assert f"{cluster} blocks, {features} features each" in texts["cut"]
    assert f"{-(-512 // units)} clusters, {units} units each" in texts["cut"]
    values, packed = 4 * 8192 * 256, np.prod(mask_shape(8192, 256))
    numbers = Counter(float(text) for text in texts["traffic"] if text[0].isdigit())
    expected = {values: 6 + 2, 8192 * 256: 1, values + packed: 1 + 1}  # unfused, two kernels, one
    assert numbers == {round(size / 1e6, 2): count for size, count in expected.items()}
    totals = [float(text.split()[-2]) for text in texts["traffic"] if text.endswith(" MB")]
    two_kernels = 3 * values + packed
    sums = [6 * values + 8192 * 256, values + packed, two_kernels]
    assert totals == pytest.approx([size / 1e6 for size in sums], rel=2e-3)
    ranks = [np.arange(1, 5) * 10**rank for rank in range(4)]
    cells = [*map(str, np.ravel(ranks))]
    for _ in lesson(12, "ring_all_reduce")(ranks):
        cells += map(str, np.ravel(ranks))
    assert [text for text in texts["ring"] if text.isdigit()] == cells
    wide = launches.epoch(8192)
    said = f"{wide.clusters} blocks, {dict(wide.sizes)['UNITS']} units each"
    assert said in texts["wide"]


def stored_figures():
    """The outputs that are SVG, of all notebooks: by chapter and name, or number of the cell."""
    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb")):
        for i, cell in enumerate(json.loads(path.read_text())["cells"]):
            for output in cell.get("outputs", ()):
                if svg := "".join(output.get("data", {}).get("image/svg+xml", ())):
                    figure = cell["metadata"]["mystnb"].get("figure", {})
                    yield figure.get("name", f"{path.stem} {i}"), "".join(cell["source"]), svg


FIGURES_STORED = {name: (source, svg) for name, source, svg in stored_figures()}


def test_a_stored_drawing_is_that_of_the_file():
    drawn = {name: one for name, one in FIGURES_STORED.items() if one[0].startswith("SVG(")}
    assert len(drawn) >= 10
    for name, (source, svg) in drawn.items():
        path = DRAWINGS[0].parents[2] / re.search(r'book/(.*\.svg)"', source)[1]
        assert ElementTree.canonicalize(svg) == ElementTree.canonicalize(path.read_text()), name


def words_of(name):
    return re.findall(r"<text [^>]*>([^<]+)</text>", FIGURES_STORED[name][1])


@pytest.mark.parametrize(
    ("name", "arithmetic", "epilog", "k"),
    [
        ("fig-if-drelu", "float32", "DRELU_BGRAD", 10),
        ("fig-if-tf32", "tf32", "RELU_AUX_BIAS", 784),
        ("fig-if-bf16", "bfloat16", "RELU_AUX_BIAS", 784),
    ],
)
def test_a_stored_figure_shows_the_ratios_of_its_record(name, arithmetic, epilog, k):
    ratios = {}
    for row in results.load("fusion")["points"]:
        if (row["arithmetic"], row["epilog"], row["k"]) == (arithmetic, epilog, k):
            ratios[row["m"], row["n"]] = f"{row['fused'][1] / row['one kernel'][1]:.2f}"
    widths = [int(word) for word in words_of(name) if "." not in word and word.isdigit()]
    n, m = sorted(set(widths[:6])), sorted(set(widths[6:]), reverse=True)
    expected = [ratios[one, other] for one in m for other in n]
    assert [word for word in words_of(name) if re.fullmatch(r"\d\.\d\d", word)] == expected


@pytest.mark.parametrize("name", ["fig-ok-phases", "fig-ok-wide"])
def test_a_stored_staircase_shows_the_cycles_of_its_record(name):
    rows = [[f"{n:,}" for n in row["cycles"].values()] for row in results.load("phases")["rows"]]
    shown = [word for word in words_of(name) if re.fullmatch(r"[\d,]*\d{3}", word)]
    steps = [row for row in rows if any(row == shown[i : i + len(row)] for i in range(len(shown)))]
    assert len(steps) == 2


def test_the_stored_bars_of_the_published_code_are_those_of_its_record():
    record = results.load("published_h200")["epoch_milliseconds"]
    for network in ("fused", "naive"):
        times = record[f"images on the GPU, {network} network"].values()
        assert {f"{time:g}" for time in times} <= set(words_of("fig-fn-times"))
