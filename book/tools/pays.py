"""`python book/tools/pays.py` writes book/_static/widgets/measured.js, for "Does fusion pay?".

It needs the records fusion.json and kernels.json. The page estimates the times of a plain product,
of a fused call, of product + kernel ("one kernel" in the record) and of product + CuPy calls:

- Ideally, each kernel takes 1 µs to start. Then the matmul takes the longer of two times: its
  operations at the card's peak, or its bytes at the card's bandwidth. Each later kernel takes its
  bytes at that bandwidth.
- At a measured size, measured / ideal is known. Elsewhere its logarithm is interpolated, for each
  arithmetic and epilog, by c + sum of w_i d_i: d_i is the distance from the measured size i in
  (log2 M, log2 N, log2 K), in octaves; c and w_i, which add up to 0, make the sum right wherever
  it was measured.

The estimate is the ideal time on the reader's card times that ratio. Its error is measured, too:
each point is estimated from all others ("near"), and from those over two octaves away ("far").
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib import results

MEASURED = Path(__file__).parents[1] / "_static" / "widgets" / "measured.js"
SCRIPT = """\
// Written by `python book/tools/pays.py`: times on an H100, counts of kernels, errors of estimates.
window.FusionBook = window.FusionBook || {{}};
window.FusionBook.measured = {};
"""
BYTES = {"float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2}
# Dense TFLOP/s of the tensor cores, by the data sheets of the H100 SXM and of the H200.
TENSOR_PEAKS = {"tf32": 494.7, "float16": 989.4, "bfloat16": 989.4}
TIMED = ("matmul", "fused", "one kernel", "calls")
# For each of these: kernels after the matmul; elements, and bytes of masks, that are moved for each
# element of the result beside the matmul's own. Calls: each sign in CuPy is a kernel.
CHAINS = {
    "RELU_BIAS": [(0, 0, 0), (0, 0, 0), (1, 2, 0), (2, 4, 0)],
    "RELU_AUX_BIAS": [(0, 0, 0), (0, 0, 0.125), (1, 2, 1), (3, 5, 1)],
    "GELU_AUX_BIAS": [(0, 0, 0), (0, 1, 0), (1, 3, 0), (10, 23, 0)],
    "DRELU_BGRAD": [(0, 0, 0), (0, 0, 0.125), (2, 3, 1), (2, 3, 1)],
    "DGELU_BGRAD": [(0, 0, 0), (0, 1, 0), (2, 4, 0), (19, 43, 0)],
}
FAR, SHARE = 2, 0.9
Size = Sequence[int]


def ideal(arithmetic: str, epilog: str, size: Size, card: dict[str, Any]) -> np.ndarray:
    """The microseconds of each of TIMED at (M, N, K), if the card did all that its sheet says."""
    (m, n, k), width = size, BYTES[arithmetic]
    bandwidth, peak = card["bandwidth"] * 1e6, card["peaks"][arithmetic] * 1e6  # a microsecond
    times = []
    for kernels, elements, masks in CHAINS[epilog]:
        matmul, extra = width * (m * k + k * n + m * n), m * n * (elements * width + masks)
        within, after = (matmul, extra) if kernels else (matmul + extra, 0)
        busy = max(2 * m * n * k / peak, within / bandwidth) + after / bandwidth
        times.append(1 + kernels + busy)
    return np.array(times)


def octaves(sizes: np.ndarray, size: Size) -> np.ndarray:
    """The distance of each of the sizes (points, 3) from one: 1 for twice as large one way."""
    return np.linalg.norm(np.log2(sizes) - np.log2(size), axis=1)


def interpolate(sizes: np.ndarray, logs: np.ndarray, size: Size) -> np.ndarray:
    """The logs (points, 4) at sizes (points, 3), interpolated at one size."""
    system = np.ones((len(sizes) + 1, len(sizes) + 1))
    system[:-1, :-1] = [octaves(sizes, each) for each in sizes]
    system[-1, -1] = 0  # this row: the weights add up to 0
    weights = np.linalg.solve(system, np.vstack([logs, np.zeros((1, 4))]))
    return np.append(octaves(sizes, size), 1) @ weights


def known(data: dict[str, Any], arithmetic: str, epilog: str) -> tuple[np.ndarray, np.ndarray]:
    """The measured sizes (points, 3), and there the logarithms of measured / ideal (points, 4)."""
    here, points = data["cards"][data["card"]], data["points"][arithmetic][epilog]
    sizes = [data["sizes"][at] for at, *_ in points]
    ratios = [t / ideal(arithmetic, epilog, s, here) for s, (_, *t) in zip(sizes, points)]
    return np.array(sizes), np.log(ratios)


def estimate(
    data: dict[str, Any], arithmetic: str, epilog: str, size: Size, card: dict[str, Any]
) -> np.ndarray:
    """The microseconds of each of TIMED on a card: bandwidth in TB/s, peaks in TFLOP/s."""
    logs = interpolate(*known(data, arithmetic, epilog), size)
    return ideal(arithmetic, epilog, size, card) * np.exp(logs)


def errors(sizes: np.ndarray, logs: np.ndarray, reach: float = 0) -> np.ndarray:
    """How wrong each point (points, 3) is when estimated without those up to `reach` octaves away.

    In logarithms: of the gain over product + kernel, of that over calls, and of the fused time.
    """
    found = []
    for size, own in zip(sizes, logs):
        others = octaves(sizes, size) > reach
        if others.any():
            _, fused, kernel, calls = interpolate(sizes[others], logs[others], size) - own
            found.append([kernel - fused, calls - fused, fused])
    return np.abs(found)


def collect(fusion: dict[str, Any], kernels: dict[str, Any]) -> dict[str, Any]:
    """What the page needs of the two records: medians, and counts without the Memsets."""
    cards = {name.partition(" ")[0]: card for name, card in results.CARDS.items()}
    sizes: dict[Size, int] = {}
    points = {arithmetic: {epilog: [] for epilog in CHAINS} for arithmetic in BYTES}
    counts = {arithmetic: {epilog: [] for epilog in ("plain", *CHAINS)} for arithmetic in BYTES}

    def number(row: dict[str, Any]) -> int:
        return sizes.setdefault((row["m"], row["n"], row["k"]), len(sizes))

    for row in fusion["points"]:
        times = [row[name][1] for name in TIMED]
        points[row["arithmetic"]][row["epilog"]].append([number(row), *times])
    for row in kernels["calls"]:
        if (epilog := row["epilog"] or "plain") in counts[row["arithmetic"]]:
            launched = sum(not kernel["name"].startswith("Memset") for kernel in row["kernels"])
            counts[row["arithmetic"]][epilog].append([number(row), launched])
    return {
        "machine": fusion["machine"].partition(";")[0],
        "card": next(name for name in cards if name in fusion["machine"]),
        "cards": {
            name: {
                "bandwidth": card.bandwidth / 1e12,
                "peaks": {"float32": round(card.peak / 1e12, 1), **TENSOR_PEAKS},
            }
            for name, card in cards.items()
        },
        "bytes": BYTES,
        "chains": CHAINS,
        "far": FAR,
        "sizes": list(sizes),
        "points": points,
        "kernels": counts,
    }


def spread(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Half the quartiles' distance of each point (points, 3), as `errors` gives errors."""
    half = np.array([[np.log(row[name][2] / row[name][0]) / 2 for name in TIMED] for row in rows])
    _, fused, kernel, calls = half.T
    return np.stack([kernel + fused, calls + fused, fused], axis=1)


