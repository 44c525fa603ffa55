"""Numbers as charts: losses, errors, distributions, and what was measured on a GPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap, LogNorm

from tutorial_lib.backend import Array, to_numpy
from tutorial_lib.plotting.style import BLUE, GREY, ORANGE, draw_cells, label_lines, panels, styled

FASTER_SLOWER = LinearSegmentedColormap.from_list("faster to slower", (BLUE, "white", ORANGE))
LARGE = ("hidden layer, partial", "weight gradient")  # the phases that are large products
WAITING = ("waiting", "barrier", "other clusters")  # in the names of the phases that wait


@styled
def plot_curves(graphs: Mapping[str, tuple], *, fmt: str = "-", **axes: Any) -> None:
    """A panel per title, given x and the named lines over x: each a row of values, or three rows,
    lower quartiles, medians, upper quartiles. `axes` as in `Axes.set`, `fmt` as in `Axes.plot`."""
    width = 3 + 3.5 * len(graphs)
    for axis, (title, (x, lines)) in zip(panels(len(graphs), width, 3.2), graphs.items()):
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
    axes = panels(len(values), 8.5, 2.5, sharey=True)
    for i, (axis, (name, array)) in enumerate(zip(axes, values.items())):
        counts, edges = np.histogram(to_numpy(array), bins=64)
        axis.stairs(counts / counts.sum(), edges, fill=True, color=f"C{i}")
        axis.set(xlabel=name, yscale="log")
    axes[0].set_ylabel("share")


@styled
def plot_launch_queue(cases: Mapping[str, tuple], *, machine: str = "") -> None:
    """A panel per titled case: three training steps to scale, on the host (orange) and on the GPU
    (blue), given the microseconds of a step on each. The GPU's work begins when it is queued."""
    _, axes = plt.subplots(len(cases), 1, figsize=(8, 1.55 * len(cases)), squeeze=False)
    for axis, (title, (host, gpu)) in zip(axes.flat, cases.items()):
        end = 0.0
        for i in range(3):
            queued = (i + 1) * host
            start = max(queued, end)
            bar = axis.barh(1, host, 0.5, i * host, color=ORANGE, edgecolor="white")
            axis.bar_label(bar, [f"step {i + 1}"], label_type="center", color="white")
            axis.barh(0, gpu, 0.5, start, color=BLUE, edgecolor="white", linewidth=0.4)
            arrow = {"arrowstyle": "->", "color": GREY, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (start, 0.27), (queued, 0.73), arrowprops=arrow)
            end = start + gpu
        axis.set_yticks((0, 1), ("GPU", "host"))
        axis.set(xlim=(0, 1.02 * end), ylim=(-0.35, 1.35))
        axis.set_title(title, loc="left")
    axes[-1, 0].set_xlabel("µs")
    axes[0, 0].set_title(machine, fontsize=9, loc="right")


@styled
def plot_roofline(points: Mapping, *, peak: float, bandwidth: float, machine: str) -> None:
    """Per series (a color) named points (a marker each) of operations per byte and operations per
    second, below the roof that `bandwidth`, bytes per second, and `peak` make."""
    _, axis = plt.subplots(figsize=(7.5, 4))
    intensity = np.geomspace(1, 300, 100)
    axis.plot(intensity, np.minimum(peak, intensity * bandwidth) / 1e12, color="black", lw=1.2)
    axis.text(290, peak / 1e12 * 1.15, "peak of the arithmetic", ha="right")
    slope = {"rotation": 33, "rotation_mode": "anchor"}
    axis.text(1.25, 1.5 * bandwidth / 1e12, "peak of the memory", **slope)
    markers = dict(zip(next(iter(points.values())), "osD^vP*"))
    for name, marker in markers.items():
        axis.plot([], [], marker, color="black", label=name)
    for series, named in points.items():
        (line,) = axis.plot([], [], linewidth=6, label=series)
        for name, (x, rate) in named.items():
            axis.plot(x, rate / 1e12, markers[name], color=line.get_color(), markersize=8)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    axis.set(xscale="log", yscale="log", xlim=(1, 300), ylim=(0.15, 200), title=machine)
    axis.set(xlabel="arithmetic intensity: operations per byte", ylabel="TFLOP per second")


@styled
def plot_break_even(ratios: Mapping[int, Mapping[int, float]], *, title: str) -> None:
    """A cell per hidden width (outer keys) and batch size (inner keys) with the ratio of two times:
    blue below 1, orange above, and a black line where 1 lies between two neighbors."""
    widths, batches = list(ratios)[::-1], list(next(iter(ratios.values())))
    table = np.array([[ratios[width][n] for n in batches] for width in widths])
    far = max(2.0, float(np.exp(abs(np.log(table)).max())))
    _, axis = plt.subplots(figsize=(1.1 * len(batches) + 2.2, 0.55 * len(table) + 1.4))
    inks = np.where(abs(np.log(table)) > 0.6 * np.log(far), "white", "black")
    look = {"cmap": FASTER_SLOWER, "norm": LogNorm(1 / far, far)}
    draw_cells(axis, table, np.char.mod("%.2f", table), inks, (widths, batches), **look)
    fast = table < 1
    for row, column in np.argwhere(fast[:, 1:] != fast[:, :-1]):
        axis.vlines(column + 1, row, row + 1, "black", linewidth=2.5, capstyle="projecting")
    for row, column in np.argwhere(fast[1:] != fast[:-1]):
        axis.hlines(row + 1, column, column + 1, "black", linewidth=2.5, capstyle="projecting")
    axis.set(xlabel="batch size", ylabel="hidden units", title=title)


@styled
def plot_phases(names: Sequence[str], rows: Mapping, ideal: Mapping, *, machine: str) -> None:
    """The cycles of a step as stacked bars, one panel per width: a bar for each measured form of
    the kernel, and beside them the two phases that `ideal` gives cycles for."""
    axes = panels(len(rows), 8.6, 6.6, sharey=True)
    tallest = max(sum(form["cycles"]) for forms in rows.values() for form in forms)
    for axis, (width, forms) in zip(axes, rows.items()):
        bars = {f"form {form['form']}": zip(names, form["cycles"]) for form in forms}
        bars["ideal"] = zip([name for name in names if name in LARGE], ideal[width])
        for place, phases in enumerate(bars.values()):
            bottom = 0
            for name, cycles in phases:
                color = GREY if any(word in name for word in WAITING) else ORANGE
                color = BLUE if name in LARGE else color
                bar = axis.bar(place, cycles, 0.92, bottom, color=color, edgecolor="white")
                bottom += cycles
                text = name.removesuffix(" to the cluster") * (cycles > tallest / 36)
                text += f"\n{cycles:,}" * (cycles > tallest / 16)
                axis.bar_label(bar, [text], label_type="center", color="white", fontsize=7)
            axis.text(place, bottom, f"{bottom:,}", ha="center", va="bottom")
        axis.set_xticks(range(len(bars)), list(bars))
        axis.set_title(f"{width} hidden units")
    axes[0].set_ylabel(f"clock cycles of a step, {machine.partition(',')[0]}")
    for kind, color in (("large products", BLUE), ("everything else", ORANGE), ("waiting", GREY)):
        axes[0].bar(0, 0, color=color, label=kind)
    axes[0].legend(loc="upper left")
