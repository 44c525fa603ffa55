"""What figures share: 4.5 inches of width, text that a phone shows, colors as in book.css."""

import sys
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import LogLocator

BLUE, ORANGE, GREY = "#2a6f97", "#b8551f", "#666c76"  # the style sheet's, in its order
# So transparent that black can be read on them, and on a dark page what stands for black there.
TINTS = [(0, BLUE + "99"), (0.5, BLUE + "00"), (0.5, ORANGE + "00"), (1, ORANGE + "99")]
TINTS = LinearSegmentedColormap.from_list("blue to orange", TINTS)

# In notebooks figures are SVG of just their size, text as text, the same file for the same data.
plt.rc("svg", fonttype="none", hashsalt="tutorial_lib")
plt.rc("axes.formatter", min_exponent=99)  # 1e-09: no small digits, which a phone hides
if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
    saved = {"bbox_inches": None, "metadata": {"Date": None}}
    shell.run_line_magic("config", "InlineBackend.figure_formats = ['svg']")
    shell.run_line_magic("config", f"InlineBackend.print_figure_kwargs = {saved}")

# A decorator: what the function draws follows the style sheet, and no other figure does.
styled = plt.style.context(Path(__file__).with_name("book.mplstyle"))


def panels(number: int, height: float, **options: Any) -> np.ndarray:
    """`number` axes, one below the other, in a figure of `height` inches."""
    return plt.subplots(number, 1, figsize=(4.5, height), squeeze=False, **options)[1][:, 0]


def label_lines(axis: Axes) -> None:
    """Name each line at its right end, none upon another, and ticks by numbers; call this last."""
    axis.autoscale_view()
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_formatter("{x:g}")
    if isinstance(axis.xaxis.get_major_locator(), LogLocator):
        axis.locator_params("x", numticks=6)  # side by side
    lines = [line for line in axis.lines if not line.get_label().startswith("_")]
    ends = [max(tuple(p) for p in line.get_xydata() if np.isfinite(p[1])) for line in lines]
    heights = axis.transAxes.inverted().transform(axis.transData.transform(ends))[:, 1]
    top = -np.inf
    for i in np.argsort(heights):
        name = fill(lines[i].get_label(), 16)
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
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    inks = np.broadcast_to(inks, np.shape(shades))
    for (row, column), text in np.ndenumerate(texts):
        axis.text(column + 0.5, row + 0.5, text, color=inks[row, column], ha="center", va="center")
    if names:
        axis.set_xticks(np.arange(len(names[1])) + 0.5, names[1])
        axis.set_yticks(np.arange(len(names[0])) + 0.5, names[0])
