"""The published run, trained anew with both networks, and its table in the README."""

from typing import Any

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import readme
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.dataset import find_mnist, normalized
from tutorial_lib.networks import MnistNet, MnistNetNaive
from tutorial_lib.training import test

BEGIN = "<!-- published run: python -m tutorial_lib.benchmarks published -->"


def run() -> None:
    """Train, test and record both networks, on the CPU in the README, too; Absent for a sample."""
    if find_mnist() is None:
        raise Absent("the published run needs the full MNIST data set: see the setup page")
    published, ours = results.load("published_h200"), {}
    for network in (MnistNetNaive, MnistNet):
        model = network(784, 30, 10)
        losses = model.epoch(*normalized(True)).tolist()
        kept = {batch: losses[int(batch)] for batch in published["losses"]}
        correct = round(test(model) * published["tested"])
        ours[network.__name__] = {"losses": kept, "correct": correct}
    what = "the published run, one epoch of 784-30-10 with seed 1234"
    results.write(f"published_run_{backend.name}", {"what": what, "networks": ours})
    if backend.name == "cpu":
        readme.put(BEGIN, table(ours))
    print(table(ours))


def table(ours: dict[str, Any]) -> str:
    """The published losses beside ours, as a Markdown table."""
    published = results.load("published_h200")
    runs = [published, *ours.values()]
    rows = [[i, *(f"{run['losses'][i]:.6f}" for run in runs)] for i in published["losses"]]
    rows.append(["correct", *(f"{run['correct']} of {published['tested']:,}" for run in runs)])
    return results.table(["batch", "published", *(f"`{name}`" for name in ours)], rows)
