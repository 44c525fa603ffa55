"""Digits, and what a network makes of them: predictions, mistakes, weights, confusion."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import get_loader
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.plotting.colors import BLUE, GREY, ORANGE


def plot_digits(images: xp.ndarray, titles: Sequence[str], *, columns: int = 10) -> None:
    """Draw images (n, 784), dark on light, `columns` to a row, as many as there are titles."""
    rows = -(-len(titles) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(0.95 * columns, 1.25 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, to_numpy(images), titles):
        axis.imshow(image.reshape(28, 28), cmap="Greys")
        axis.set_title(title, fontsize=10)
    plt.tight_layout(pad=0.3)


def plot_predictions(model: MnistNetBase, num_samples: int = 10) -> None:
    """The first test digits, each titled ``prediction (label)``."""
    images, labels = next(get_loader(train=False))
    predictions = to_numpy(model.forward(images).argmax(axis=1))
    pairs = zip(predictions[:num_samples], to_numpy(labels))
    plot_digits(images, [f"{prediction} ({label})" for prediction, label in pairs])


def plot_mistakes(model: MnistNetBase, num_samples: int = 20) -> None:
    """Test digits that the network gets wrong, surest first, titled ``prediction (label)``."""
    wrong = []
    for images, labels in get_loader(train=False):
        probabilities, labels = to_numpy(model.forward(images)), to_numpy(labels)
        predictions = probabilities.argmax(axis=1)
        for i in np.flatnonzero(predictions != labels):
            wrong.append(
                (
                    probabilities[i, predictions[i]],
                    f"{predictions[i]} ({labels[i]})",
                    to_numpy(images[i]),
                )
            )
    wrong.sort(key=lambda mistake: -mistake[0])
    wrong = wrong[:num_samples]
    plot_digits(np.array([image for *_, image in wrong]), [title for _, title, _ in wrong])


def plot_weights(model: MnistNetBase, *, columns: int = 10) -> None:
    """The rows of `weights_hidden` as pictures: blue pixels excite a hidden unit, red inhibit."""
    weights = to_numpy(model.weights_hidden)
    limit = np.abs(weights).max() * 0.6
    rows = -(-len(weights) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(0.95 * columns, 1.0 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, row in zip(axes.flat, weights):
        axis.imshow(row.reshape(28, 28), cmap="RdBu", vmin=-limit, vmax=limit)
    plt.tight_layout(pad=0.3)


def plot_confusion(counts: np.ndarray) -> None:
    """Counts (10, 10) as a picture, label downwards and prediction to the right: mistakes shaded,
    right answers in grey."""
    mistakes = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    _, axis = plt.subplots(figsize=(5.2, 4.8))
    axis.imshow(mistakes, cmap="Oranges")
    for (label, prediction), count in np.ndenumerate(counts):
        color = GREY if label == prediction else "black" if count else "#d9dbde"
        if count > 0.6 * mistakes.max() and label != prediction:
            color = "white"
        axis.text(prediction, label, count, ha="center", va="center", fontsize=9, color=color)
    axis.set(
        xlabel="prediction", ylabel="label", xticks=range(len(counts)), yticks=range(len(counts))
    )
    for side in axis.spines.values():
        side.set_visible(False)
    plt.tight_layout()


def plot_flattening(image: xp.ndarray, *, rows: Sequence[int] = (11, 12, 13, 14)) -> None:
    """One image (784,) as a square and as the line that it is in memory: the whole line, and a part
    of it enlarged, with the chosen neighboring `rows` framed in all three."""
    pixels = to_numpy(image).reshape(28, 28)
    colors = [(BLUE, ORANGE)[i % 2] for i in range(len(rows))]
    first, last = 28 * rows[0], 28 * (rows[-1] + 1)
    figure = plt.figure(figsize=(8.5, 2.6))
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 3))
    square = figure.add_subplot(grid[:, 0])
    line, part = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    square.imshow(pixels, cmap="Greys", extent=(0, 28, 28, 0))
    for axis, start, stop in ((line, 0, 784), (part, first, last)):
        values = pixels.reshape(1, -1)[:, start:stop]
        limits = {"vmin": pixels.min(), "vmax": pixels.max()}
        axis.imshow(values, cmap="Greys", extent=(start, stop, 1, 0), aspect="auto", **limits)
    for row, color in zip(rows, colors):
        frame = {"fill": False, "edgecolor": color, "linewidth": 1.6}
        square.add_patch(Rectangle((0, row), 28, 1, **frame))
        for axis in (line, part):
            axis.add_patch(Rectangle((28 * row, 0), 28, 1, clip_on=False, **frame))
    square.set(title="28 rows of 28", xticks=(0, 14, 28), yticks=(0, 14, 28))
    line.set(title="the same 784 pixels, end to end", xticks=range(0, 785, 112), yticks=[])
    part.set(
        title=f"rows {rows[0]} to {rows[-1]} of it, enlarged",
        xticks=range(first, last + 1, 28),
        yticks=[],
    )
    for axis in (square, line, part):
        axis.title.set_fontsize(10)
        axis.tick_params(labelsize=8)
    plt.tight_layout(pad=0.4)
