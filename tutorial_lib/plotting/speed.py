"""What was measured on a GPU: rates, steps, ratios, the ladder."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.lines import Line2D

from tutorial_lib.plotting.colors import BLUE, GREY, ORANGE, colored

FASTER_SLOWER = LinearSegmentedColormap.from_list("faster to slower", (BLUE, "white", ORANGE))


def plot_roofline(
    points: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    peak: float,
    bandwidth: float,
    machine: str,
) -> None:
    """Per series (a color) named points (a marker each) of operations per byte and operations per
    second, below the roof that `bandwidth`, bytes per second, and `peak` make."""
    _, axis = plt.subplots(figsize=(7.5, 4))
    intensity = np.geomspace(1, 300, 100)
    axis.plot(intensity, np.minimum(peak, intensity * bandwidth) / 1e12, color="black", lw=1.2)
    axis.text(290, peak / 1e12 * 1.15, "peak of the arithmetic", ha="right", fontsize=9)
    slope = {"rotation": 33, "rotation_mode": "anchor", "fontsize": 9}
    axis.text(1.25, 1.5 * bandwidth / 1e12, "peak of the memory", **slope)
    names = list(next(iter(points.values())))
    markers = dict(zip(names, "osD^vP*"))
    for (_, series), color in colored(points):
        for name, (x, rate) in series.items():
            axis.plot(x, rate / 1e12, markers[name], color=color, markersize=8)
    handles = [Line2D([], [], marker=m, color="black", ls="", label=n) for n, m in markers.items()]
    for (name, _), color in colored(points):
        handles.append(Line2D([], [], color=color, lw=6, label=name))
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axis.set(xscale="log", yscale="log", xlim=(1, 300), ylim=(0.15, 200))
    axis.set(xlabel="arithmetic intensity: operations per byte", ylabel="TFLOP per second")
    axis.set_title(machine, fontsize=9)
    axis.grid(alpha=0.3)
    plt.tight_layout()


def plot_break_even(ratios: Mapping[int, Mapping[int, float]], *, title: str) -> None:
    """A cell per hidden width (outer keys) and batch size (inner keys) with the ratio of two times:
    blue below 1, orange above, and a black line where 1 lies between two neighbors."""
    batches = list(next(iter(ratios.values())))
    table = np.array([[by_batch[n] for n in batches] for by_batch in ratios.values()])
    far = max(2.0, float(np.exp(abs(np.log(table)).max())))
    _, axis = plt.subplots(figsize=(1.1 * len(batches) + 2.2, 0.55 * len(table) + 1.4))
    norm = LogNorm(1 / far, far)
    axis.imshow(table, cmap=FASTER_SLOWER, norm=norm, aspect="auto", origin="lower")
    for (row, column), ratio in np.ndenumerate(table):
        strong = abs(np.log(ratio)) > 0.6 * np.log(far)
        color = "white" if strong else "black"
        axis.text(column, row, f"{ratio:.2f}", ha="center", va="center", color=color)
    fast, line = table < 1, {"color": "black", "linewidth": 2.5, "solid_capstyle": "projecting"}
    for row, column in zip(*np.nonzero(fast[:, 1:] != fast[:, :-1])):
        axis.plot([column + 0.5] * 2, [row - 0.5, row + 0.5], **line)
    for row, column in zip(*np.nonzero(fast[1:] != fast[:-1])):
        axis.plot([column - 0.5, column + 0.5], [row + 0.5] * 2, **line)
    axis.set_xticks(range(len(batches)), batches)
    axis.set_yticks(range(len(table)), list(ratios))
    axis.set(xlabel="batch size", ylabel="hidden units")
    axis.set_title(title, fontsize=9)
    plt.tight_layout()


def plot_staircase(
    times: Mapping[str, Mapping[int, float]], *, tile: int, xlabel: str, machine: str
) -> None:
    """Microseconds over a size, one line per named series, with dotted lines at whole tiles."""
    _, axis = plt.subplots(figsize=(6.5, 3.2))
    for (name, by_size), color in colored(times):
        axis.plot(list(by_size), list(by_size.values()), "o-", color=color, ms=5, label=name)
    sizes = sorted({size for by_size in times.values() for size in by_size})
    for edge in range(-(-sizes[0] // tile) * tile, sizes[-1] + tile, tile):
        axis.axvline(edge, color=GREY, linestyle=":", linewidth=1, zorder=0)
    axis.set(xlabel=xlabel, ylabel="µs on the GPU", ylim=(0, None), xticks=sizes)
    axis.tick_params(axis="x", rotation=90, labelsize=8)
    axis.set_title(f"{machine}; dotted: multiples of {tile}", fontsize=9)
    axis.legend(frameon=False)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    plt.tight_layout()


def plot_ladder(
    record: Mapping[str, Any],
    *,
    names: Sequence[str] | None = None,
    roofs: Mapping[int, float] | None = None,
) -> None:
    """A panel per width of a ladder's record: milliseconds an epoch on a logarithmic scale, circles
    float32, diamonds TF32, rungs blue, peers orange, hollow if from an earlier run. `roofs`: for
    each width the milliseconds below which nothing in float32 can be, a dashed line."""
    kinds = {c["name"]: c["kind"] for c in record["contestants"]}
    rows = [name for kind in ("rung", "peer") for name, k in kinds.items() if k == kind]
    rows = [name for name in rows if names is None or name in names]
    colors = {"rung": BLUE, "peer": ORANGE}
    _, axes = plt.subplots(
        1,
        len(record["widths"]),
        figsize=(9, 0.34 * len(rows) + 1.6),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    earlier, times = False, []
    for axis, width in zip(axes.flat, record["widths"]):
        for contestant in record["contestants"]:
            outcome = contestant["widths"].get(str(width), {})
            if contestant["name"] not in rows or "wall" not in outcome:
                continue
            time, place = outcome["wall"]["median"], rows.index(contestant["name"])
            times.append(time)
            color, plain = colors[contestant["kind"]], contestant["arithmetic"] == "float32"
            hollow = outcome.get("measured") == "earlier"
            earlier |= hollow
            face = "white" if hollow else color
            axis.plot(time, place, "o" if plain else "D", mfc=face, mec=color, ms=7 if plain else 6)
            digits = f"{time:,.0f}" if time >= 100 else f"{time:.3g}"
            beside = {"xytext": (7, -3) if plain else (-7, -3), "textcoords": "offset points"}
            beside["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axis.annotate(
                digits, (time, place), ha="left" if plain else "right", fontsize=8, **beside
            )
        if roofs:
            times.append(roofs[width])
            axis.axvline(roofs[width], color="black", linewidth=0.9, linestyle="--")
        axis.set(xscale="log", title=f"{width} hidden units", xlabel="ms per epoch")
        axis.title.set_fontsize(10)
        axis.grid(axis="x", alpha=0.3)
        axis.set_yticks(range(len(rows)), rows)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_xlim(min(times) / 6, max(times) * 40)
    looks = {
        "this book's rungs": {"marker": "s", "color": BLUE},
        "what they have to beat": {"marker": "s", "color": ORANGE},
        "float32": {"marker": "o", "color": GREY},
        "TF32": {"marker": "D", "color": GREY},
        "hollow: an earlier run": {"marker": "o", "color": GREY, "mfc": "white"},
    }
    looks = dict(list(looks.items())[: None if earlier else -1])
    if roofs:
        looks["roof, float32"] = {"marker": "|", "color": "black", "ms": 12}
    handles = [Line2D([], [], ls="", label=label, **look) for label, look in looks.items()]
    plt.suptitle(record["machine"], fontsize=9)
    plt.tight_layout(rect=(0, 0.06, 1, 1))
    plt.gcf().legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=9
    )
