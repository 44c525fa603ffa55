"""Host, launches and the GPU's queue, as lanes and arrows."""

import itertools
from collections.abc import Mapping

from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

from tutorial_lib.plotting.colors import BLUE, GREY, ORANGE

ARROW = {"arrowstyle": "->", "color": GREY, "shrinkA": 0, "shrinkB": 0}


def plot_launch_queue(
    cases: Mapping[str, tuple[float, float]], *, machine: str = "", steps: int = 3
) -> None:
    """A panel per titled case: `steps` training steps to scale, on the host (orange) and on the GPU
    (blue), given the microseconds of a step on each. The GPU's work begins when it is queued."""
    _, axes = plt.subplots(len(cases), 1, figsize=(8, 1.55 * len(cases)), squeeze=False)
    for axis, (title, (host, gpu)) in zip(axes.flat, cases.items()):
        end = 0.0
        for i in range(steps):
            queued = (i + 1) * host
            start = max(queued, end)
            axis.add_patch(Rectangle((i * host, 1.1), host, 0.7, facecolor=ORANGE, ec="white"))
            axis.add_patch(Rectangle((start, 0), gpu, 0.7, facecolor=BLUE, ec="white", lw=0.4))
            axis.annotate("", (start, 0.72), (queued, 1.08), arrowprops=ARROW)
            label = {"ha": "center", "va": "center", "color": "white", "fontsize": 9}
            axis.text((i + 0.5) * host, 1.43, f"step {i + 1}", **label)
            end = start + gpu
        axis.axhline(0.35, color=GREY, linewidth=0.6, zorder=0)
        axis.set(xlim=(0, 1.02 * end), ylim=(-0.1, 1.9), yticks=[])
        axis.set_yticks((0.35, 1.45), ("GPU", "host"))
        axis.tick_params(left=False)
        axis.set_title(title, fontsize=10, loc="left")
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    axes[-1, 0].set_xlabel("µs")
    axes[0, 0].set_title(machine, fontsize=9, loc="right")
    plt.tight_layout()


def plot_capture(*, kernels: int = 7) -> None:
    """Two panels, not to scale: many launches, a kernel after each, with idle gaps; and one launch
    of a graph, after which the same kernels run without gaps."""
    _, axes = plt.subplots(1, 2, figsize=(9, 2.2))
    titles = "from Python, a launch for each kernel", "captured, one launch for the graph"
    for axis, title in zip(axes, titles):
        graph = axis is axes[1]
        if graph:
            axis.add_patch(
                Rectangle((0.95, -0.12), 0.55 * kernels + 0.1, 0.94, fill=False, ec=BLUE, ls="--")
            )
        for i in range(kernels):
            if i == 0 or not graph:
                axis.add_patch(Rectangle((i, 1.3), 0.94, 0.6, facecolor=ORANGE, edgecolor="none"))
                axis.annotate("", (i + 0.97, 0.75), (i + 0.97, 1.28), arrowprops=ARROW)
            left = 1 + 0.55 * i if graph else i + 1
            axis.add_patch(Rectangle((left, 0), 0.5, 0.7, facecolor=BLUE, edgecolor="none"))
        axis.text(0.47, 1.6, "launch", ha="center", va="center", color="white", fontsize=8)
        axis.set(xlim=(-0.1, kernels + 0.7), ylim=(-0.3, 2))
        axis.set_yticks((0.35, 1.6), ("GPU", "host"))
        axis.set_xticks([])
        axis.tick_params(left=False)
        axis.set_title(title, fontsize=10)
        for side in axis.spines.values():
            side.set_visible(False)
    axes[0].set_xlabel("time, not to scale")
    axes[1].set_xlabel("time, not to scale")
    plt.tight_layout()


def plot_step_graph() -> None:
    """One step of the tuned network: the kernels of its main stream in a row, matmuls blue; above
    them, orange, those of the side stream; an arrow for each wait."""
    boxes = {
        "start": (-0.75, 1, "white"),
        "hidden": (0.3, 1, BLUE),
        "output": (1.3, 1, BLUE),
        "loss and\ngradient": (2.3, 1, GREY),
        "grad_relu": (3.3, 1, BLUE),
        "update_\nhidden,\n768 columns": (5.2, 1, BLUE),
        "next step": (6.8, 1, "white"),
        "update_\noutput and\nboth biases": (4.65, 2, ORANGE),
        "update_\nhidden,\n16 columns": (5.75, 2, ORANGE),
    }
    names = list(boxes)
    main, (small, rest) = names[:7], names[7:]
    arrows = [*itertools.pairwise(main), (main[4], small), (small, rest), (rest, main[6])]
    _, axis = plt.subplots(figsize=(9.5, 2.5))
    for name, (x, y, color) in boxes.items():
        style = {"boxstyle": "round,pad=0.04", "ec": GREY if color == "white" else "none"}
        axis.add_patch(FancyBboxPatch((x - 0.41, y - 0.3), 0.82, 0.6, facecolor=color, **style))
        text = "black" if color == "white" else "white"
        axis.text(x, y, name, ha="center", va="center", color=text, fontsize=9.5)
    for start, end in arrows:
        (x, y, _), (to_x, to_y, _) = boxes[start], boxes[end]
        lower = 0.2 * (to_y - y)  # a wait for the other stream leaves and enters off the middle
        axis.annotate("", (to_x - 0.45, to_y - lower), (x + 0.45, y + lower), arrowprops=ARROW)
    axis.set(xlim=(-1.25, 7.3), ylim=(0.6, 2.4))
    axis.axis("off")
    plt.tight_layout(pad=0.2)
