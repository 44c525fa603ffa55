"""`python book/tools/outputs.py [notebook …]` executes notebooks in place: `make outputs`.

In order, each in a fresh kernel, on whichever backend is there; without a name, all of them.
The record notebook_times.json says how long each took; the status page shows it.
"""

import datetime
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tutorial_lib import results
from tutorial_lib.dataset import DatasetError, find_mnist
from tutorial_lib.doctor import describe_backend

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TIMES = "notebook_times"


def main(names: list[str]) -> None:
    """Execute the named notebooks, or all of them. One that fails is left as it was."""
    try:
        if find_mnist() is None:
            sys.exit("stored outputs must come from the full MNIST: see the setup page")
    except DatasetError as error:
        sys.exit(str(error))
    print(describe_backend())
    paths = [Path(name) for name in names] or sorted(NOTEBOOKS.glob("*.ipynb"))
    notebooks = {path: nbformat.read(path, as_version=4) for path in paths}  # all, before any runs
    for path, notebook in notebooks.items():
        print(path.name, flush=True)
        options = {"timeout": 1200, "record_timing": False, "coalesce_streams": True}
        folder = {"metadata": {"path": path.parent}}
        start = time.perf_counter()
        NotebookClient(notebook, resources=folder, **options).execute()
        seconds = time.perf_counter() - start
        del notebook.metadata["language_info"]  # the Python that ran it is not news
        nbformat.write(notebook, path)
        note(path.stem, seconds)


def note(notebook: str, seconds: float) -> None:
    """Put the time of one notebook into the record, where it replaces an older one."""
    known = (results.RESULTS / f"{TIMES}.json").exists()
    notebooks = results.load(TIMES)["notebooks"] if known else {}
    date = datetime.date.today().isoformat()
    one = {"seconds": round(seconds, 1), "date": date, "machine": results.machine()}
    notebooks = dict(sorted({**notebooks, notebook: one}.items()))
    what = "Seconds that each notebook took, run once from top to bottom in a fresh kernel"
    results.write(TIMES, {"what": what, "notebooks": notebooks})


if __name__ == "__main__":
    main(sys.argv[1:])
