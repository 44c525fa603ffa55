"""What each figure draws: lines, bars, images and words, for numbers whose picture is known."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch, Rectangle

from tutorial_lib import plotting, xp
from tutorial_lib.plotting import digits
from tutorial_lib.plotting.colors import BLUE, GREY, ORANGE


@pytest.fixture(autouse=True)
def no_window():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def panels():
    """The axes of the figure that was just drawn; nothing in them is cut off."""
    for axis in plt.gcf().axes:
        corners = [getattr(x, "xy", x.get_position()) for x in axis.texts if x.get_text()]
        corners += [point for arrow in arrows(axis) for point in arrow]
        for x, y, width, height, _ in rectangles(axis):
            corners += [(x, y), (x + width, y + height)]
        for place, limits in zip(np.transpose(corners), (axis.get_xlim(), axis.get_ylim())):
            assert min(limits) <= place.min()
            assert place.max() <= max(limits)
    return plt.gcf().axes


def lines(axis):
    """Each line as (label, x, y)."""
    return [(x.get_label(), list(x.get_xdata()), list(x.get_ydata())) for x in axis.lines]


def rectangles(axis, kind=Rectangle):
    """Each rectangle or box as (x, y, width, height, color)."""
    patches = [p for p in axis.patches if isinstance(p, kind)]
    return [
        (p.get_x(), p.get_y(), p.get_width(), p.get_height(), to_hex(p.get_facecolor()))
        for p in patches
    ]


def words(axis):
    """The texts by their place."""
    return {text.get_position(): text.get_text() for text in axis.texts if text.get_text()}


def arrows(axis, color=None):
    """Each arrow, or each of a color, as (start, end)."""
    found = [text for text in axis.texts if getattr(text, "arrow_patch", None)]
    colors = [to_hex(text.arrow_patch.get_edgecolor()) for text in found]
    return [(x.xyann, x.xy) for x, own in zip(found, colors) if color in (None, own)]


def ticks(axis):
    return (
        [text.get_text() for text in axis.get_xticklabels()],
        [text.get_text() for text in axis.get_yticklabels()],
    )


def legend(where):
    found = where.get_legend() if hasattr(where, "get_legend") else where.legends[0]
    return [text.get_text() for text in found.get_texts()]


def four(value):
    return dict.fromkeys("abcd", value)


FOUR = four([1.0, 2.0])


@pytest.mark.parametrize(
    "plot",
    [
        lambda: plotting.plot_learning_curve(FOUR, smooth=1),
        lambda: plotting.plot_curves({"panel": ([1, 2], FOUR)}, xlabel="x"),
        lambda: plotting.plot_logarithmic([1, 2], FOUR, xlabel="x", ylabel="y"),
        lambda: plotting.plot_histograms(four(np.ones(2))),
        lambda: plotting.plot_class_shares(four(np.array([1]))),
        lambda: plotting.plot_times_by_width(four({"30": 1.0}), unit="ms"),
        lambda: plotting.plot_scaling(four({30: 1.0}), {}),
        lambda: plotting.plot_roofline(four({"x": (1, 1)}), peak=1, bandwidth=1, machine=""),
        lambda: plotting.plot_staircase(four({1: 1.0}), tile=4, xlabel="", machine=""),
    ],
)
def test_no_name_is_left_out_for_want_of_a_color(plot):
    with pytest.raises(ValueError, match=r"for 3 names, not for \['a', 'b', 'c', 'd'\]"):
        plot()


def test_a_mean_is_drawn_at_the_last_of_its_batches():
    plotting.plot_learning_curve({"ours": [3, 6, 9, 12]}, smooth=2)
    (axis,) = panels()
    (_, x, y), (name, at, mean) = lines(axis)
    assert (x, y) == ([0, 1, 2, 3], [3, 6, 9, 12])
    assert (name, at, mean) == ("ours", [1, 2, 3], [4.5, 7.5, 10.5])
    assert (axis.get_yscale(), axis.get_xlabel(), legend(axis)) == ("log", "batch", ["ours"])
    assert axis.lines[0].get_alpha() < 0.5
    assert axis.lines[1].get_alpha() is None
    plotting.plot_learning_curve({"ten": list(range(1, 13))})
    (name, at, mean) = lines(panels()[0])[1]
    np.testing.assert_allclose(at, [9, 10, 11])
    np.testing.assert_allclose(mean, [5.5, 6.5, 7.5])


def test_curves_have_a_panel_each_and_a_legend_where_there_are_several():
    x = np.array([0.0, 1.0])
    plotting.plot_curves({"one": (x, {"a": x}), "two": (x, {"b": -x, "c": 2 * x})}, xlabel="z")
    first, second = panels()
    assert (first.get_title(), second.get_title(), second.get_xlabel()) == ("one", "two", "z")
    assert lines(first) == [("a", [0, 1], [0, 1])]
    assert lines(second) == [("b", [0, 1], [0, -1]), ("c", [0, 1], [0, 2])]
    assert first.get_legend() is None
    assert legend(second) == ["b", "c"]


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_logarithmic_lines_leave_out_zeros(scale):
    options = {} if scale == "log" else {"xscale": scale}
    plotting.plot_logarithmic([1, 10, 100], {"e": [1e-3, 0, 2]}, xlabel="h", ylabel="y", **options)
    (axis,) = panels()
    ((name, x, y),) = lines(axis)
    assert (name, x) == ("e", [1, 10, 100])
    np.testing.assert_array_equal(y, [1e-3, np.nan, 2])
    assert (axis.get_xscale(), axis.get_yscale()) == (scale, "log")
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("h", "y")


def test_a_histogram_shows_shares():
    plotting.plot_histograms({"a": xp.asarray([0.0, 0, 0, 1]), "b": xp.asarray([5.0, 7])}, bins=2)
    first, second = panels()
    for axis, shares, edges in ((first, [0.75, 0.25], [0, 0.5, 1]), (second, [0.5] * 2, [5, 6, 7])):
        data = axis.patches[0].get_data()
        np.testing.assert_allclose(data.values, shares)
        np.testing.assert_allclose(data.edges, edges)
        assert axis.get_yscale() == "log"
    assert (first.get_xlabel(), second.get_xlabel(), first.get_ylabel()) == ("a", "b", "share")
    assert first.get_ylim() == second.get_ylim()
    plotting.plot_histograms({"a": xp.arange(128)})
    np.testing.assert_allclose(panels()[0].patches[0].get_data().values, np.full(64, 1 / 64))


def test_class_shares_are_percentages_side_by_side():
    plotting.plot_class_shares({"a": xp.asarray([0, 0, 1, 9]), "b": xp.asarray([5] * 3)})
    (axis,) = panels()
    a, b = axis.containers
    assert [bar.get_height() for bar in a] == [50, 25, 0, 0, 0, 0, 0, 0, 0, 25]
    assert [bar.get_height() for bar in b] == [0, 0, 0, 0, 0, 100, 0, 0, 0, 0]
    for bars, left in ((a, -0.4), (b, 0.0)):  # a group is 0.8 wide, around its digit
        np.testing.assert_allclose([bar.get_x() for bar in bars], np.arange(10) + left, atol=1e-9)
    assert a[0].get_width() == pytest.approx(0.4)
    assert lines(axis)[0][2] == [10, 10]
    assert ticks(axis)[0] == list("0123456789")
    assert axis.get_ylim()[0] == 0
    assert axis.get_ylim()[1] >= 100
    assert legend(axis) == ["a", "b"]


def test_times_stand_over_their_width():
    times = {"fused": {"30": 2.0, "512": 4.5}, "naive": {"30": 3.0, "512": 5.0}}
    plotting.plot_times_by_width(times, unit="ms")
    (axis,) = panels()
    for bars, by_width, side, color in zip(
        axis.containers, times.values(), (-0.2, 0.2), (ORANGE, BLUE)
    ):
        assert [bar.get_height() for bar in bars] == list(by_width.values())
        middles = [bar.get_x() + bar.get_width() / 2 for bar in bars]
        np.testing.assert_allclose(middles, [side, 1 + side])
        assert {to_hex(bar.get_facecolor()) for bar in bars} == {color}
    assert [text.get_text() for text in axis.texts] == ["2", "4.5", "3", "5"]
    assert (ticks(axis)[0], axis.get_ylabel(), legend(axis)) == (
        ["30", "512"],
        "ms",
        ["fused", "naive"],
    )


def drawn(axes):
    """Title and image of each panel that has one."""
    return [(axis.get_title(), axis.images[0].get_array()) for axis in axes if axis.images]


IMAGES = np.arange(5 * 784, dtype=np.float32).reshape(5, 784)


def test_digits_are_drawn_in_rows_under_their_titles():
    plotting.plot_digits(xp.asarray(IMAGES), ["a", "b", "c"], columns=2)
    axes = panels()
    rows = [axis.get_subplotspec().rowspan.start for axis in axes]
    assert rows == [0, 0, 1, 1]
    assert [title for title, _ in drawn(axes)] == ["a", "b", "c"]
    for (_, image), expected in zip(drawn(axes), IMAGES):
        np.testing.assert_array_equal(image, expected.reshape(28, 28))
    assert not any(axis.axison for axis in axes)
    plotting.plot_digits(xp.asarray(IMAGES), "ab")
    assert len(panels()) == 10
    plotting.plot_digits(xp.asarray(IMAGES), "a", columns=1)
    assert len(panels()) == 1


class Answers:
    """A network that is as sure of digit 3 as the first pixel of an image says, else of 7."""

    def forward(self, images):
        result = xp.full((len(images), 10), 0.01)
        result[:, 3], result[:, 7] = images[:, 0], 1 - images[:, 0]
        return result


@pytest.fixture
def test_split(monkeypatch):
    """Two batches of test digits; the first pixels say how sure `Answers` is of a 3."""
    sure = np.array([[0.9, 0.6, 0.8], [0.1, 0.95, 0.7]])
    labels = np.array([[3, 5, 7], [3, 0, 3]])
    images = np.zeros((2, 3, 784))
    images[:, :, 0] = sure

    def get_loader(*, train):
        assert not train
        return iter([(xp.asarray(x), xp.asarray(y)) for x, y in zip(images, labels)])

    monkeypatch.setattr(digits, "get_loader", get_loader)


@pytest.mark.usefixtures("test_split")
def test_predictions_are_titled_with_their_labels():
    plotting.plot_predictions(Answers(), 2)
    found = drawn(panels())
    assert [title for title, _ in found] == ["3 (3)", "3 (5)"]
    assert [image[0, 0] for _, image in found] == [0.9, 0.6]
    plotting.plot_predictions(Answers())
    assert len(drawn(panels())) == 3  # the first batch has no ten


@pytest.mark.usefixtures("test_split")
def test_the_surest_mistake_comes_first():
    plotting.plot_mistakes(Answers())
    found = drawn(panels())
    assert [title for title, _ in found] == ["3 (0)", "7 (3)", "3 (7)", "3 (5)"]
    assert [image[0, 0] for _, image in found] == [0.95, 0.1, 0.8, 0.6]
    plotting.plot_mistakes(Answers(), 1)
    assert [title for title, _ in drawn(panels())] == ["3 (0)"]


def test_as_many_predictions_and_mistakes_as_are_asked_for(monkeypatch):
    images = np.full((40, 784), 0.9)
    loader = lambda train: iter([(xp.asarray(images), xp.zeros(40, int))])  # noqa: E731
    monkeypatch.setattr(digits, "get_loader", loader)
    plotting.plot_predictions(Answers())
    assert len(drawn(panels())) == 10
    plotting.plot_mistakes(Answers())
    assert len(drawn(panels())) == 20


def test_weights_that_excite_are_blue_and_zero_is_white():
    weights = np.linspace(-2, 1, 3 * 784).reshape(3, 784)
    plotting.plot_weights(SimpleNamespace(weights_hidden=xp.asarray(weights)), columns=2)
    axes = panels()
    assert len(axes) == 4
    for axis, row in zip(axes, weights):
        image = axis.images[0]
        np.testing.assert_array_equal(image.get_array(), row.reshape(28, 28))
        assert image.get_clim() == (-1.2, 1.2)  # six tenths of the largest
    red, _, blue, _ = image.cmap(image.norm(1.2))
    assert blue > red
    assert min(image.cmap(image.norm(0.0))) > 0.9
    plotting.plot_weights(SimpleNamespace(weights_hidden=xp.asarray(weights)))
    assert len(panels()) == 10


def test_confusion_shades_mistakes_alone():
    counts = np.array([[90, 10, 0], [5, 80, 7], [0, 6, 70]])
    plotting.plot_confusion(counts)
    (axis,) = panels()
    shaded = axis.images[0].get_array()
    np.testing.assert_array_equal(shaded, [[0, 10, 0], [5, 0, 7], [0, 6, 0]])
    assert words(axis) == {
        (column, row): str(counts[row, column]) for row in range(3) for column in range(3)
    }
    colors = {text.get_position(): text.get_color() for text in axis.texts}
    assert {colors[i, i] for i in range(3)} == {GREY}
    assert colors[1, 0] == colors[2, 1] == "white"  # on dark: more than six tenths of the most
    assert colors[0, 1] == colors[1, 2] == "black"
    assert colors[2, 0] == colors[0, 2] not in {"black", "white", GREY}
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("prediction", "label")
    assert ticks(axis) == (["0", "1", "2"], ["0", "1", "2"])


def test_a_digit_as_a_square_and_as_a_line():
    plotting.plot_flattening(xp.asarray(IMAGES[0]), rows=(2, 3))
    square, line, part = panels()
    np.testing.assert_array_equal(square.images[0].get_array(), IMAGES[0].reshape(28, 28))
    np.testing.assert_array_equal(line.images[0].get_array(), IMAGES[:1])
    np.testing.assert_array_equal(part.images[0].get_array(), IMAGES[:1, 56:112])
    assert square.images[0].get_extent() == [0, 28, 28, 0]
    assert line.images[0].get_extent() == [0, 784, 1, 0]
    assert part.images[0].get_extent() == [56, 112, 1, 0]
    assert part.images[0].get_clim() == line.images[0].get_clim() == (0, 783)
    assert [r[:4] for r in rectangles(square)] == [(0, 2, 28, 1), (0, 3, 28, 1)]
    for axis in (line, part):
        assert [r[:4] for r in rectangles(axis)] == [(56, 0, 28, 1), (84, 0, 28, 1)]
        assert [to_hex(p.get_edgecolor()) for p in axis.patches] == [BLUE, ORANGE]
    assert "rows 2 to 3" in part.get_title()
    assert ticks(part)[0] == ["56", "84", "112"]
    assert ticks(line)[0] == [str(112 * i) for i in range(8)]
    assert ticks(square) == (["0", "14", "28"], ["0", "14", "28"])
    plotting.plot_flattening(xp.asarray(IMAGES[0]))
    assert "rows 11 to 14" in panels()[2].get_title()


def test_the_weights_are_cut_into_clusters_of_blocks():
    """Ten units by four, 784 features by 300: three clusters of three blocks, the last ones cut."""
    plotting.plot_cut(num_hidden=10, units=4, cluster=3, features=300, batch=20)
    (axis,) = panels()
    boxes = rectangles(axis)
    images = [box for box in boxes if box[3] == 20]
    assert [(x, width) for x, _, width, *_ in images] == [(0, 300), (300, 300), (600, 184)]
    assert all(y > 10 for _, y, *_ in images)
    weights = [box for box in boxes if box[0] < 784 and box not in images]
    assert {(y, height) for _, y, _, height, _ in weights} == {(6, 4), (2, 4), (0, 2)}
    assert sum(width * height for *_, width, height, _ in weights) == 784 * 10
    results_ = [box for box in boxes if box[0] > 784]
    assert [(y, width, height) for _, y, width, height, _ in results_] == [
        (6, 20, 4),
        (2, 20, 4),
        (0, 20, 2),
    ]
    orange = [box[:4] for box in boxes if box[4] == ORANGE]
    assert orange == [(300, images[0][1], 300, 20), (300, 2, 300, 4)]
    blue = [box[:4] for box in boxes if box[4] == BLUE]
    assert blue == [(0, 2, 300, 4), (600, 2, 184, 4), results_[1][:4]]
    across, down = arrows(axis)
    assert across[0][0] < across[1][0]
    assert across[0][1] == across[1][1] == 4  # the middle of the cluster's units
    assert down[0][1] > down[1][1]
    text = " ".join(words(axis).values())
    for what in ("(20, 784)", "(10, 784)", "(10, 20)", "3 blocks, 300", "3 clusters, 4 units"):
        assert what in text
    plotting.plot_cut(num_hidden=4, units=4, cluster=3, features=392)
    boxes = rectangles(panels()[0])
    assert [x for x, y, *_ in boxes if x < 784 and y == 0] == [0, 392]  # a third one has nothing
    assert 256 in {height for *_, height, _ in boxes}


def test_phases_are_stacked():
    names = ["waiting for images", "hidden layer, partial", "gradient sent to the cluster"]
    forms = [{"form": 1, "cycles": [1000, 5000, 200]}, {"form": 2, "cycles": [10, 4000, 300]}]
    ideal = {"30": [4500], "512": [3000]}
    machine = "one H200, driver 1"
    plotting.plot_phases(names, {"30": forms, "512": forms[:1]}, ideal, machine=machine)
    first, second = panels()
    assert [r[1:2] + r[3:] for r in rectangles(first)] == [
        (0, 1000, GREY),
        (1000, 5000, BLUE),
        (6000, 200, ORANGE),
        (0, 10, GREY),
        (10, 4000, BLUE),
        (4010, 300, ORANGE),
        (0, 4500, BLUE),
    ]
    assert len(rectangles(second)) == 4
    assert ticks(first)[0] == ["form 1", "form 2", "ideal"]
    assert ticks(second)[0] == ["form 1", "ideal"]
    totals = {(0, 6200): "6,200", (1, 4310): "4,310", (2, 4500): "4,500"}
    assert totals.items() <= words(first).items()
    assert words(first)[0, 500] == "waiting for images\n1,000"
    assert words(first)[0, 3500] == "hidden layer, partial\n5,000"
    assert words(first)[0, 6100] == "gradient sent"  # low: without its number
    assert (1, 5) not in words(first)  # lower: without its name
    assert (first.get_title(), second.get_title()) == ("30 hidden units", "512 hidden units")
    assert first.get_ylabel() == "clock cycles of a step, one H200"
    handles = first.get_legend().get_patches()
    assert dict(zip(legend(first), (to_hex(p.get_facecolor()) for p in handles))) == {
        "large products": BLUE,
        "everything else": ORANGE,
        "waiting": GREY,
    }


def test_all_three_kinds_of_waiting_are_grey():
    names = ["other clusters", "cluster barrier", "update", "weight gradient"]
    rows = {"30": [{"form": 1, "cycles": [1, 2, 3, 4]}]}
    plotting.plot_phases(names, rows, {"30": [5]}, machine="m")
    colors = [color for *_, color in rectangles(panels()[0])]
    assert colors == [GREY, GREY, ORANGE, BLUE, BLUE]


def test_lanes_by_bank():
    plotting.plot_banks({"straight": [1] * 32, "folded": [16, 16] + [0] * 30})
    first, second = panels()
    assert [r[3] for r in rectangles(second)] == [16, 16] + [0] * 30
    assert [r[0] + r[2] / 2 for r in rectangles(first)] == pytest.approx(list(range(32)))
    assert (first.get_title(), second.get_title()) == ("straight: 1 in turn", "folded: 16 in turn")
    assert {r[4] for r in rectangles(first)} == {BLUE}
    assert {r[4] for r in rectangles(second)} == {ORANGE}
    assert ticks(first)[0] == ["0", "8", "16", "24", "31"]


def test_the_gpu_starts_a_step_when_it_is_queued_and_the_one_before_is_done():
    plotting.plot_launch_queue({"slow host": (10, 4), "slow GPU": (4, 10)}, machine="m")
    for axis, host, starts, gpu in zip(panels(), (10, 4), ([10, 20, 30], [4, 14, 24]), (4, 10)):
        orange = [r for r in rectangles(axis) if r[4] == ORANGE]
        blue = [r for r in rectangles(axis) if r[4] == BLUE]
        assert [(x, width) for x, _, width, *_ in orange] == [(i * host, host) for i in range(3)]
        assert [(x, width) for x, _, width, *_ in blue] == [(start, gpu) for start in starts]
        assert min(y for _, y, *_ in orange) > max(y + height for _, y, _, height, _ in blue)
        queued = [((i + 1) * host, start) for i, start in enumerate(starts)]
        assert [(start[0], end[0]) for start, end in arrows(axis)] == queued
        assert axis.get_xlim() == (0, pytest.approx(1.02 * (starts[-1] + gpu)))
        steps = {((i + 0.5) * host, f"step {i + 1}") for i in range(3)}
        assert {(x, text) for (x, _), text in words(axis).items()} == steps
        assert ticks(axis)[1] == ["GPU", "host"]
        assert axis.get_yticks()[0] < axis.get_yticks()[1]
    first, second = panels()
    assert first.get_title(loc="left") == "slow host"
    assert (first.get_title(loc="right"), second.get_title(loc="right")) == ("m", "")
    plotting.plot_launch_queue({"five": (1, 1)}, steps=5)
    assert len(arrows(panels()[0])) == 5


def test_a_capture_is_one_launch_and_leaves_no_gaps():
    plotting.plot_capture(kernels=4)
    launched, captured = panels()
    for axis, launches, gap in ((launched, 4, 0.5), (captured, 1, 0.05)):
        boxes = rectangles(axis)
        assert sum(color == ORANGE for *_, color in boxes) == len(arrows(axis)) == launches
        kernels = [box for box in boxes if box[4] == BLUE and box[2] < 1]
        assert len(kernels) == 4
        ends = [x + width for x, _, width, *_ in kernels]
        gaps = [kernels[i + 1][0] - ends[i] for i in range(3)]
        assert gaps == pytest.approx([gap] * 3)
        for (start, end), kernel in zip(arrows(axis), kernels):
            assert start[0] == end[0]
            assert 0 <= kernel[0] - end[0] < 0.1  # begins when it is launched
            assert start[1] > end[1] >= kernel[1] + kernel[3]
    (frame,) = [p for p in captured.patches if not p.get_fill()]
    left, right = frame.get_x(), frame.get_x() + frame.get_width()
    assert left < kernels[0][0]
    assert ends[-1] < right < ends[-1] + 0.2
    assert all(p.get_fill() for p in launched.patches)
    plotting.plot_capture()
    assert len(arrows(panels()[0])) == 7


def nearest(places, point):
    """The name whose place is nearest to the point."""
    return min(places, key=lambda name: np.hypot(*np.subtract(places[name], point)))


def test_the_graph_of_a_step_has_the_waits_of_the_tuned_network():
    plotting.plot_step_graph()
    (axis,) = panels()
    places = {text.replace("\n", " "): place for place, text in words(axis).items()}
    forks = {
        (nearest(places, (start[0] - 0.45, start[1])), nearest(places, (end[0] + 0.45, end[1])))
        for start, end in arrows(axis)
    }
    small, rest = "update_ output and both biases", "update_ hidden, 16 columns"
    main = ["start", "hidden", "output", "loss and gradient", "grad_relu"]
    main += ["update_ hidden, 768 columns", "next step"]
    assert forks == {
        *itertools.pairwise(main),
        ("grad_relu", small),
        (small, rest),
        (rest, "next step"),
    }
    assert len(arrows(axis)) == 9
    assert len(rectangles(axis, FancyBboxPatch)) == 9
    white = {"start", "next step"}
    for x, y, width, height, color in rectangles(axis, FancyBboxPatch):
        name = nearest(places, (x + width / 2, y + height / 2))
        matmul = name in ("hidden", "output", "grad_relu", main[5])
        side = name in (small, rest)
        assert color == (
            BLUE if matmul else ORANGE if side else "#ffffff" if name in white else GREY
        )
    texts = {text.get_text(): text.get_color() for text in axis.texts if text.get_text()}
    assert {name for name, color in texts.items() if color == "black"} == white


@pytest.mark.parametrize(
    ("matrix", "places", "strides"),
    [
        (np.array([[1.0, 2, 3], [4, 5, 6]]), [[0, 1, 2], [3, 4, 5]], "(3, 1)"),
        (np.array([[1.0, 4], [2, 5], [3, 6]]).T, [[0, 2, 4], [1, 3, 5]], "(1, 2)"),
        (np.arange(12.0).reshape(2, 6)[:, ::2], [[0, 2, 4], [6, 8, 10]], "(6, 2)"),
        (np.array([[7.5]]), [[0]], "(1, 1)"),
    ],
)
def test_each_element_stands_at_its_place_in_memory(matrix, places, strides):
    plotting.plot_memory_order(xp.asarray(matrix) if matrix.flags.c_contiguous else matrix)
    grid, line = panels()
    elements = [(index, f"{value:g}") for index, value in np.ndenumerate(matrix)]
    assert words(grid) == {(j + 0.5, i + 0.5): text for (i, j), text in elements}
    assert words(line) == {(places[i][j] + 0.5, 0.5): text for (i, j), text in elements}
    assert line.get_title() == f"in memory, strides {strides}"
    for axis in (grid, line):
        corners = {(x - 0.5, y - 0.5, 1, 1) for x, y in words(axis)}
        assert {r[:4] for r in rectangles(axis)} == corners
    shades = [{r[1]: r[4] for r in rectangles(grid)}, {}]
    assert len(set(shades[0].values())) == len(matrix)  # a shade per row, the same on both sides
    shades[1] = {places[i][0]: r[4] for i, r in enumerate(rectangles(line)[:: matrix.shape[1]])}
    assert list(shades[0].values()) == list(shades[1].values())
    left, right = line.get_xlim()
    assert left == 0
    assert right == np.max(places) + 1
    assert grid.get_xlim() == (0, matrix.shape[1])
    assert grid.get_ylim() == (len(matrix), 0)


def test_a_mask_bit_by_bit():
    mask = np.array([[0b10000001, 0b00000010], [0b00000101, 0]], np.uint8)
    plotting.plot_mask(xp.asarray(mask), 10)
    (axis,) = panels()
    bits = {(x, y): color for x, y, width, _, color in rectangles(axis) if width == 1}
    assert {place for place, color in bits.items() if color == BLUE} == {
        (0, 0),
        (7, 0),
        (8, 0),
        (1, 1),
    }
    padding = {bits[row, column] for row in range(10, 16) for column in (0, 1)}
    assert len(padding) == 1
    assert {color for (row, _), color in bits.items() if row < 10} == {BLUE, "#ffffff"}
    assert bits[9, 0] == "#ffffff" not in padding
    frames = [r[:4] for r in rectangles(axis) if r[2] == 8]
    assert frames == [(x, y, 8, 1) for y in (0, 1) for x in (0, 8)]
    assert not any(p.get_fill() for p in axis.patches if p.get_width() == 8)
    assert ticks(axis) == (["0", "8", "16"], [])


def test_traffic_goes_up_when_read_and_down_when_written():
    cases = {
        "unfused": [("matmul", 100, 2000), ("bias", 2000, 30)],
        "fused": [("matmul + bias", 0, 7), ("sum", 9, 0)],
    }
    plotting.plot_memory_traffic(cases)
    axes = panels()
    assert [axis.get_title() for axis in axes] == list(cases)
    for axis, kernels in zip(axes, cases.values()):
        colors = [r[4] for r in rectangles(axis, FancyBboxPatch)]
        assert colors == [BLUE if "matmul" in name else ORANGE for name, *_ in kernels]
        found = words(axis)
        assert found.pop((0.5, 0.15)) == "GPU memory"
        for kind, color, up in ((1, BLUE, True), (2, ORANGE, False)):
            sizes = [(i, kernel[kind]) for i, kernel in enumerate(kernels) if kernel[kind]]
            for (i, size), (start, end) in itertools.zip_longest(sizes, arrows(axis, color)):
                assert (end[1] > start[1]) == up
                side = (-0.2 if up else 0.2) if all(kernels[i][1:]) else start[0] - i
                assert (start[0], end[0]) == (i + side, i + side)
                assert found.pop((i + side, 0.77)) == f"{size:,}"
                shade = next(t for t in axis.texts if t.get_position() == (i + side, 0.77))
                assert shade.get_color() == color
        assert found == {(i, 1.6): name for i, (name, *_) in enumerate(kernels)}


def test_the_network_s_boxes_have_their_shapes():
    plotting.plot_architecture(num_hidden=7, batch=5)
    (axis,) = panels()
    found = words(axis)
    boxes = rectangles(axis, FancyBboxPatch)
    assert [color for *_, color in boxes] == [GREY, BLUE, ORANGE, BLUE, ORANGE]
    inside = [
        [text for (x, y), text in found.items() if box[0] < x < box[0] + box[2]] for box in boxes
    ]
    assert [texts[0] for texts in inside] == [
        "images",
        "hidden layer",
        "ReLU",
        "output layer",
        "sigmoid",
    ]
    shapes = ["(5, 784)", "(7, 5)", "(7, 5)", "(10, 5)", "(5, 10)"]
    assert all(shape in texts[2] for texts, shape in zip(inside, shapes))
    assert inside[1][3] == "$W_h$ (7, 784)\n$b_h$ (7,)"
    assert inside[3][3] == "$W_o$ (10, 7)\n$b_o$ (10,)"
    for i, (start, end) in enumerate(arrows(axis)):
        assert boxes[i][0] + boxes[i][2] < start[0] < end[0] < boxes[i + 1][0]
    assert len(arrows(axis)) == 4
    plotting.plot_architecture()
    assert "(30, 256)" in " ".join(words(panels()[0]).values())


def test_gradients_stand_under_what_they_are_gradients_of():
    plotting.plot_backward(num_hidden=7, batch=5)
    (axis,) = panels()
    found = words(axis)
    boxes = [
        (color, [t for (x, y), t in found.items() if left < x < left + w and low < y < low + h])
        for left, low, w, h, color in rectangles(axis, FancyBboxPatch)
    ]
    columns = [box[0] for box in rectangles(axis, FancyBboxPatch)]
    assert [(color, *texts) for color, texts in boxes] == [
        (GREY, "$x^T$", "(784, 5)"),
        (GREY, "$z_h$", "(7, 5)"),
        (BLUE, "$\\partial L/\\partial z_h$", "(7, 5)"),
        (GREY, "$y$", "(7, 5)"),
        (BLUE, "$\\partial L/\\partial y$", "(7, 5)"),
        (GREY, "$z_o$", "(10, 5)"),
        (BLUE, "$\\partial L/\\partial z_o$", "(10, 5)"),
        (GREY, "$\\hat t^{\\,T}$", "(10, 5)"),
    ]
    assert columns[1] == columns[2] < columns[3] == columns[4] < columns[5] == columns[6]
    ways = {
        color: [tuple(np.subtract(end, start)) for start, end in arrows(axis, color)]
        for color in (GREY, BLUE, ORANGE)
    }
    assert [len(ways[color]) for color in (GREY, BLUE, ORANGE)] == [4, 3, 2]
    assert all(dx > 0 and dy == 0 for dx, dy in ways[GREY])
    assert all(dx < 0 for dx, _ in ways[BLUE])
    assert sum(dy < 0 for _, dy in ways[BLUE]) == 1  # where the loss comes in
    assert all(dx == 0 and dy < 0 for dx, dy in ways[ORANGE])
    text = "\n".join(found.values())
    for shape in ("(7, 784)", "(7,)", "(10, 7)", "(10,)"):
        assert shape in text
    above = [found[x, 3.16] for x in sorted(x for x, y in found if y == 3.16)]
    assert above == ["$W_h\\,x^T + b_h$", "ReLU", "$W_o\\,y + b_o$", "sigmoid"]
    steps = {text: x for (x, _), text in found.items()}
    assert steps["mask"] < steps["$W_o^T\\;\\cdot$"] < steps["$(\\hat t - t)^T/n$"]
    plotting.plot_backward()
    assert "(30, 256)" in words(panels()[0]).values()


def test_the_ring_marks_what_was_added_and_what_was_replaced():
    """Two ranks: one step that adds a neighbor's half, one that replaces the other half."""
    snapshots = [
        np.array([[1, 2], [10, 20]]),
        np.array([[11, 2], [10, 22]]),
        np.array([[11, 22], [11, 22]]),
    ]
    plotting.plot_ring(snapshots)
    axes = panels()
    assert [axis.get_title() for axis in axes] == ["before", "after step 0", "after step 1"]
    marked = [{}, {(0, 0): ORANGE, (1, 1): ORANGE}, {(1, 0): BLUE, (0, 1): BLUE}]
    for axis, snapshot, colors in zip(axes, snapshots, marked):
        boxes = {(y, x): color for x, y, *_, color in rectangles(axis)}
        plain = set(boxes.values()) - {ORANGE, BLUE}
        assert len(plain) == 1
        for place, color in boxes.items():
            assert color == colors.get(place, *plain)
        values = {(int(y), int(x)): int(text) for (x, y), text in words(axis).items()}
        assert values == dict(np.ndenumerate(snapshot))
        for text in axis.texts:
            x, y = text.get_position()
            assert text.get_color() == ("white" if (int(y), int(x)) in colors else "black")
        assert axis.get_ylim()[0] > axis.get_ylim()[1]  # rank 0 on top
    plotting.plot_ring([np.arange(9).reshape(3, 3) + i for i in range(5)])
    axes = panels()
    assert len(axes) == 6  # three to a row
    assert {r[4] for r in rectangles(axes[2])} == {ORANGE}  # the last step that adds
    assert {r[4] for r in rectangles(axes[3])} == {BLUE}
    assert not rectangles(axes[5])
    plotting.plot_ring(snapshots[:1])
    assert len(panels()) == 1


