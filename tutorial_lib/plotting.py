"""The book's pictures: digits, predictions, learning curves, weights, the network, packed masks.

Imports matplotlib.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

from tutorial_lib.backend import to_numpy, xp
from tutorial_lib.dataset import get_loader
from tutorial_lib.networks.base import MnistNetBase

BLUE, ORANGE, GREY = "#2a6f97", "#d1662b", "#8a8f98"


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


def plot_learning_curve(losses: Mapping[str, Sequence[float]], *, smooth: int = 10) -> None:
    """Loss over batches: faint as measured, strong averaged over the last `smooth` batches."""
    _, axis = plt.subplots(figsize=(6.5, 3))
    for (name, values), color in zip(losses.items(), (BLUE, ORANGE, GREY)):
        average = np.convolve(values, np.ones(smooth) / smooth, mode="valid")
        axis.plot(values, color=color, alpha=0.25)
        axis.plot(np.arange(smooth - 1, len(values)), average, color=color, label=name)
    axis.set(xlabel="batch", ylabel="loss (binary cross-entropy)", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    plt.tight_layout()


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


def plot_architecture(*, num_hidden: int = 30, batch: int = 256) -> None:
    """The network as boxes and the shapes between them: matmuls blue, elementwise orange."""
    steps = [
        ("images", f"x   ({batch}, 784)", GREY),
        ("hidden layer", "$W_h\\,x^T + b_h$", BLUE),
        ("ReLU", "$\\max(0, z)$", ORANGE),
        ("output layer", "$W_o\\,y + b_o$", BLUE),
        ("sigmoid", "$1/(1+e^{-z})$", ORANGE),
    ]
    shapes = [
        "$x^T$: " + f"(784, {batch})",
        f"({num_hidden}, {batch})",
        f"({num_hidden}, {batch})",
        f"(10, {batch})",
    ]
    weights = {
        1: f"$W_h$ ({num_hidden}, 784)\n$b_h$ ({num_hidden},)",
        3: f"$W_o$ (10, {num_hidden})\n$b_o$ (10,)",
    }
    _, axis = plt.subplots(figsize=(10, 2.3))
    for i, (name, formula, color) in enumerate(steps):
        box = FancyBboxPatch(
            (i * 2.4, 0),
            1.45,
            1,
            boxstyle="round,pad=0.06",
            facecolor=color,
            alpha=0.9,
            edgecolor="none",
        )
        axis.add_patch(box)
        axis.text(
            i * 2.4 + 0.72,
            0.68,
            name,
            ha="center",
            va="center",
            color="white",
            weight="bold",
            fontsize=10,
        )
        axis.text(i * 2.4 + 0.72, 0.3, formula, ha="center", va="center", color="white", fontsize=9)
        if i in weights:
            axis.text(
                i * 2.4 + 0.72, 1.2, weights[i], ha="center", va="bottom", fontsize=9, color=BLUE
            )
        if i < len(shapes):
            axis.annotate(
                "",
                (i * 2.4 + 2.3, 0.5),
                (i * 2.4 + 1.55, 0.5),
                arrowprops={"arrowstyle": "->", "color": GREY},
            )
            axis.text(i * 2.4 + 1.92, -0.28, shapes[i], ha="center", va="top", fontsize=8.5)
    axis.text(
        4 * 2.4 + 0.72, -0.28, f"transposed: ({batch}, 10)", ha="center", va="top", fontsize=8.5
    )
    axis.set(xlim=(-0.3, 11.5), ylim=(-0.7, 2))
    axis.axis("off")
    plt.tight_layout(pad=0.2)


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
        xlim=(0, values.size),
        ylim=(1, 0),
        aspect="equal",
        title=f"in memory, strides {tuple(int(s) for s in strides)}",
    )
    for axis in (grid, line):
        axis.axis("off")
        axis.title.set_fontsize(10)
    plt.tight_layout()
