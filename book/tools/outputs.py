"""`python book/tools/outputs.py [notebook …]` executes notebooks in place: `make outputs`.

In order, each in a fresh kernel, on whichever backend is there; without a name, all of them.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tutorial_lib.dataset import DatasetError, find_mnist
from tutorial_lib.doctor import describe_backend

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


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
        NotebookClient(notebook, resources=folder, **options).execute()
        del notebook.metadata["language_info"]  # the Python that ran it is not news
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