def test_all_reduce_in_microseconds_with_its_quartiles():
    measured = {
        4: {"median": 2e-6, "quartiles": [1e-6, 4e-6]},
        400: {"median": 3e-6, "quartiles": [3.1e-6, 5e-6]},  # rounded: a quartile over the median
    }
    plotting.plot_all_reduce(measured, {4: 2.5e-6, 400: 6e-6}, title="t")
    (axis,) = panels()
    (container,) = axis.containers
    points, _, (bars,) = container
    assert (list(points.get_xdata()), points.get_ydata()) == ([4, 400], pytest.approx([2, 3]))
    ends = [sorted(y for _, y in segment) for segment in bars.get_segments()]
    assert ends == [pytest.approx([1, 4]), pytest.approx([3, 5])]
    model = next(x for x in axis.lines if x.get_label() == "model")
    assert (list(model.get_xdata()), model.get_ydata()) == ([4, 400], pytest.approx([2.5, 6]))
    assert (axis.get_xscale(), axis.get_yscale(), axis.get_title()) == ("log", "log", "t")


def test_scaling_over_width():
    strong, weak = {"256 images": {512: 1.5, 30: 0.5}}, {"256 each": {30: 40.0, 64: 60.0}}
    plotting.plot_scaling(strong, weak)
    left, right = panels()
    assert lines(left)[0] == ("256 images", [512, 30], [1.5, 0.5])
    assert lines(right)[0] == ("256 each", [30, 64], [40, 60])
    assert (lines(left)[1][2], lines(right)[1][2]) == ([1, 1], [100, 100])
    assert (ticks(left)[0], ticks(right)[0]) == (["30", "512"], ["30", "64"])
    assert (left.get_title(), right.get_title()) == (
        "the same batch, split",
        "a batch for each rank",
    )
    assert (left.get_ylim()[0], right.get_ylim()[0], left.get_xscale()) == (0, 0, "log")


