"""Several ranks: the ring all-reduce step by step, and what was measured of scaling."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from tutorial_lib.plotting.colors import BLUE, ORANGE, colored


def plot_ring(snapshots: Sequence[np.ndarray]) -> None:
    """The arrays of all ranks before the first step of a ring all-reduce and after each: one panel
    per snapshot (ranks, n), a row per rank; what was just added to is orange, what was just
    replaced blue."""
    ranks, n = snapshots[0].shape
    columns = ranks if ranks > 2 else len(snapshots)
    rows = -(-len(snapshots) // columns)
    _, axes = plt.subplots(
        rows,
        columns,
        figsize=(0.52 * n * columns + 0.5, (0.4 * ranks + 0.45) * rows),
        squeeze=False,
    )
    for axis in axes.flat:
        axis.axis("off")
    for step, (axis, snapshot) in enumerate(zip(axes.flat, snapshots)):
        new = snapshot != snapshots[step - 1] if step else np.zeros_like(snapshot, dtype=bool)
        for (rank, place), value in np.ndenumerate(snapshot):
            color = (ORANGE if step < ranks else BLUE) if new[rank, place] else "#e4e6ea"
            axis.add_patch(Rectangle((place, rank), 0.94, 0.9, facecolor=color, edgecolor="none"))
            axis.text(
                place + 0.47,
                rank + 0.45,
                str(value),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if new[rank, place] else "black",
            )
        axis.set(xlim=(-0.15, n + 0.15), ylim=(ranks, -0.1))
        axis.set_title(f"after step {step - 1}" if step else "before", fontsize=9)
    plt.tight_layout(pad=0.4)


def plot_all_reduce(
    measured: Mapping[int, Mapping], fitted: Mapping[int, float], *, title: str
) -> None:
    """Microseconds over bytes, both logarithmic: measured medians with quartiles, and the line of
    the fitted model."""
    _, axis = plt.subplots(figsize=(6.5, 3.4))
    sizes = list(measured)
    medians = np.array([1e6 * measured[size]["median"] for size in sizes])
    low, high = 1e6 * np.array([measured[size]["quartiles"] for size in sizes]).T
    axis.errorbar(
        sizes,
        medians,
        [np.maximum(medians - low, 0), np.maximum(high - medians, 0)],
        fmt="o",
        color=BLUE,
        markersize=5,
        capsize=3,
        label="measured, median and quartiles",
    )
    axis.plot(fitted.keys(), 1e6 * np.array(list(fitted.values())), color=ORANGE, label="model")
    axis.set(xscale="log", yscale="log", xlabel="bytes", ylabel="microseconds")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    plt.tight_layout()


def plot_scaling(
    strong: Mapping[str, Mapping[int, float]], weak: Mapping[str, Mapping[int, float]]
) -> None:
    """Two panels over the width of the hidden layer, a line per name: how many times faster the
    ranks are on one batch, and what share of one rank's pace is left when each has a batch."""
    _, axes = plt.subplots(1, 2, figsize=(8, 3.1))
    panels = [
        (strong, "the same batch, split", "times faster than one rank"),
        (weak, "a batch for each rank", "pace of a rank, in % of one alone"),
    ]
    for axis, (lines, title, label) in zip(axes, panels):
        for (name, by_width), color in colored(lines):
            axis.plot(by_width.keys(), by_width.values(), "o-", color=color, label=name)
        axis.set(xscale="log", xlabel="hidden units", ylabel=label, title=title)
        axis.title.set_fontsize(10)
        widths = sorted({width for by_width in lines.values() for width in by_width})
        axis.set_xticks(widths, widths)
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.axhline(1 if lines is strong else 100, color="black", linewidth=0.8, linestyle="--")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    plt.tight_layout()
