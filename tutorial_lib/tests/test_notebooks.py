"""Each notebook as a reader uses it: cells run again, the whole run again, exercises answered."""

import os
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient

from tutorial_lib import backend, dataset
from tutorial_lib.tests.imports import GPU_LIBRARIES, without
from tutorial_lib.tests.test_repository import EACH, SKIPPED, tags


def attempts(cell):
    """The cell twice; behind a solution its wrong answers, and what the reader is told."""
    yield cell, None
    yield cell, None
    for old, new, told in cell.metadata.get("wrong", ()):
        assert old in cell.source
        yield nbformat.v4.new_code_cell(cell.source.replace(old, new)), told
    if "wrong" in cell.metadata:
        yield cell, None


def text(cell):
    """What nbval compares of a cell's outputs, pictures and tracebacks left out."""
    shown = [output.get("text", "") for output in cell.outputs]
    data = [output.get("data", {}) for output in cell.outputs]
    return "".join(shown) + "".join(each.get("text/plain", "") for each in data)


@EACH
def test_a_reader_may_run_any_cell_again_and_is_told_what_is_wrong(path):
    """Each cell twice in a row, a solution also with wrong answers, then everything once more."""
    notebook = nbformat.read(path, as_version=4)
    original = [cell for cell in notebook.cells if cell.cell_type == "code"]
    plan = [(i, each, told) for i, c in enumerate(original) for each, told in attempts(c)]
    plan += [(i, cell, None) for i, cell in enumerate(original)]
    notebook.cells = [nbformat.from_dict(dict(cell)) for _, cell, _ in plan]
    folder = {"metadata": {"path": path.parent}}
    environment = without(*GPU_LIBRARIES) if backend.name == "cpu" else {}
    environment |= {"MNIST_ROOT": str(dataset.mnist_root())}
    with patch.dict(os.environ, environment):
        NotebookClient(notebook, resources=folder, timeout=600, coalesce_streams=True).execute()
    first = {}
    for (i, source, told), ran in zip(plan, notebook.cells):
        printed = text(ran)
        if told is not None:
            assert "Not yet" in printed, (i, source.source)
            assert told in printed, (i, source.source)
        elif not SKIPPED & tags(source):
            assert first.setdefault(i, printed) == printed, source.source