def test_points_under_the_roof():
    points = {"30": {"hidden": (10, 3e12), "output": (2, 1e12)}, "512": {"hidden": (40, 6e13)}}
    plotting.plot_roofline(points, peak=6e13, bandwidth=4e12, machine="m")
    (axis,) = panels()
    (_, x, roof), *found = lines(axis)
    assert (x[0], x[-1]) == (1, pytest.approx(300))
    np.testing.assert_allclose(roof, np.minimum(60, 4 * np.array(x)))
    assert [(x, y) for _, x, y in found] == [([10], [3]), ([2], [1]), ([40], [60])]
    for (place, height), text in words(axis).items():  # just above its part of the roof
        assert 1 < height / min(60, 4 * place) < 1.5
        assert text == ("peak of the memory" if place < 15 else "peak of the arithmetic")
    assert len(words(axis)) == 2
    hidden, output, wide = axis.lines[1:]
    assert hidden.get_marker() == wide.get_marker() != output.get_marker()
    assert hidden.get_color() == output.get_color() == BLUE
    assert wide.get_color() == ORANGE
    assert legend(axis) == ["hidden", "output", "30", "512"]
    handles = axis.get_legend().legend_handles
    assert [h.get_marker() for h in handles[:2]] == [hidden.get_marker(), output.get_marker()]
    assert [h.get_color() for h in handles[2:]] == [BLUE, ORANGE]
    assert (axis.get_xscale(), axis.get_yscale(), axis.get_title()) == ("log", "log", "m")


