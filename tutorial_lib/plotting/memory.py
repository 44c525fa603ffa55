"""Matrices, masks and kernels in memory."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.plotting.colors import BLUE, GREY, ORANGE


def plot_memory_order(matrix: xp.ndarray) -> None:
    """A small matrix twice: where each element is, and at which place in memory it is stored."""
    values = to_numpy(matrix)
    strides = np.array(matrix.strides) // matrix.dtype.itemsize
    places = np.add.outer(
        np.arange(values.shape[0]) * strides[0], np.arange(values.shape[1]) * strides[1]
    )
    _, (grid, line) = plt.subplots(
        1, 2, figsize=(8.5, 0.5 * len(values) + 0.5), width_ratios=(1, 2.4)
    )
    for (row, column), value in np.ndenumerate(values):
        shade = plt.cm.Blues(0.15 + 0.55 * row / max(len(values) - 1, 1))
        for axis, corner in ((grid, (column, row)), (line, (places[row, column], 0))):
            axis.add_patch(Rectangle(corner, 1, 1, facecolor=shade, edgecolor="white"))
            axis.text(
                corner[0] + 0.5, corner[1] + 0.5, f"{value:g}", ha="center", va="center", fontsize=9
            )
    grid.set(xlim=(0, values.shape[1]), ylim=(len(values), 0), aspect="equal", title="the matrix")
    line.set(
        xlim=(places.min(), places.max() + 1),
        ylim=(1, 0),
        aspect="equal",
        title=f"in memory, strides {tuple(int(s) for s in strides)}",
    )
    for axis in (grid, line):
        axis.axis("off")
        axis.title.set_fontsize(10)
    plt.tight_layout()


def plot_mask(mask: xp.ndarray, m: int) -> None:
    """A packed ReLU mask bit by bit: bytes framed, the first `m` rows blue for 1, padding gray."""
    packed = to_numpy(mask)
    bits = np.unpackbits(packed, axis=0, bitorder="little")
    rows, columns = bits.shape
    _, axis = plt.subplots(figsize=(8, 0.32 * columns + 0.9))
    for column in range(columns):
        for row in range(rows):
            color = "#e9eaec" if row >= m else (BLUE if bits[row, column] else "white")
            axis.add_patch(
                Rectangle((row, column), 1, 1, facecolor=color, edgecolor="#c5c8cd", linewidth=0.3)
            )
        for byte in range(0, rows, 8):
            axis.add_patch(
                Rectangle((byte, column), 8, 1, fill=False, edgecolor="#40454d", linewidth=0.7)
            )
    axis.set(
        xlim=(-0.5, rows + 0.5), ylim=(columns + 0.2, -0.2), xticks=range(0, rows + 1, 8), yticks=[]
    )
    axis.set_xlabel("row of the result; a frame is one byte, memory runs to the right")
    axis.set_ylabel("column of\nthe result")
    for side in axis.spines.values():
        side.set_visible(False)
    plt.tight_layout()


def plot_memory_traffic(cases: Mapping[str, Sequence[tuple[str, int, int]]]) -> None:
    """For each case its kernels in a row over a bar of GPU memory, each kernel a tuple (name, bytes
    read, bytes written): blue arrows up are reads, orange arrows down are writes."""
    counts = [len(kernels) for kernels in cases.values()]
    _, axes = plt.subplots(
        1,
        len(cases),
        figsize=(1.3 * sum(counts) + 1, 2.6),
        width_ratios=[count + 0.25 for count in counts],
        squeeze=False,
    )
    for axis, (title, kernels) in zip(axes.flat, cases.items()):
        axis.add_patch(Rectangle((-0.5, 0), len(kernels), 0.3, facecolor=GREY, edgecolor="none"))
        axis.text(
            len(kernels) / 2 - 0.5, 0.15, "GPU memory", ha="center", va="center", color="white"
        )
        for i, (name, read, written) in enumerate(kernels):
            color = BLUE if "matmul" in name else ORANGE
            axis.add_patch(
                FancyBboxPatch(
                    (i - 0.36, 1.3), 0.72, 0.6, boxstyle="round,pad=0.04", facecolor=color, lw=0
                )
            )
            axis.text(i, 1.6, name, ha="center", va="center", color="white", fontsize=9)
            arrows = [(read, BLUE, 0.3, 1.25), (written, ORANGE, 1.25, 0.3)]
            arrows = [arrow for arrow in arrows if arrow[0]]
            for (size, shade, start, end), x in zip(arrows, (-0.2, 0.2) if read else (0,)):
                axis.annotate(
                    "",
                    (i + x, end),
                    (i + x, start),
                    arrowprops={"arrowstyle": "->", "color": shade},
                )
                axis.text(
                    i + x,
                    0.77,
                    f"{size:,}",
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color=shade,
                    rotation=90,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                )
        axis.set(xlim=(-0.6, len(kernels) - 0.4), ylim=(-0.05, 2.0))
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    plt.tight_layout(pad=0.4)
