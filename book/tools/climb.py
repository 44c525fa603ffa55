"""`python book/tools/climb.py` writes the figures of the ladder, from its record.

In book/_static these are ladder.svg, the ladder at three widths; rungs.svg, a few rungs at 30
units, for the landing page; and preview.png, those rungs as Chromium draws them, for links. It also
writes what ladder.svg shows, in words, into the pages that have it.
"""

import re
import shutil
from typing import Any

import numpy as np

from gain import TOOLS, render
from tutorial_lib import results
from tutorial_lib.benchmarks import readme

STATIC = TOOLS.parent / "_static"
PICTURE, RUNGS, PREVIEW = (STATIC / name for name in ("ladder.svg", "rungs.svg", "preview.png"))
CHAPTER = readme.README.parent / "notebooks" / "09_getting_out_of_the_way.ipynb"
PAGES = readme.README, TOOLS.parent / "index.md", CHAPTER
DESCRIPTION = r"(?<=[\[ \"])Two dot plots of the ladder[^\]\"\n]*"
ARITHMETICS = {"float32": "float32", "tf32": "TF32"}
LEFT_OUT = ("published loader", "PyTorch, _addmm_activation")  # ten seconds; like its neighbor
FEW = {  # what the landing page calls some of the networks, all with 30 units in float32
    "naive CuPy": "plain, in CuPy",
    "published loop": "fused, like NVIDIA's code",
    "unchecked resets": "fused, with fewer checks",
    "update in the matmul": "updates in the matmuls",
    "captured epoch": "one CUDA graph",
    "one kernel, 3xTF32": "one kernel for the epoch",
}
LOW, HIGH = 1, 600  # milliseconds, and further if a time is


def rows(record: dict[str, Any], arithmetic: str) -> list[dict[str, Any]]:
    """The timed contestants, slowest first: `name`, `kind`, and quartiles by width in `times`."""
    found = []
    for contestant in record["contestants"]:
        timed = {w: o["wall"] for w, o in contestant["widths"].items() if "wall" in o}
        if contestant["arithmetic"] == arithmetic and contestant["name"] not in LEFT_OUT and timed:
            times = {int(w): (t["median"], *t["quartiles"]) for w, t in timed.items()}
            name = contestant["name"].replace(", one CUDA graph", " in a graph")
            name += " †" * bool(results.stale(contestant))
            found.append({"name": name, "kind": contestant["kind"], "times": times})
    return sorted(found, key=lambda row: -np.mean([np.log(m) for m, *_ in row["times"].values()]))


def best(those: list[dict[str, Any]], width: int) -> str:
    """The fastest of the rows at a width, with its milliseconds."""
    median, name = min(
        (row["times"][width][0], row["name"]) for row in those if width in row["times"]
    )
    return f"{name} ({median:.3g} ms at {width:,} units)"


def facts(record: dict[str, Any]) -> dict[str, Any]:
    """What the template draws: the rows by arithmetic, where a time lies, and all in words."""
    panels = {name: rows(record, key) for key, name in ARITHMETICS.items()}
    medians = [m for those in panels.values() for row in those for m, *_ in row["times"].values()]
    low, high = np.log([min(LOW, *medians), max(HIGH, *medians)])
    alt = "Two dot plots of the ladder, milliseconds an epoch on a logarithmic axis, a row for each"
    alt += " contestant with a dot for 30, 512 and 8,192 hidden units."
    for name, those in panels.items():
        for kind, called in {"rung": "the fastest rungs are", "peer": "the fastest peers"}.items():
            mine = [row for row in those if row["kind"] == kind]
            fastest = ", ".join(best(mine, width) for width in record["widths"])
            alt += f" {name}: {called} {fastest};" if kind == "rung" else f" {called} {fastest}."
    return {
        "panels": panels,
        "alt": alt,
        "place": lambda ms: round(14 + 392 * float((np.log(ms) - low) / (high - low)), 1),
        "ticks": [ms for ms in (0.3, 1, 3, 10, 30, 100, 300) if low <= np.log(ms) <= high],
        "machine": re.sub(r"^one |, driver.*", "", record["machine"]),
        "stale": bool(results.stale(record)),
    }


def picture(record: dict[str, Any]) -> str:
    """The text of the SVG."""
    return render("climb.svg.jinja", **facts(record))


def few(record: dict[str, Any]) -> str:
    """The text of the small SVG: a bar for each of a few networks, and one for the fastest peer."""
    those = [row for row in rows(record, "float32") if 30 in row["times"]]
    named = {row["name"].removesuffix(" †"): row for row in those}
    peers = [row for name, row in named.items() if row["kind"] == "peer" and name not in FEW]
    fastest = min(peers, key=lambda row: row["times"][30])
    framework = re.match(r"[\w.]+", fastest["name"])[0]
    bars = [(label, named[name]) for name, label in FEW.items()]
    bars.insert(-1, (f"{framework}, the fastest peer", fastest))
    bars = [
        (label + " †" * row["name"].endswith("†"), row["kind"], *row["times"][30])
        for label, row in bars
    ]
    return render("rungs.svg.jinja", bars=bars, most=max(high for *_, high in bars))


def draw(svg: str) -> None:
    """Write the picture for links: the small SVG on 1200 x 630 pixels, with the book's title."""
    from playwright.sync_api import sync_playwright

    page_text = render("preview.html.jinja", svg=svg)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 630})
        page.set_content(page_text)
        page.screenshot(path=PREVIEW)
        browser.close()


def main() -> None:
    """Write the pictures, and a description into the pages."""
    record = results.load("ladder")
    PICTURE.write_text(picture(record), encoding="utf-8")
    RUNGS.write_text(few(record), encoding="utf-8")
    draw(few(record))
    for path in (PICTURE, RUNGS, PREVIEW):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    for page in PAGES:
        text = re.sub(DESCRIPTION, facts(record)["alt"], page.read_text(encoding="utf-8"))
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
