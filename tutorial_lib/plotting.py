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
    """The network as boxes, matmuls blue, elementwise steps orange: parameters above each box, what
    leaves it below."""
    steps = [
        ("images", "one per row", f"$x$  ({batch}, 784)", GREY),
        ("hidden layer", "$W_h\\,x^T + b_h$", f"$z_h$  ({num_hidden}, {batch})", BLUE),
        ("ReLU", "$\\max(0, z_h)$", f"$y$  ({num_hidden}, {batch})", ORANGE),
        ("output layer", "$W_o\\,y + b_o$", f"$z_o$  (10, {batch})", BLUE),
        ("sigmoid", "$1/(1+e^{-z_o^T})$", f"$\\hat{{t}}$  ({batch}, 10)", ORANGE),
    ]
    parameters = {
        1: f"$W_h$ ({num_hidden}, 784)\n$b_h$ ({num_hidden},)",
        3: f"$W_o$ (10, {num_hidden})\n$b_o$ (10,)",
    }
    width, step = 1.6, 2.2
    _, axis = plt.subplots(figsize=(8.5, 2.2))
    for i, (name, formula, result, color) in enumerate(steps):
        left, middle = i * step, i * step + width / 2
        axis.add_patch(
            FancyBboxPatch(
                (left, 0), width, 1, boxstyle="round,pad=0.06", facecolor=color, edgecolor="none"
            )
        )
        centered = {"x": middle, "ha": "center", "va": "center"}
        axis.text(y=0.68, s=name, color="white", weight="bold", fontsize=10, **centered)
        axis.text(y=0.28, s=formula, color="white", fontsize=10, **centered)
        axis.text(y=-0.35, s=result, fontsize=10, **centered)
        axis.text(y=1.5, s=parameters.get(i, ""), color=BLUE, fontsize=9.5, **centered)
        if i:
            axis.annotate(
                "",
                (left - 0.07, 0.5),
                (left - step + width + 0.07, 0.5),
                arrowprops={"arrowstyle": "->", "color": GREY},
            )
    axis.set(xlim=(-0.2, 4 * step + width + 0.2), ylim=(-0.6, 1.9))
    axis.axis("off")
    plt.tight_layout(pad=0.2)


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


def plot_class_shares(labels: Mapping[str, np.ndarray]) -> None:
    """How many of each ten digits there are, in percent, one group of bars per digit, one color per
    named array of labels; the line is an equal share."""
    _, axis = plt.subplots(figsize=(7, 2.6))
    width = 0.8 / len(labels)
    for i, ((name, values), color) in enumerate(zip(labels.items(), (BLUE, ORANGE, GREY))):
        shares = 100 * np.bincount(to_numpy(values), minlength=10) / len(values)
        axis.bar(np.arange(10) + (i + 0.5) * width - 0.4, shares, width, color=color, label=name)
    axis.axhline(10, color="black", linewidth=0.8, linestyle="--")
    axis.set(xlabel="digit", ylabel="share in %", xticks=range(10), ylim=(0, 14))
    axis.legend(loc="upper right", ncols=len(labels), frameon=False)
    plt.tight_layout()


def plot_histograms(values: Mapping[str, xp.ndarray], *, bins: int = 64) -> None:
    """The share of values in each bin, on a logarithmic scale: one panel per named array, side by
    side."""
    _, axes = plt.subplots(1, len(values), figsize=(8.5, 2.5), sharey=True, squeeze=False)
    for axis, (name, array), color in zip(axes.flat, values.items(), (BLUE, ORANGE, GREY)):
        counts, edges = np.histogram(to_numpy(array), bins=bins)
        axis.stairs(counts / counts.sum(), edges, fill=True, color=color)
        axis.set(xlabel=name, yscale="log")
    axes[0, 0].set_ylabel("share")
    plt.tight_layout()


def plot_curves(
    panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], *, xlabel: str
) -> None:
    """Functions of one variable: a panel per title, in it x and the named values of each curve."""
    _, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 2.6), squeeze=False)
    for axis, (title, (x, curves)) in zip(axes.flat, panels.items()):
        for (name, y), color in zip(curves.items(), (BLUE, ORANGE, GREY)):
            axis.plot(x, y, color=color, label=name)
        axis.set(title=title, xlabel=xlabel)
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
        if len(curves) > 1:
            axis.legend(frameon=False)
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


