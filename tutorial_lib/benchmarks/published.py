"""The published run, trained anew with both networks, and its table in the README."""

import contextlib
import io

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import record
from tutorial_lib.benchmarks.contestant import Absent
from tutorial_lib.benchmarks.table import END, README, replace_between
from tutorial_lib.dataset import describe_dataset, find_mnist
from tutorial_lib.doctor import describe_backend
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.training import test, train

BEGIN = "<!-- published run: python -m tutorial_lib.benchmarks published -->"
NETWORKS = {"MnistNetNaive": MnistNetNaive, "MnistNet": MnistNet}


def run() -> None:
    """Train and test both networks for one epoch, print the table, write the record.

    The record is ``book/results/published_run_{backend}.json``. Raises Absent without the full
    data set, on which alone the numbers can agree.
    """
    if find_mnist() is None:
        raise Absent("the published run needs the full MNIST data set: see the setup page")
    published = results.load("published_h200")
    ours = {}
    for name, network in NETWORKS.items():
        with contextlib.redirect_stdout(io.StringIO()), network(784, 30, 10) as model:
            losses = train(model)
            correct = round(test(model) * published["tested"])
        ours[name] = {"losses": {str(i): losses[i] for i in range(0, 234, 20)}, "correct": correct}
    print(table(ours))
    path = record.write(
        f"published_run_{backend.name}",
        ["numpy", "nvmath-python"],
        {
            "what": "the published run, one epoch of 784-30-10 with seed 1234",
            "backend": describe_backend(),
            "data": describe_dataset(),
            "networks": ours,
        },
    )
    print(f"\nWritten to {path.name} in book/results")
    if backend.name == "cpu":
        README.write_text(with_table(README.read_text(encoding="utf-8"), ours), encoding="utf-8")


def with_table(readme: str, ours: dict) -> str:
    """The README's text, the table of the published run put in anew between its two markers."""
    return replace_between(readme, BEGIN, END, table(ours))


def table(ours: dict) -> str:
    """The published losses beside ours, as a Markdown table."""
    published = results.load("published_h200")
    rows = [["batch", "published", *(f"`{name}`" for name in ours)], ["--:"] * (2 + len(ours))]
    for batch, loss in published["losses"].items():
        rows.append([batch, f"{loss:.6f}", *(f"{x['losses'][batch]:.6f}" for x in ours.values())])
    tested = f"{published['tested']:,}"
    counts = [f"{published['correct']} of {tested}"]
    counts += [f"{x['correct']} of {tested}" for x in ours.values()]
    rows.append(["correct", *counts])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
