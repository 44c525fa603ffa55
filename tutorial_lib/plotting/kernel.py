"""The one-kernel epoch: how the weights are cut, where its cycles go, which banks are hit."""

from collections.abc import Mapping, Sequence

from matplotlib import pyplot as plt
from matplotlib.patches import Patch, Rectangle

from tutorial_lib.plotting.colors import BLUE, GREY, ORANGE

LIGHT = "#dfe5ea"


def plot_cut(*, num_hidden: int, units: int, cluster: int, features: int, batch: int = 256) -> None:
    """The images above the weights of the hidden layer, both over the same features, and to the
    right what comes out: clusters are rows, blocks are columns. One block, with the images' part
    that it reads, is orange, the rest of its cluster blue."""
    inputs, gap = 784, 150
    _, axis = plt.subplots(figsize=(8.5, 6.2))
    groups = -(-num_hidden // units)
    group, rank = groups // 3, cluster // 3

    def box(x: float, y: float, width: float, height: float, color: str) -> None:
        axis.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor="white"))

    for r in range(cluster):
        first = r * features
        width = min(features, inputs - first)
        if width <= 0:
            continue
        box(first, num_hidden + gap, width, batch, ORANGE if r == rank else LIGHT)
        for g in range(groups):
            color = LIGHT if g != group else ORANGE if r == rank else BLUE
            height = min(units, num_hidden - g * units)
            box(first, num_hidden - g * units - height, width, height, color)
    for g in range(groups):
        height = min(units, num_hidden - g * units)
        color = BLUE if g == group else LIGHT
        box(inputs + gap, num_hidden - g * units - height, batch, height, color)
    middle = num_hidden - (group + 0.5) * units
    arrow = {"arrowstyle": "->", "color": GREY, "linewidth": 1.5}
    axis.annotate("", (inputs + gap - 8, middle), (inputs + 8, middle), arrowprops=arrow)
    out = inputs + gap + batch / 2
    axis.annotate("", (out, -70), (out, -8), arrowprops=arrow)
    label = {"ha": "center", "va": "center", "fontsize": 10}
    axis.text(inputs / 2, num_hidden + gap + batch + 28, f"images $x$ ({batch}, 784)", **label)
    axis.text(inputs / 2, num_hidden + gap / 2, f"$W_h$ ({num_hidden}, 784)", **label)
    axis.text(out, num_hidden + gap / 2, f"$z_h$ ({num_hidden}, {batch})", **label)
    axis.text(
        out, -95, "partial logits, (10, 256) of each cluster,\nadded up", va="top", ha="center"
    )
    small = {"fontsize": 9, "color": GREY, "va": "center"}
    below, left = (
        f"{cluster} blocks, {features} features each",
        f"{groups} clusters, {units} units each",
    )
    axis.text(inputs / 2, -28, below, ha="center", **small)
    axis.text(-22, num_hidden / 2, left, ha="center", rotation=90, **small)
    axis.text(
        inputs + gap / 2, middle + 24, "sum over\nthe cluster", ha="center", va="bottom", fontsize=9
    )
    axis.legend(
        handles=[
            Patch(color=ORANGE, label="one block: its weights, and the features it reads"),
            Patch(color=BLUE, label="the other blocks of its cluster, and their common result"),
        ],
        loc="upper left",
        bbox_to_anchor=(0, 0.06),
        frameon=False,
        fontsize=9,
    )
    axis.set(xlim=(-50, inputs + gap + batch + 20), ylim=(-175, num_hidden + gap + batch + 50))
    axis.set_aspect("equal")
    axis.axis("off")
    plt.tight_layout(pad=0.2)


def plot_phases(
    names: Sequence[str],
    rows: Mapping[str, Sequence[Mapping]],
    ideal: Mapping[str, Sequence[int]],
    *,
    machine: str,
) -> None:
    """The cycles of a step as stacked bars, one panel per width: a bar for each measured form of
    the kernel, and beside them the two phases that `ideal` gives cycles for."""
    _, axes = plt.subplots(1, len(rows), figsize=(8.6, 6.6), sharey=True, squeeze=False)
    large = [name for name in names if name in ("hidden layer, partial", "weight gradient")]
    for axis, (width, forms) in zip(axes.flat, rows.items()):
        bars = {f"form {form['form']}": list(zip(names, form["cycles"])) for form in forms}
        bars["ideal"] = list(zip(large, ideal[width]))
        tallest = max(sum(form["cycles"]) for forms in rows.values() for form in forms)
        for place, phases in enumerate(bars.values()):
            bottom = 0
            for name, cycles in phases:
                color = BLUE if name in large else GREY if _is_waiting(name) else ORANGE
                axis.bar(place, cycles, 0.92, bottom, color=color, edgecolor="white", linewidth=0.8)
                name = name.removesuffix(" to the cluster")
                text = f"{name}\n{cycles:,}" if cycles > tallest / 16 else name
                if cycles > tallest / 36:
                    style = {"ha": "center", "va": "center", "color": "white", "fontsize": 7}
                    axis.text(place, bottom + cycles / 2, text, **style)
                bottom += cycles
            axis.text(place, bottom, f"{bottom:,}", ha="center", va="bottom", fontsize=9)
        axis.set_xticks(range(len(bars)), list(bars))
        axis.set_title(f"{width} hidden units", fontsize=11)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0, 0].set_ylabel(f"clock cycles of a step, {machine.partition(',')[0]}")
    kinds = {"large products": BLUE, "everything else": ORANGE, "waiting": GREY}
    axes[0, 0].legend(
        handles=[Patch(color=color, label=kind) for kind, color in kinds.items()],
        loc="upper left",
        frameon=False,
    )
    plt.tight_layout()


def _is_waiting(phase: str) -> bool:
    return any(word in phase for word in ("waiting", "barrier", "other clusters"))


def plot_banks(hits: Mapping[str, Sequence[int]]) -> None:
    """How many lanes of a warp read from each of the 32 banks, a panel for each named read."""
    _, axes = plt.subplots(1, len(hits), figsize=(8.5, 2.4), sharey=True, squeeze=False)
    for axis, (name, lanes) in zip(axes.flat, hits.items()):
        axis.bar(range(len(lanes)), lanes, 0.7, color=BLUE if max(lanes) == 1 else ORANGE)
        axis.set_title(f"{name}: {max(lanes)} in turn", fontsize=10)
        axis.set(xlabel="bank", xticks=(0, 8, 16, 24, 31))
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0, 0].set_ylabel("lanes")
    plt.tight_layout()
