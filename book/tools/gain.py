"""`python book/tools/gain.py` writes book/_static/gain.svg: the gain over product + kernel, by K.

The gain is the time of product + kernel ("one kernel" in the record fusion.json), divided by that
of the fused call.
"""

from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from tutorial_lib import results

TOOLS = Path(__file__).parent
PICTURE = TOOLS.parent / "_static" / "gain.svg"
LITTLE = 1.05  # where the gain falls below this is marked
Row = dict[str, Any]


def gain(row: Row) -> tuple[float, ...]:
    """How many times as fast the fused call is: by the quartiles at least, the median, at most."""
    return tuple(np.divide(row["one kernel"], row["fused"][::-1]))


def curve(rows: list[Row]) -> dict[int, tuple[float, ...]]:
    """The gain by K, for results of shape (8192, 8192)."""
    return {row["k"]: gain(row) for row in sorted(rows, key=lambda row: row["k"]) if square(row)}


def square(row: Row) -> bool:
    """Whether the result has shape (8192, 8192)."""
    return row["m"] == row["n"] == 8192


def falls_below(found: dict[int, tuple[float, ...]], least: float) -> float:
    """The K from which on the median gain is below `least`, on a line between measured K."""
    extents, medians = np.log(list(found)), [median for _, median, _ in found.values()]
    return float(np.exp(np.interp(-least, np.negative(medians), extents)))


def facts() -> dict[str, Any]:
    """The curves by epilog and arithmetic, the gain of the book's layer by its units, and marks."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in results.load("fusion")["points"]:
        rows.setdefault((row["epilog"], row["arithmetic"]), []).append(row)
    layer = [row for row in rows["RELU_AUX_BIAS", "float32"] if (row["n"], row["k"]) == (256, 784)]
    curves = {key: curve(those) for key, those in rows.items()}
    return {
        "curves": curves,
        "layer": {row["m"]: gain(row)[1] for row in layer},
        "little": LITTLE,
        "end": falls_below(curves["RELU_BIAS", "float32"], LITTLE),
        "log2": np.log2,
    }


def render(template: str, **values: Any) -> str:
    """The text that a template of this folder makes of the values."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TOOLS),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return templates.get_template(template).render(values)


def picture() -> str:
    """The text of the SVG."""
    return render("gain.svg.jinja", **facts())


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(picture(), encoding="utf-8")
    print(f"{PICTURE.name}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
