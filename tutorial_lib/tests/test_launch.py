"""The notebooks for Colab and Binder: the same cells behind one that brings the package."""

import json

import pytest

from tutorial_lib import launch

NOTEBOOKS = sorted((launch.ROOT / "notebooks").glob("*.ipynb"))


def test_copies_bring_the_package_and_change_nothing_else(tmp_path):
    launch.main(["someone/some-book", str(tmp_path)])
    copies = sorted((tmp_path / "notebooks").iterdir())
    assert [p.name for p in copies] == [p.name for p in NOTEBOOKS]
    for original, copy in zip(NOTEBOOKS, copies):
        ours, (first, *rest) = (json.loads(p.read_text())["cells"] for p in (original, copy))
        assert "https://github.com/someone/some-book book" in first["source"]
        assert '"nvmath-python[cu12]>=' in first["source"]
        assert '"cupy-cuda12x>=' in first["source"]
        assert [cell["source"] for cell in rest] == [cell["source"] for cell in ours]
        assert not any(cell.get("outputs") for cell in rest)


def test_binder_gets_what_the_notebooks_import(tmp_path):
    launch.main(["someone/some-book", str(tmp_path)])
    lines = (tmp_path / "binder" / "requirements.txt").read_text().splitlines()
    names = {line.partition(">=")[0] for line in lines}
    assert names == {"ipykernel", "matplotlib", "torch", "torchvision"}


@pytest.mark.parametrize("arguments", [[], ["someone/some-book"], ["no name", "folder"]])
def test_wrong_arguments_are_explained(arguments):
    with pytest.raises(SystemExit, match="usage"):
        launch.main(arguments)