def plot_backward(*, num_hidden: int = 30, batch: int = 256) -> None:
    """The backward pass under the forward pass: each value in grey above its gradient in blue,
    parameter gradients in orange, all with shapes."""
    values = [
        ("$x^T$", 784),
        ("$z_h$", num_hidden),
        ("$y$", num_hidden),
        ("$z_o$", 10),
        ("$\\hat t^{\\,T}$", 10),
    ]
    forward = ["$W_h\\,x^T + b_h$", "ReLU", "$W_o\\,y + b_o$", "sigmoid"]
    gradients = {
        1: "$\\partial L/\\partial z_h$",
        2: "$\\partial L/\\partial y$",
        3: "$\\partial L/\\partial z_o$",
    }
    backward = ["", "mask", "$W_o^T\\;\\cdot$", "$(\\hat t - t)^T/n$"]
    parameters = {
        1: (
            "$\\partial L/\\partial W_h = \\partial L/\\partial z_h\\;x$"
            + f"   ({num_hidden}, 784)",
            "$\\partial L/\\partial b_h$ = row sums" + f"   ({num_hidden},)",
        ),
        3: (
            "$\\partial L/\\partial W_o = \\partial L/\\partial z_o\\;y^T$"
            + f"   (10, {num_hidden})",
            "$\\partial L/\\partial b_o$ = row sums   (10,)",
        ),
    }
    _, axis = plt.subplots(figsize=(10, 3.9))

    def box(column: int, height: float, text: str, color: str, shape: str) -> None:
        corner = (column * 2.4, height)
        style = {"boxstyle": "round,pad=0.06", "alpha": 0.9, "edgecolor": "none"}
        axis.add_patch(FancyBboxPatch(corner, 1.2, 0.85, facecolor=color, **style))
        center = {"ha": "center", "va": "center", "color": "white"}
        axis.text(column * 2.4 + 0.6, height + 0.55, text, fontsize=12, **center)
        axis.text(column * 2.4 + 0.6, height + 0.15, shape, fontsize=8.5, **center)

    def arrow(start: tuple[float, float], end: tuple[float, float], color: str) -> None:
        axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color})

    for column, (name, rows) in enumerate(values):
        box(column, 2.6, name, GREY, f"({rows}, {batch})")
        if column in gradients:
            box(column, 0.9, gradients[column], BLUE, f"({rows}, {batch})")
    for gap, (above, below) in enumerate(zip(forward, backward)):
        left, right = gap * 2.4 + 1.3, gap * 2.4 + 2.3
        arrow((left, 3.02), (right, 3.02), GREY)
        axis.text(left + 0.5, 3.16, above, ha="center", va="bottom", fontsize=9, color=GREY)
        if not below:
            continue
        last = gap == len(backward) - 1  # the loss meets the sigmoid: from above, not from a box
        arrow((right + 0.6, 2.5) if last else (right, 1.32), (left, 1.32), BLUE)
        place = (left + 0.85, 1.75) if last else (left + 0.5, 1.46)
        sides = {"ha": "left", "va": "top"} if last else {"ha": "center", "va": "bottom"}
        axis.text(*place, below, fontsize=9, color=BLUE, **sides)
    for column, lines in parameters.items():
        arrow((column * 2.4 + 0.6, 0.82), (column * 2.4 + 0.6, 0.42), ORANGE)
        for height, line in zip((0.12, -0.42), lines):
            style = {"ha": "center", "va": "center", "color": ORANGE, "fontsize": 11}
            axis.text(column * 2.4 + 0.6, height, line, **style)
    axis.text(-0.05, 1.32, "backward", color=BLUE, weight="bold", va="center", fontsize=10)
    axis.text(-0.05, 3.75, "forward", color=GREY, weight="bold", va="center", fontsize=10)
    axis.set(xlim=(-0.3, 11.4), ylim=(-0.75, 3.95))
    axis.axis("off")
    plt.tight_layout(pad=0.2)


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
    for (name, values), color in zip(lines.items(), (BLUE, ORANGE, GREY)):
        heights = np.where(np.asarray(values) > 0, values, np.nan)
        axis.plot(x, heights, ".-", color=color, label=name, markersize=5, linewidth=1.2)
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale="log")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=9)
    plt.tight_layout()


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


def plot_times_by_width(times: Mapping[str, Mapping[str, float]], *, unit: str) -> None:
    """Grouped bars: for each width of the hidden layer (the inner keys) one bar per network (the
    outer keys), labelled with its time."""
    _, axis = plt.subplots(figsize=(6.5, 3))
    share = 0.8 / len(times)
    for i, ((name, by_width), color) in enumerate(zip(times.items(), (ORANGE, BLUE, GREY))):
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