def test_a_line_parts_faster_from_slower():
    ratios = {30: {64: 1.5, 256: 1.0, 1024: 0.5}, 512: {64: 0.9, 256: 0.8, 1024: 0.1}}
    plotting.plot_break_even(ratios, title="t")
    (axis,) = panels()
    image = axis.images[0]
    np.testing.assert_array_equal(image.get_array(), [[1.5, 1.0, 0.5], [0.9, 0.8, 0.1]])
    assert words(axis) == {
        (0, 0): "1.50",
        (1, 0): "1.00",
        (2, 0): "0.50",
        (0, 1): "0.90",
        (1, 1): "0.80",
        (2, 1): "0.10",
    }
    assert [(x, y) for _, x, y in lines(axis)] == [
        ([1.5, 1.5], [-0.5, 0.5]),
        ([-0.5, 0.5], [0.5, 0.5]),
        ([0.5, 1.5], [0.5, 0.5]),
    ]
    assert ticks(axis) == (["64", "256", "1024"], ["30", "512"])
    assert axis.get_ylim() == (-0.5, 1.5)  # the narrowest below
    assert (image.norm.vmin, image.norm.vmax) == pytest.approx((0.1, 10))
    colors = {text.get_text(): text.get_color() for text in axis.texts}
    assert [text for text, color in colors.items() if color == "white"] == ["0.10"]
    red, _, blue, _ = image.cmap(image.norm(0.1))
    assert blue > red
    assert image.cmap(image.norm(1.0)) == pytest.approx((1, 1, 1, 1), abs=0.01)
    plotting.plot_break_even({30: {64: 1.1, 256: 1.2}}, title="t")
    (axis,) = panels()
    assert axis.images[0].norm.vmax == 2  # small differences stay pale
    assert not axis.lines


