"""The README's tables, each between two markers: the ladder's, and the published run's."""

from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.benchmarks.contest import ARITHMETICS, Absent
from tutorial_lib.dataset import find_mnist, normalized
from tutorial_lib.networks import MnistNet, MnistNetNaive
from tutorial_lib.training import test

README = results.RESULTS.parents[1] / "README.md"
BEGIN, END = "<!-- record: python -m tutorial_lib.benchmarks ladder -->", "<!-- end -->"
PUBLISHED = "<!-- published run: python -m tutorial_lib.benchmarks published -->"


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
    for arithmetic in ARITHMETICS:
        for width in record["widths"]:
            outcomes = [results.outcome(record, name, width, arithmetic) for name in names]
            if not any(outcomes):
                continue
            header.append(f"{width} {arithmetic}")
            best = min((o["wall"]["median"] for o in outcomes if "wall" in o), default=0)
            columns.append([_cell(outcome, best) for outcome in outcomes])
            for name, outcome in zip(names, outcomes):
                for what in {"absent", "failed"} & set(outcome):
                    notes.append(f"- {name}, {header[-1]}, {what}: {outcome[what]}")
    versions = [f"{package} {version}" for package, version in record["versions"].items()]
    about = f"{record['what']}. Median of the runs, {record['steps']} steps an epoch; "
    about += f"{record['machine']}; {', '.join(versions)}; {record['date']}."
    if missing := ", ".join(record.get("not_measured", ())):  # the first look, in part older
        about += f" With a star: measured earlier, in another run. Not measured yet: {missing}."
    return "\n\n".join([results.table(header, zip(names, *columns)), about, *notes])


def _cell(outcome: dict[str, Any], best: float) -> str:
    if "wall" not in outcome:
        return "failed" if "failed" in outcome else "–"
    time = outcome["wall"]["median"]
    text = f"{time:,.0f}" if time >= 100 else f"{time:.1f}" if time >= 10 else f"{time:.2f}"
    text = f"**{text}**" if time == best else text
    return text + "*" * (outcome.get("measured") == "earlier")


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
