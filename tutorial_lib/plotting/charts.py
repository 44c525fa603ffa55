"""Numbers as charts: losses, errors, distributions, and what was measured on a GPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from tutorial_lib.backend import Array, to_numpy
from tutorial_lib.plotting.style import BLUE, GREY, ORANGE, label_lines, panels, styled


@styled
def plot_curves(graphs: Mapping[str, tuple], *, fmt: str = "-", **axes: Any) -> None:
    """A panel per title, given x and the named lines over x: each a row of values, or three rows,
    lower quartiles, medians, upper quartiles. `axes` as in `Axes.set`, `fmt` as in `Axes.plot`."""
    for axis, title in zip(panels(len(graphs), 0.4 + 2.6 * len(graphs)), graphs):
        x, lines = graphs[title]
        for name, values in lines.items():
            low, middle, high = np.broadcast_to(values, (3, len(x)))
            (line,) = axis.plot(x, middle, fmt, label=name, markersize=5)
            axis.fill_between(x, low, high, color=line.get_color(), alpha=0.25, linewidth=0)
        axis.set(title=title, **axes)
        label_lines(axis)


def plot_logarithmic(x: Sequence, lines: Mapping, *, title: str = "", **axes: Any) -> None:
    """Lines over x as in `plot_curves`, without zeros, on logarithmic scales or those of `axes`."""
    positive = {name: np.where(np.greater(y, 0), y, np.nan) for name, y in lines.items()}
    plot_curves({title: (x, positive)}, fmt=".-", **{"xscale": "log", "yscale": "log", **axes})


@styled
def plot_learning_curve(losses: Mapping[str, Sequence[float]]) -> None:
    """Loss over batches: faint as measured, strong averaged over the last 10 batches."""
    _, axis = plt.subplots()
    axis.set(xlabel="batch", ylabel="loss (binary cross-entropy)", yscale="log")
    for name, values in losses.items():
        average = np.convolve(values, np.ones(10) / 10, mode="valid")
        (faint,) = axis.plot(values, alpha=0.25)
        axis.plot(range(9, len(values)), average, color=faint.get_color(), label=name)
    label_lines(axis)


@styled
def plot_bars(groups: Sequence, heights: Mapping, *, labels: bool = False, **axes: Any) -> None:
    """For each of `groups` a bar per name, with `labels` its height above it."""
    _, axis = plt.subplots()
    width = 0.8 / len(heights)
    for i, (name, values) in enumerate(heights.items()):
        places = np.arange(len(groups)) + (i + 0.5) * width - 0.4
        bars = axis.bar(places, values, 0.94 * width, label=name)
        axis.bar_label(bars, fmt="%g" if labels else "", padding=2)
    axis.set_xticks(range(len(groups)), groups)
    axis.margins(y=0.25)
    axis.set(**axes)
    axis.grid(visible=False, axis="x")
    axis.legend(ncols=len(heights), loc="upper right")


@styled
def plot_histograms(values: Mapping[str, Array]) -> None:
    """The share of values in each of 64 bins, on a logarithmic scale: a panel per array."""
    for axis, name in zip(panels(len(values), 2 * len(values), sharey=True), values):
        counts, edges = np.histogram(to_numpy(values[name]), bins=64)
        axis.stairs(counts / counts.sum(), edges, fill=True)
        axis.set(xlabel=name, ylabel="share", yscale="log")


@styled
def plot_timeline(cases: Mapping[str, Mapping], *, machine: str = "", unit: str = "µs") -> None:
    """A panel per titled case, in it a lane per name: its spans, (start, length) in that unit: the
    host's orange, waiting grey, all others blue; and a note behind the last of them."""
    lanes = [len(case) for case in cases.values()]
    axes = panels(len(cases), 0.24 * sum(lanes) + 0.9, sharex=True, height_ratios=lanes)
    for axis, (title, case) in zip(axes, cases.items()):
        for place, (name, (spans, note)) in enumerate(case.items()):
            color = {"host": ORANGE, "waiting": GREY}.get(name.partition(" ")[0], BLUE)
            axis.broken_barh(spans, (place - 0.35, 0.7), color=color, linewidth=0.4)
            end = max(start + length for start, length in spans)
            axis.annotate(note, (end, place), (4, 0), textcoords="offset points", va="center")
        axis.set_yticks(range(len(case)), list(case))
        axis.set(ylim=(len(case) - 0.4, -0.6))
        axis.set_title(title, loc="left")
        axis.grid(visible=False, axis="y")
    axes[0].set_xlim(0)  # of all, once all are drawn
    axes[-1].set_xlabel(f"{unit} | {machine}")


@styled
def plot_roofline(
    points: Mapping, *, peaks: Mapping[str, float], bandwidths: Mapping[str, float], machine: str
) -> None:
    """Per series (a color) named groups of points, operations per byte and per second, below the
    series' peak of the same place in `peaks`, and below the slopes of the `bandwidths`, in bytes
    per second. The names stand beside the points of the first series."""
    _, axis = plt.subplots(figsize=(4.5, 4))
    axis.set(xscale="log", yscale="log", xlim=(1, 1e3), ylim=(0.01, 1e3), title=machine)
    axis.set(xlabel="arithmetic intensity: operations per byte", ylabel="TFLOP per second")
    top, fastest = max(peaks.values()) / 1e12, max(bandwidths.values())
    for name, bandwidth in bandwidths.items():
        slope = bandwidth / 1e12
        axis.plot([1, top / slope], [slope, top], color="black", linewidth=1)
        turn = {"rotation": np.degrees(np.arctan(slope)), "rotation_mode": "anchor"}
        axis.text(1.15, 1.3 * slope, name, transform_rotates_text=True, **turn)
    for color, (roof, peak), groups in zip((BLUE, ORANGE), peaks.items(), points.values()):
        axis.plot([peak / fastest, 1e3], 2 * [peak / 1e12], color=color)
        axis.text(950, peak / 0.85e12, roof, color=color, ha="right")
        for name, group in groups.items():
            x, y = np.transpose(group)
            axis.plot(x, y / 1e12, "o", color=color, markersize=5)
            text = name if color == BLUE else ""
            axis.annotate(text, (max(x), max(y) / 1e12), (6, -4), textcoords="offset points")