def test_stairs_between_dotted_multiples_of_the_tile():
    plotting.plot_staircase(
        {"a": {100: 1.0, 200: 2.0}, "b": {150: 3.0}}, tile=64, xlabel="x", machine="m"
    )
    (axis,) = panels()
    assert lines(axis)[:2] == [("a", [100, 200], [1, 2]), ("b", [150], [3])]
    edges = axis.lines[2:]
    assert [line.get_xdata()[0] for line in edges] == [128, 192, 256]
    assert {line.get_linestyle() for line in edges} == {":"}
    assert ticks(axis)[0] == ["100", "150", "200"]
    assert axis.get_ylim()[0] == 0
    assert axis.get_title() == "m; dotted: multiples of 64"
    plotting.plot_staircase({"a": {128: 1.0, 256: 2.0}}, tile=128, xlabel="x", machine="m")
    assert [line.get_xdata()[0] for line in panels()[0].lines[1:]] == [128, 256]


def ladder():
    def row(name, kind, arithmetic, **widths):
        outcomes = {width[1:]: {"wall": {"median": time}} for width, time in widths.items()}
        return {"name": name, "kind": kind, "arithmetic": arithmetic, "widths": outcomes}

    rows = [
        row("loop", "peer", "float32", _30=150.4, _512=1234.0),
        row("ours", "rung", "float32", _30=2.345),
        row("ours", "rung", "tf32", _30=1.0, _512=20.06),
        row("theirs", "peer", "float32", _512=100.0),
    ]
    rows[0]["widths"]["30"]["measured"] = "earlier"
    rows[3]["widths"]["30"] = {"failed": "no plan"}
    return {"machine": "m", "widths": [30, 512], "contestants": rows}


