"""The README's tables, each between two markers: the ladder's, and the published run's."""

from collections.abc import Sequence
from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.benchmarks.contest import ARITHMETICS, Absent
from tutorial_lib.dataset import find_mnist, normalized
from tutorial_lib.networks import MnistNet, MnistNetNaive
from tutorial_lib.training import test

README = results.RESULTS.parents[1] / "README.md"
BEGIN, END = "<!-- record: python -m tutorial_lib.benchmarks ladder -->", "<!-- end -->"
SPREAD = 0.02
PUBLISHED = "<!-- published run: python -m tutorial_lib.benchmarks published -->"


def put(begin: str, table: str) -> None:
    """Write a table into the README, between the marker `begin` and the next `END`."""
    text = README.read_text(encoding="utf-8")
    start = text.index(begin) + len(begin)
    text = f"{text[:start]}\n{table}\n{text[text.index(END, start) :]}"
    README.write_text(text, encoding="utf-8")


def times(record: dict[str, Any], arithmetic: str, names: Sequence[str] = ()) -> str:
    """A table of a ladder's milliseconds by width, the best in bold, a dagger where the code has
    changed since; of these names only, if there are any. Empty if none was timed."""
    rows = [c for c in record["contestants"] if c["arithmetic"] == arithmetic]
    rows = [c for c in rows if c["widths"] and (not names or c["name"] in names)]
    widths = [width for width in record["widths"] if any(str(width) in c["widths"] for c in rows)]
    columns = [[row["name"] + " †" * bool(results.stale(row)) for row in rows]]
    for width in widths:
        outcomes = [row["widths"].get(str(width), {}) for row in rows]
        best = min(map(_median, outcomes))
        columns.append([cell(outcome, best) for outcome in outcomes])
    header = [f"ms, {arithmetic}", *(f"{width:,} units" for width in widths)]
    return results.table(header, zip(*columns)) if rows else ""


def ladder(record: dict[str, Any]) -> str:
    """The tables of all arithmetics; how they were measured; what is stale, absent or failed."""
    tables = [table for arithmetic in ARITHMETICS if (table := times(record, arithmetic))]
    versions = [f"{package} {version}" for package, version in record["versions"].items()]
    about = f"{record['what']}; {record['steps']} steps an epoch; medians, and in parentheses the "
    about += f"quartiles where they differ by more than {SPREAD:.0%}; {record['machine']}"
    about += f"{_states(record)}; {', '.join(versions)}; {record['date']}."
    if changed := ", ".join(results.stale(record)):
        about += f"\n\n† Measured with other code: since then, {changed} changed."
    notes = [
        f"- {c['name']}, {width} {c['arithmetic']}, {what}: {outcome[what]}"
        for c in record["contestants"]
        for width, outcome in c["widths"].items()
        for what in {"absent", "failed"} & set(outcome)
    ]
    return "\n\n".join([*tables, about, "\n".join(notes)]).rstrip()


def _median(outcome: dict[str, Any]) -> float:
    return outcome["wall"]["median"] if "wall" in outcome else float("inf")


def cell(outcome: dict[str, Any], best: float = 0) -> str:
    """A median, in bold if it is the best, with its quartiles where they are further apart."""
    if "wall" not in outcome:
        return "failed" if "failed" in outcome else "–"
    text = _digits(time := _median(outcome))
    text = f"**{text}**" if time == best else text
    low, high = outcome["wall"].get("quartiles", (time, time))
    return text + (f" ({_digits(low)}–{_digits(high)})" if high - low > SPREAD * time else "")


def _digits(time: float) -> str:
    return f"{time:,.0f}" if time >= 100 else f"{time:.1f}" if time >= 10 else f"{time:.2f}"


def _states(record: dict[str, Any]) -> str:
    """In what state the GPU was: the smallest and the largest clock, power and temperature."""
    outcomes = [o for c in record["contestants"] for o in c["widths"].values() if o.get("state")]
    bounds = {unit: [] for o in outcomes for unit in o["state"]}
    for unit, values in bounds.items():
        values += [round(o["state"][unit]) for o in outcomes]
    found = [f"{min(v):,} to {max(v):,} {unit.replace('C', '°C')}" for unit, v in bounds.items()]
    return f" at {', '.join(found)}" if found else ""


def run_published() -> None:
    """Train, test and record both networks, on the CPU in the README, too; Absent for a sample."""
    if find_mnist() is None:
        raise Absent("the published run needs the full MNIST data set: see the setup page")
    record, ours = results.load("published_h200"), {}
    for network in (MnistNetNaive, MnistNet):
        model = network(784, 30, 10)
        losses = model.epoch(*normalized(True)).tolist()
        kept = {batch: losses[int(batch)] for batch in record["losses"]}
        correct = round(test(model) * record["tested"])
        ours[network.__name__] = {"losses": kept, "correct": correct}
    what = "the published run, one epoch of 784-30-10 with seed 1234"
    results.write(f"published_run_{backend.name}", {"what": what, "networks": ours})
    if backend.name == "cpu":
        put(PUBLISHED, published(ours))
    print(published(ours))


def published(ours: dict[str, Any]) -> str:
    """The published losses beside ours, as a Markdown table."""
    record = results.load("published_h200")
    runs = [record, *ours.values()]
    rows = [[i, *(f"{run['losses'][i]:.6f}" for run in runs)] for i in record["losses"]]
    rows.append(["correct", *(f"{run['correct']} of {record['tested']:,}" for run in runs)])
    return results.table(["batch", "published", *(f"`{name}`" for name in ours)], rows)
