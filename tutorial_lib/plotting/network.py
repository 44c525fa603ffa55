"""The network as boxes and shapes, forward and backward."""

from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

from tutorial_lib.plotting.colors import BLUE, GREY, ORANGE


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