def test_the_ladder_has_a_panel_per_width_and_rungs_on_top():
    plotting.plot_ladder(ladder())
    narrow, wide = panels()
    assert ticks(narrow)[1] == ["ours", "loop", "theirs"]
    assert narrow.get_ylim()[0] > narrow.get_ylim()[1]  # the first row on top
    looks = [
        (
            x.get_xdata()[0],
            x.get_ydata()[0],
            x.get_marker(),
            x.get_markeredgecolor(),
            x.get_markerfacecolor(),
        )
        for axis in (narrow, wide)
        for x in axis.lines
    ]
    assert looks == [
        (150.4, 1, "o", ORANGE, "white"),
        (2.345, 0, "o", BLUE, BLUE),
        (1.0, 0, "D", BLUE, BLUE),
        (1234.0, 1, "o", ORANGE, ORANGE),
        (20.06, 0, "D", BLUE, BLUE),
        (100.0, 2, "o", ORANGE, ORANGE),
    ]
    assert [text.get_text() for axis in (narrow, wide) for text in axis.texts] == [
        *("150", "2.35", "1"),
        *("1,234", "20.1", "100"),
    ]
    sides = [(text.xyann[0] > 0, text.get_ha()) for text in narrow.texts]
    assert sides == [(True, "left"), (True, "left"), (False, "right")]
    assert (narrow.get_title(), wide.get_title(), narrow.get_xscale()) == (
        "30 hidden units",
        "512 hidden units",
        "log",
    )
    low, high = narrow.get_xlim()
    assert low < 1
    assert high > 1234
    assert legend(plt.gcf()) == [
        "this book's rungs",
        "what they have to beat",
        "float32",
        "TF32",
        "hollow: an earlier run",
    ]
    assert plt.gcf().get_suptitle() == "m"


def test_the_ladder_of_some_with_a_roof():
    plotting.plot_ladder(ladder(), names=["ours", "theirs"], roofs={30: 0.01, 512: 5000.0})
    narrow, wide = panels()
    assert ticks(narrow)[1] == ["ours", "theirs"]
    for axis, roof, places in ((narrow, 0.01, [0, 0]), (wide, 5000, [0, 1])):
        *points, line = axis.lines
        assert list(line.get_xdata()) == [roof, roof]
        assert line.get_linestyle() == "--"
        assert [point.get_ydata()[0] for point in points] == places
    assert narrow.get_xlim()[0] < 0.01
    assert narrow.get_xlim()[1] > 5000
    assert legend(plt.gcf())[2:] == ["float32", "TF32", "roof, float32"]


def test_every_figure_is_tested_here():
    text = Path(__file__).read_text()
    assert [name for name in plotting.__all__ if f"plotting.{name}(" not in text] == []
