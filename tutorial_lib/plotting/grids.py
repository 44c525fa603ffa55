"""Arrays as pictures: digits, weights, counts, the order of a matrix in memory, a mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from tutorial_lib.backend import Array, to_numpy
from tutorial_lib.dataset import get_loader
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.plotting.style import BLUE, GREY, ORANGE, draw_cells, panels, styled


@styled
def plot_digits(images: Array, titles: Sequence[str], **look: Any) -> None:
    """Draw the first images (n, 784), one per title, ten to a row; `look` as in `Axes.imshow`."""
    rows = -(-len(titles) // 10)
    height = 1.2 if any(titles) else 0.95
    _, axes = plt.subplots(rows, 10, figsize=(9.5, height * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, to_numpy(images), titles):
        axis.imshow(image.reshape(28, 28), **look)
        axis.set_title(title)


def plot_weights(model: MnistNetBase) -> None:
    """The rows of `weights_hidden` as pictures: blue pixels excite a hidden unit, red inhibit."""
    limit = 0.6 * float(abs(model.weights_hidden).max())
    titles = [""] * len(model.weights_hidden)
    plot_digits(model.weights_hidden, titles, cmap="RdBu", vmin=-limit, vmax=limit)


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
    _, axis = plt.subplots(figsize=(5.2, 4.8))
    right, names = np.eye(len(counts), dtype=bool), range(len(counts))
    mistakes = np.where(right, 0, counts)
    dark = mistakes > 0.6 * mistakes.max()
    inks = np.select([right, mistakes == 0, dark], [GREY, "#d9dbde", "white"], "black")
    draw_cells(axis, mistakes, counts, inks, (names, names), cmap="Oranges")
    axis.set(xlabel="prediction", ylabel="label", aspect="equal")


@styled
def plot_flattening(image: Array) -> None:
    """One image (784,) as a square and as the line that it is in memory: the whole line, and a part
    of it enlarged, with four neighboring rows framed in all three."""
    layout = [["28 rows of 28", "the same 784 pixels, end to end"]]
    layout += [["28 rows of 28", "rows 11 to 14 of it, enlarged"]]
    _, axes = plt.subplot_mosaic(layout, figsize=(8.5, 2.6), width_ratios=(1, 3))
    square, line, part = axes.values()
    square.imshow(to_numpy(image).reshape(28, 28), extent=(0, 28, 28, 0))
    for axis in (line, part):
        axis.imshow(to_numpy(image).reshape(1, 784), extent=(0, 784, 1, 0), aspect="auto")
    for title, axis in axes.items():
        for row in range(11, 15):
            corner = (0, row) if axis is square else (28 * row, 0)
            look = {"fill": False, "ec": (ORANGE, BLUE)[row % 2], "lw": 1.6, "clip_on": False}
            axis.add_patch(Rectangle(corner, 28, 1, **look))
        axis.set(title=title, yticks=[])
        axis.spines[:].set_visible(True)
        axis.grid(visible=False)
    square.set_xticks(range(0, 29, 14))
    line.set_xticks(range(0, 785, 112))
    part.set(xlim=(308, 420), xticks=range(308, 421, 28))


@styled
def plot_memory_order(matrix: Array) -> None:
    """A small matrix without gaps twice: where each element is, and the order in memory."""
    strides = tuple(stride // matrix.dtype.itemsize for stride in matrix.strides)
    order = "F" if strides[0] < strides[1] else "C"
    values = to_numpy(matrix)
    shades = np.indices(values.shape)[0] / len(values)
    axes = panels(2, 8.5, 0.5 * len(values) + 0.5, width_ratios=(values.shape[1], values.size))
    titles = "the matrix", f"in memory, strides {strides}"
    for axis, shape, title in zip(axes, (values.shape, (1, values.size)), titles):
        own, texts = (np.reshape(x, shape, order) for x in (shades, np.char.mod("%g", values)))
        draw_cells(axis, own, texts, cmap="Blues", edgecolors="white", vmin=-0.2, vmax=1.3)
        axis.set(title=title, aspect="equal")
        axis.axis("off")


@styled
def plot_mask(mask: Array, m: int) -> None:
    """A packed ReLU mask bit by bit: bytes framed, the first `m` rows blue for 1, padding gray."""
    bits = np.unpackbits(to_numpy(mask), axis=0, bitorder="little")
    rows, columns = bits.shape
    bits[m:] = 2
    _, axis = plt.subplots(figsize=(8, 0.32 * columns + 0.9))
    colors = ListedColormap(["white", BLUE, "#e4e6ea"])
    draw_cells(axis, bits.T, cmap=colors, vmin=0, vmax=2, edgecolors="#c5c8cd", linewidth=0.3)
    axis.vlines(range(0, rows + 1, 8), 0, columns, "#40454d", linewidth=0.8)
    axis.hlines(range(columns + 1), 0, rows, "#40454d", linewidth=0.8)
    axis.set(xticks=range(0, rows + 1, 8), yticks=[], ylabel="column of\nthe result")
    axis.set_xlabel("row of the result; a frame is one byte, memory runs to the right")
