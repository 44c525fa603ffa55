"""Stored outputs: what is executed, what is refused, and nothing stored that is chance."""

import nbclient
import nbformat
import pytest

import outputs

SOURCE = "import os\nfor x in (1, 2, os.getcwd()):\n    print(x, flush=True)"


@pytest.fixture(autouse=True)
def _full_mnist(monkeypatch, tmp_path):
    """And records that go elsewhere."""
    monkeypatch.setattr(outputs, "find_mnist", lambda: "a folder")
    monkeypatch.setattr(outputs.results, "RESULTS", tmp_path)


def notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path.read_bytes()


def test_all_are_executed_in_order_and_stored_without_what_is_chance(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(outputs, "NOTEBOOKS", tmp_path)
    for name in ("b.ipynb", "a.ipynb"):
        notebook(tmp_path / name, SOURCE, "6 * 7")
    outputs.main([])
    assert capsys.readouterr().out.endswith("a.ipynb\nb.ipynb\n")
    stored = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    assert [output.text for output in stored.cells[0].outputs] == [f"1\n2\n{tmp_path}\n"]
    assert stored.cells[1].outputs[0].data["text/plain"] == "42"
    assert "language_info" not in stored.metadata
    assert not any("execution" in cell.metadata for cell in stored.cells)


def test_the_record_of_times_keeps_those_of_notebooks_that_are_not_run_again(tmp_path, monkeypatch):
    for name, wait in (("b", 0.3), ("a", 0), ("b", 0)):
        notebook(tmp_path / f"{name}.ipynb", f"import time; time.sleep({wait})")
        monkeypatch.setattr(outputs.results, "machine", lambda wait=wait: f"machine {wait}")
        outputs.main([str(tmp_path / f"{name}.ipynb")])
        record = outputs.results.load("notebook_times")
        assert record["notebooks"][name]["seconds"] >= wait
        assert record["notebooks"][name]["date"] == record["date"]
    machines = [(name, time["machine"]) for name, time in record["notebooks"].items()]
    assert machines == [("a", "machine 0"), ("b", "machine 0")]
    assert record["what"]


def test_a_notebook_that_fails_is_left_as_it_was(tmp_path):
    before = notebook(tmp_path / "a.ipynb", "print(1)", "1 / 0")
    with pytest.raises(nbclient.exceptions.CellExecutionError):
        outputs.main([str(tmp_path / "a.ipynb")])
    assert (tmp_path / "a.ipynb").read_bytes() == before
    assert not (tmp_path / "notebook_times.json").exists()


def test_the_full_data_set_is_wanted(monkeypatch):
    monkeypatch.setattr(outputs, "find_mnist", lambda: None)
    with pytest.raises(SystemExit, match="full MNIST"):
        outputs.main([])