def judge(data: dict[str, Any], fusion: dict[str, Any]) -> dict[str, Any]:
    """The errors that nine in ten points stay below, by arithmetic and epilog.

    Of an estimate near the measured points and far from them; and, at a point, the samples' spread.
    """
    rows: dict[tuple[str, str], list] = {}
    for row in fusion["points"]:
        rows.setdefault((row["arithmetic"], row["epilog"]), []).append(row)
    found = {arithmetic: {} for arithmetic in BYTES}
    for (arithmetic, epilog), those in rows.items():
        points = known(data, arithmetic, epilog)
        kinds = {"measured": spread(those), "near": errors(*points), "far": errors(*points, FAR)}
        high = {kind: np.quantile(x, SHARE, axis=0).round(4).tolist() for kind, x in kinds.items()}
        found[arithmetic][epilog] = high
    return found


def script(data: dict[str, Any]) -> str:
    """The text of measured.js, with a line for each entry of the data."""
    entries = (json.dumps({name: x}, separators=(",", ":"))[1:-1] for name, x in data.items())
    return SCRIPT.format("{\n" + ",\n".join(entries) + "\n}")


def main() -> None:
    """Write what the page needs of the two records, and print the errors of its estimates."""
    fusion = results.load("fusion")
    data = collect(fusion, results.load("kernels"))
    data["errors"] = judge(data, fusion)
    MEASURED.write_text(script(data), encoding="utf-8")
    print("errors of the gain over product + kernel, in logarithms; nine in ten points stay below:")
    for arithmetic, of_epilogs in data["errors"].items():
        for epilog, kinds in of_epilogs.items():
            print(arithmetic, epilog, *(f"{kind} {x[0]:.3f}" for kind, x in kinds.items()))
    print(f"{MEASURED.name}: {MEASURED.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
