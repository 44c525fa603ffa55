"""Numbers against numbers: losses, errors, distributions, times."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.plotting.colors import BLUE, GREY, ORANGE, colored


def plot_learning_curve(losses: Mapping[str, Sequence[float]], *, smooth: int = 10) -> None:
    """Loss over batches: faint as measured, strong averaged over the last `smooth` batches."""
    _, axis = plt.subplots(figsize=(6.5, 3))
    for (name, values), color in colored(losses):
        average = np.convolve(values, np.ones(smooth) / smooth, mode="valid")
        axis.plot(values, color=color, alpha=0.25)
        axis.plot(np.arange(smooth - 1, len(values)), average, color=color, label=name)
    axis.set(xlabel="batch", ylabel="loss (binary cross-entropy)", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    plt.tight_layout()


def plot_curves(
    panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], *, xlabel: str
) -> None:
    """Functions of one variable: a panel per title, in it x and the named values of each curve."""
    _, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 2.6), squeeze=False)
    for axis, (title, (x, curves)) in zip(axes.flat, panels.items()):
        for (name, y), color in colored(curves):
            axis.plot(x, y, color=color, label=name)
        axis.set(title=title, xlabel=xlabel)
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
        if len(curves) > 1:
            axis.legend(frameon=False)
    plt.tight_layout()


def plot_logarithmic(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    xscale: str = "log",
) -> None:
    """Up to three named lines over `x`, the vertical scale logarithmic, the horizontal one by
    `xscale`; zeros are left out."""
    _, axis = plt.subplots(figsize=(6.5, 3.4))
    for (name, values), color in colored(lines):
        heights = np.where(np.asarray(values) > 0, values, np.nan)
        axis.plot(x, heights, ".-", color=color, label=name, markersize=5, linewidth=1.2)
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale="log")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=9)
    plt.tight_layout()


def plot_histograms(values: Mapping[str, xp.ndarray], *, bins: int = 64) -> None:
    """The share of values in each bin, on a logarithmic scale: one panel per named array, side by
    side."""
    _, axes = plt.subplots(1, len(values), figsize=(8.5, 2.5), sharey=True, squeeze=False)
    for axis, ((name, array), color) in zip(axes.flat, colored(values)):
        counts, edges = np.histogram(to_numpy(array), bins=bins)
        axis.stairs(counts / counts.sum(), edges, fill=True, color=color)
        axis.set(xlabel=name, yscale="log")
    axes[0, 0].set_ylabel("share")
    plt.tight_layout()


def plot_class_shares(labels: Mapping[str, np.ndarray]) -> None:
    """How many of each ten digits there are, in percent, one group of bars per digit, one color per
    named array of labels; the line is an equal share."""
    _, axis = plt.subplots(figsize=(7, 2.6))
    width = 0.8 / len(labels)
    for i, ((name, values), color) in enumerate(colored(labels)):
        shares = 100 * np.bincount(to_numpy(values), minlength=10) / len(values)
        axis.bar(np.arange(10) + (i + 0.5) * width - 0.4, shares, width, color=color, label=name)
    axis.axhline(10, color="black", linewidth=0.8, linestyle="--")
    axis.set(xlabel="digit", ylabel="share in %", xticks=range(10))
    axis.set_ylim(0, max(14, axis.get_ylim()[1]))
    axis.legend(loc="upper right", ncols=len(labels), frameon=False)
    plt.tight_layout()


def plot_times_by_width(times: Mapping[str, Mapping[str, float]], *, unit: str) -> None:
    """Grouped bars: for each width of the hidden layer (the inner keys) one bar per network (the
    outer keys), labelled with its time."""
    _, axis = plt.subplots(figsize=(6.5, 3))
    share = 0.8 / len(times)
    for i, ((name, by_width), color) in enumerate(colored(times, (ORANGE, BLUE, GREY))):
        places = np.arange(len(by_width)) + (i - (len(times) - 1) / 2) * share
        bars = axis.bar(places, list(by_width.values()), share * 0.94, color=color, label=name)
        axis.bar_label(bars, fmt="%g", fontsize=9, padding=2)
    widths = list(next(iter(times.values())))
    axis.set_xticks(range(len(widths)), widths)
    axis.set(xlabel="hidden units", ylabel=unit)
    axis.margins(y=0.3)
    axis.legend(ncols=len(times), loc="upper center", frameon=False)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    plt.tight_layout()
