"""`python -m tutorial_lib.outputs [notebook …]`: executes notebooks in place, for storing.

In order, each in a fresh kernel, on whichever backend is there. `make outputs` calls it.
"""

import argparse
import sys
import time
from pathlib import Path

from tutorial_lib.dataset import DatasetError, find_mnist
from tutorial_lib.doctor import describe_backend

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def execute(path: Path) -> None:
    """Run one notebook and store its outputs; raises nbclient's CellExecutionError if a cell fails.

    A notebook whose execution fails is left as it was.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("language_info", None)  # the Python that ran it is not news
    resources = {"metadata": {"path": path.parent}}
    nbclient.NotebookClient(
        notebook, timeout=1200, resources=resources, record_timing=False
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _merged(cell.outputs)
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, path)


def _merged(outputs: list) -> list:
    """The outputs with neighboring pieces of one stream joined: where it was cut is chance."""
    merged: list = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            merged.append(output)
    return merged


def _notebook(name: str) -> Path:
    import nbformat

    try:
        nbformat.read(name, as_version=4)
    except Exception as error:  # whatever nbformat meets in a file that is none
        why = " ".join(str(error).split())[:200]
        raise argparse.ArgumentTypeError(f"{name} is not a readable notebook: {why}") from error
    return Path(name)


def main(arguments: list[str]) -> None:
    """Execute the named notebooks, or all of them; refuses where only the sample is to be had."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.outputs", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=_notebook, metavar="notebook")
    paths = parser.parse_args(arguments).notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    try:
        if find_mnist() is None:
            parser.error("stored outputs must come from the full MNIST: see the setup page")
    except DatasetError as error:
        parser.error(str(error))
    print(describe_backend())
    for path in paths:
        start = time.perf_counter()
        execute(path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
