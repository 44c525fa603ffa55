"""Numbers against numbers: losses, errors, distributions, times."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from tutorial_lib.backend import Array, to_numpy
from tutorial_lib.plotting.style import colored, label_lines, panels, styled


@styled
def plot_curves(graphs: Mapping[str, tuple], *, fmt: str = "-", **axes: Any) -> None:
    """A panel per title, given x and the named lines over x: each a row of values, or three rows,
    lower quartiles, medians, upper quartiles. `axes` as in `Axes.set`, `fmt` as in `Axes.plot`."""
    width = 3 + 3.5 * len(graphs)
    for axis, (title, (x, lines)) in zip(panels(len(graphs), width, 3.2), graphs.items()):
        for name, values, color in colored(lines):
            low, middle, high = np.broadcast_to(values, (3, len(x)))
            axis.plot(x, middle, fmt, color=color, label=name, markersize=5)
            axis.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)
        axis.set(title=title, **axes)
        label_lines(axis)


def plot_logarithmic(x: Sequence, lines: Mapping, *, title: str = "", **axes: Any) -> None:
    """Lines over x as in `plot_curves`, without zeros, on logarithmic scales or those of `axes`."""
    positive = {name: np.where(np.greater(y, 0), y, np.nan) for name, y in lines.items()}
    plot_curves({title: (x, positive)}, fmt=".-", **{"xscale": "log", "yscale": "log", **axes})


@styled
def plot_learning_curve(losses: Mapping[str, Sequence[float]], *, smooth: int = 10) -> None:
    """Loss over batches: faint as measured, strong averaged over the last `smooth` batches."""
    _, axis = plt.subplots()
    axis.set(xlabel="batch", ylabel="loss (binary cross-entropy)", yscale="log")
    for name, values, color in colored(losses):
        average = np.convolve(values, np.ones(smooth) / smooth, mode="valid")
        axis.plot(values, color=color, alpha=0.25)
        axis.plot(np.arange(smooth - 1, len(values)), average, color=color, label=name)
    label_lines(axis)


@styled
def plot_bars(groups: Sequence, heights: Mapping, *, labels: bool = False, **axes: Any) -> None:
    """For each of `groups` a bar per name, with `labels` its height above it."""
    _, axis = plt.subplots()
    width = 0.8 / len(heights)
    for i, (name, values, color) in enumerate(colored(heights)):
        places = np.arange(len(groups)) + (i + 0.5) * width - 0.4
        bars = axis.bar(places, values, 0.94 * width, color=color, label=name)
        axis.bar_label(bars, fmt="%g" if labels else "", padding=2)
    axis.set_xticks(range(len(groups)), groups)
    axis.margins(y=0.25)
    axis.set(**axes)
    axis.grid(visible=False, axis="x")
    axis.legend(ncols=len(heights), loc="upper right")


@styled
def plot_histograms(values: Mapping[str, Array], *, bins: int = 64) -> None:
    """The share of values in each bin, on a logarithmic scale, in a panel per named array."""
    axes = panels(len(values), 8.5, 2.5, sharey=True)
    for axis, (name, array, color) in zip(axes, colored(values)):
        counts, edges = np.histogram(to_numpy(array), bins=bins)
        axis.stairs(counts / counts.sum(), edges, fill=True, color=color)
        axis.set(xlabel=name, yscale="log")
    axes[0].set_ylabel("share")
