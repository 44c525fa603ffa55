"""Arrays as pictures: digits, weights, counts, ratios, the order of a matrix in memory, a mask."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm
from matplotlib.patches import Rectangle

from tutorial_lib.backend import Array, to_numpy
from tutorial_lib.dataset import get_loader
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.plotting.style import BLUE, GREY, ORANGE, TINTS, draw_cells, panels, styled


@styled
def plot_digits(images: Array, titles: Sequence[str], **look: Any) -> None:
    """Draw the first images (n, 784), one per title, five to a row; `look` as in `Axes.imshow`."""
    rows = -(-len(titles) // 5)
    size = 4.5, (0.9 + 0.2 * any(titles)) * rows
    bare = {"frame_on": False, "xticks": [], "yticks": []}
    axes = plt.subplots(rows, 5, figsize=size, squeeze=False, subplot_kw=bare)[1]
    for axis, image, title in zip(axes.flat, to_numpy(images), titles):
        axis.imshow(image.reshape(28, 28), **look)
        axis.set_title(title)


def plot_weights(model: MnistNetBase, limit: float) -> None:
    """The rows of `weights_hidden` as pictures: blue above 0, orange below, full at `limit`."""
    titles = [""] * len(model.weights_hidden)
    colors = LinearSegmentedColormap.from_list("orange to blue", (ORANGE, "white", BLUE))
    plot_digits(model.weights_hidden, titles, cmap=colors, vmin=-limit, vmax=limit)


def plot_predictions(model: MnistNetBase, num_samples: int = 10) -> None:
    """The first test digits, each titled ``prediction (label)``."""
    images, labels = next(get_loader(train=False))
    predictions = to_numpy(model.forward(images).argmax(axis=1))
    pairs = zip(predictions[:num_samples], to_numpy(labels))
    plot_digits(images, [f"{prediction} ({label})" for prediction, label in pairs])


def plot_mistakes(model: MnistNetBase) -> None:
    """The 20 wrong answers that the network is surest of, titled ``prediction (label)``."""
    answers = [(x, labels, model.forward(x)) for x, labels in get_loader(train=False)]
    images, labels, outputs = (np.concatenate(list(map(to_numpy, x))) for x in zip(*answers))
    predictions, sure = outputs.argmax(axis=1), outputs.max(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")][:20]
    plot_digits(images[surest], [f"{predictions[i]} ({labels[i]})" for i in surest])


@styled
def plot_confusion(counts: np.ndarray) -> None:
    """Counts (10, 10), label downwards, prediction to the right: mistakes shaded, the rest grey."""
    _, axis = plt.subplots(figsize=(4.5, 4.2))
    right, names = np.eye(len(counts), dtype=bool), range(len(counts))
    mistakes = np.where(right, 0, counts)
    inks, most = np.where(mistakes, "black", GREY), mistakes.max()
    draw_cells(axis, mistakes, counts, inks, (names, names), cmap=TINTS, vmin=-most, vmax=most)
    axis.set(xlabel="prediction", ylabel="label", aspect="equal")


@styled
def plot_flattening(image: Array) -> None:
    """One image (784,) as a square, as the line that it is in memory, and a part of it enlarged."""
    square, line, part = axes = panels(3, 4.5, height_ratios=(3, 1, 1))
    square.imshow(to_numpy(image).reshape(28, 28), extent=(0, 28, 28, 0))
    for axis in (line, part):
        axis.imshow(to_numpy(image).reshape(1, 784), extent=(0, 784, 1, 0), aspect="auto")
    titles = "28 rows of 28", "the same 784 pixels, end to end", "rows 11 to 14 of it, enlarged"
    part.set_xlim(308, 420)
    ticks = range(0, 29, 14), range(0, 785, 112), range(308, 421, 28)
    for axis, title, xticks in zip(axes, titles, ticks):
        for row in range(11, 15):
            corner = (0, row) if axis is square else (28 * row, 0)
            look = {"fill": False, "ec": (ORANGE, BLUE)[row % 2], "lw": 1.6, "clip_on": False}
            axis.add_patch(Rectangle(corner, 28, 1, **look))
        axis.set(title=title, xticks=xticks, yticks=[])
        axis.spines[:].set_visible(True)
        axis.grid(visible=False)


@styled
def plot_memory_order(matrix: Array) -> None:
    """A small matrix without gaps twice: where each element is, and the order in memory."""
    strides = tuple(stride // matrix.dtype.itemsize for stride in matrix.strides)
    order = "F" if strides[0] < strides[1] else "C"
    values = to_numpy(matrix)
    shades = -(np.indices(values.shape)[0] + 1) / len(values)  # below 0: blue
    axes = panels(2, 0.22 * len(values) + 1.1, sharex=True, height_ratios=(len(values), 1))
    titles = "the matrix", f"in memory, strides {strides}"
    for axis, shape, title in zip(axes, (values.shape, (1, values.size)), titles):
        own, texts = (np.reshape(x, shape, order) for x in (shades, np.char.mod("%g", values)))
        draw_cells(axis, own, texts, cmap=TINTS, edgecolors="white", vmin=-1, vmax=1)
        axis.set(aspect="equal")
        axis.set_title(title, loc="left")
        axis.axis("off")


@styled
def plot_mask(mask: Array, m: int) -> None:
    """A packed ReLU mask bit by bit: bytes framed, the first `m` rows blue for 1, padding gray."""
    bits = np.unpackbits(to_numpy(mask), axis=0, bitorder="little")
    rows, columns = bits.shape
    bits[m:] = 2
    (axis,) = panels(1, 0.3 * columns + 0.9)
    colors = ListedColormap(["white", BLUE, "#d5d8dd"])
    draw_cells(axis, bits.T, cmap=colors, vmin=0, vmax=2, edgecolors="white", linewidth=0.2)
    axis.vlines(range(0, rows + 1, 8), 0, columns, "#5b626d", linewidth=0.8)
    axis.hlines(range(columns + 1), 0, rows, "#5b626d", linewidth=0.8)
    axis.set(xticks=range(0, rows + 1, 32), yticks=[], ylabel="column of\nthe result")
    axis.set_xlabel("row of the result; a frame is one byte")


@styled
def plot_break_even(ratios: Mapping[int, Mapping[int, float]], *, title: str) -> None:
    """A cell per hidden width (outer keys) and batch size (inner keys) with the ratio of two times:
    blue below 1, orange above, full at 1/2 and 2; a line where 1 lies between two neighbors."""
    widths, batches = list(ratios)[::-1], list(next(iter(ratios.values())))
    table = np.array([[ratios[width][n] for n in batches] for width in widths])
    (axis,) = panels(1, 0.4 * len(table) + 1.2)
    look = {"names": (widths, batches), "cmap": TINTS, "norm": LogNorm(1 / 2, 2)}
    draw_cells(axis, table, np.char.mod("%.2f", table), **look)
    fast = table < 1
    for row, column in np.argwhere(fast[:, 1:] != fast[:, :-1]):
        axis.vlines(column + 1, row, row + 1, "black", linewidth=2.5, capstyle="projecting")
    for row, column in np.argwhere(fast[1:] != fast[:-1]):
        axis.hlines(row + 1, column, column + 1, "black", linewidth=2.5, capstyle="projecting")
    axis.set(xlabel="batch size", ylabel="hidden units", title=fill(title, 40))
