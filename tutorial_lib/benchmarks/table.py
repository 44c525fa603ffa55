"""The record table: median milliseconds per epoch, in the README and on the terminal."""

from pathlib import Path
from typing import Any

from tutorial_lib import results
from tutorial_lib.benchmarks.contestant import FLOAT32, TF32

README = results.RESULTS.parents[1] / "README.md"
BEGIN, END = "<!-- record: python -m tutorial_lib.benchmarks ladder -->", "<!-- end -->"
SHOWN = {  # of the versions in the record, those in the line under the table
    "python": "Python",
    "cupy-cuda12x": "CuPy",
    "cupy-cuda13x": "CuPy",
    "nvmath-python": "nvmath-python",
    "torch": "PyTorch",
    "jax": "JAX",
}


def replace_between(text: str, begin: str, end: str, new: str) -> str:
    """The text with `new`, on lines of its own, in place of what stands between two markers."""
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"the text lacks the marker {begin!r} or its {end!r}")
    return f"{before}{begin}\n{new}\n{end}{after}"


def with_record(readme: str, record: dict[str, Any]) -> str:
    """The README's text, the record put in anew between its markers."""
    return replace_between(readme, BEGIN, END, f"{table(record)}\n\n{notes(record)}")


def update_readme(record: dict[str, Any], path: Path | None = None) -> None:
    """Write the record's table into the README, or into another file that has its markers."""
    path = path or README
    path.write_text(with_record(path.read_text(encoding="utf-8"), record), encoding="utf-8")


def table(record: dict[str, Any]) -> str:
    """Contestants by width and arithmetic, as a Markdown table; the best of a column in bold."""
    columns = [(str(w), a) for a in (FLOAT32, TF32) for w in record["widths"]]
    rows: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for contestant in record["contestants"]:
        cells = rows.setdefault(contestant["name"], {})
        for width, outcome in contestant["widths"].items():
            cells[width, contestant["arithmetic"]] = outcome
    best = {}
    for column in columns:
        times = [_median(cells.get(column)) for cells in rows.values()]
        best[column] = min((time for time in times if time is not None), default=None)
    lines = [["ms per epoch", *(f"{w} {a}" for w, a in columns)], [":--", *["--:"] * len(columns)]]
    for name, cells in rows.items():
        line = [name]
        for column in columns:
            time = _median(cells.get(column))
            if time is None:
                line.append("failed" if "failed" in cells.get(column, {}) else "–")
            else:
                text = f"**{_digits(time)}**" if time == best[column] else _digits(time)
                line.append(text + "*" * (cells[column].get("measured") == "earlier"))
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def notes(record: dict[str, Any]) -> str:
    """What was measured where and when, and who is absent or failed for which reason."""
    if "statistic" in record:
        return _first_look_notes(record)
    versions = [f"{SHOWN[p]} {v}" for p, v in record["versions"].items() if p in SHOWN]
    repeats = f"{record['repeats']} epochs"
    fewer = {
        f"{contestant['name']}: {count}"
        for contestant in record["contestants"]
        for outcome in contestant["widths"].values()
        if 0 < (count := len(outcome.get("wall", {}).get("samples", ()))) < record["repeats"]
    }
    if fewer:
        repeats += f" ({', '.join(sorted(fewer))})"
    text = [
        f"Hidden width and arithmetic; median of {repeats} of {record['steps']} "
        f"steps, in random order. {record['machine']}; {', '.join(versions)}; {record['date']}."
    ]
    for what in ("absent", "failed"):
        where: dict[tuple[str, str], list[str]] = {}
        for contestant in record["contestants"]:
            for width, outcome in contestant["widths"].items():
                if what in outcome:
                    reason = contestant["name"], outcome[what].replace("|", "/")
                    where.setdefault(reason, []).append(f"{width} {contestant['arithmetic']}")
        items = [f"{name} at {', '.join(at)} ({why})" for (name, why), at in where.items()]
        if items:
            text.append(f"{what.capitalize()}: {'; '.join(items)}.")
    return "\n\n".join(text)


def _first_look_notes(record: dict[str, Any]) -> str:
    versions = [f"{SHOWN[p]} {v}" for p, v in record["versions"].items() if p in SHOWN]
    return (
        f"{record['what']}. Median of the runs, {record['steps']} steps an epoch; "
        f"{record['machine']}; "
        f"{', '.join(versions)}; {record['date']}. With a star: measured earlier, in another run. "
        f"Not measured yet: {', '.join(record['not_measured'])}."
    )


def _median(outcome: dict[str, Any] | None) -> float | None:
    return outcome["wall"]["median"] if outcome and "wall" in outcome else None


def _digits(milliseconds: float) -> str:
    if milliseconds >= 100:
        return f"{milliseconds:,.0f}"
    return f"{milliseconds:.1f}" if milliseconds >= 10 else f"{milliseconds:.2f}"
