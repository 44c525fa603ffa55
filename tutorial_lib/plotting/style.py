"""The style sheet and its colors, and what several figures share."""

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#2a6f97", "#d1662b", "#8a8f98"  # the style sheet's, in its order

# A decorator: what the function draws follows the style sheet, and no other figure does.
styled = plt.style.context(Path(__file__).with_name("book.mplstyle"))


def panels(number: int, width: float, height: float, **options: Any) -> np.ndarray:
    """A row of `number` axes in a figure of `width` by `height` inches."""
    return plt.subplots(1, number, figsize=(width, height), squeeze=False, **options)[1][0]


def label_lines(axis: Axes) -> None:
    """Write the name of each line at its right end, none upon another; call this last."""
    axis.autoscale_view()
    lines = [line for line in axis.lines if not line.get_label().startswith("_")]
    ends = [max(tuple(p) for p in line.get_xydata() if np.isfinite(p[1])) for line in lines]
    heights = axis.transAxes.inverted().transform(axis.transData.transform(ends))[:, 1]
    top = -np.inf
    for i in np.argsort(heights):
        name = fill(lines[i].get_label(), 20)
        half = 0.045 * len(name.splitlines())  # of its height, as a share of the axes'
        center, color = max(heights[i], top + half), lines[i].get_color()
        axis.text(1.02, center, name, transform=axis.transAxes, va="center", color=color)
        top = center + half


def draw_cells(
    axis: Axes, shades: Any, texts: Any = (), inks: Any = "black", names: Any = None, **look: Any
) -> None:
    """A cell of side 1 for each element of `shades` (rows, columns), the first row on top; on it
    its element of `texts` in the color of `inks`; beside them the `names` of rows and columns."""
    axis.pcolormesh(shades, **look)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    inks = np.broadcast_to(inks, np.shape(shades))
    for (row, column), text in np.ndenumerate(texts):
        ink = inks[row, column]
        axis.text(column + 0.5, row + 0.5, text, color=ink, ha="center", va="center")
    if names:
        axis.set_xticks(np.arange(len(names[1])) + 0.5, names[1])
        axis.set_yticks(np.arange(len(names[0])) + 0.5, names[0])
