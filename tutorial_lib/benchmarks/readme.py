"""The tables of measurements in the README, each between two markers."""

from typing import Any

from tutorial_lib import results
from tutorial_lib.benchmarks.contest import FLOAT32, TF32

README = results.RESULTS.parents[1] / "README.md"
BEGIN, END = "<!-- record: python -m tutorial_lib.benchmarks ladder -->", "<!-- end -->"


def put(begin: str, table: str) -> None:
    """Write a table into the README, between the marker `begin` and the next `END`."""
    text = README.read_text(encoding="utf-8")
    start = text.index(begin) + len(begin)
    text = f"{text[:start]}\n{table}\n{text[text.index(END, start) :]}"
    README.write_text(text, encoding="utf-8")


def ladder(record: dict[str, Any]) -> str:
    """Median milliseconds by width and arithmetic, the best of each in bold; machine and date."""
    names = dict.fromkeys(contestant["name"] for contestant in record["contestants"])
    header, columns, notes = ["ms per epoch"], [], []
    for arithmetic in (FLOAT32, TF32):
        for width in record["widths"]:
            header.append(f"{width} {arithmetic}")
            outcomes = [results.outcome(record, name, width, arithmetic) for name in names]
            best = min((o["wall"]["median"] for o in outcomes if "wall" in o), default=0)
            columns.append([_cell(outcome, best) for outcome in outcomes])
            for name, outcome in zip(names, outcomes):
                for what in {"absent", "failed"} & set(outcome):
                    notes.append(f"- {name}, {header[-1]}, {what}: {outcome[what]}")
    versions = [f"{package} {version}" for package, version in record["versions"].items()]
    about = f"{record['what']}. Median of the runs, {record['steps']} steps an epoch; "
    about += f"{record['machine']}; {', '.join(versions)}; {record['date']}."
    if "not_measured" in record:  # the first look, a part of which is older
        about += " With a star: measured earlier, in another run. Not measured yet: "
        about += f"{', '.join(record['not_measured'])}."
    return "\n\n".join([results.table(header, zip(names, *columns)), about, *notes])


def _cell(outcome: dict[str, Any], best: float) -> str:
    if "wall" not in outcome:
        return "failed" if "failed" in outcome else "–"
    time = outcome["wall"]["median"]
    text = f"{time:,.0f}" if time >= 100 else f"{time:.1f}" if time >= 10 else f"{time:.2f}"
    text = f"**{text}**" if time == best else text
    return text + "*" * (outcome.get("measured") == "earlier")
