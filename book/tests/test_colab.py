"""The notebooks for Colab and Binder: the same cells behind one that brings the package."""

import json

import pytest

import colab

NOTEBOOKS = sorted((colab.ROOT / "notebooks").glob("*.ipynb"))


def test_copies_bring_the_package_and_change_nothing_else(tmp_path):
    colab.main(["someone/some-book", str(tmp_path)])
    copies = sorted((tmp_path / "notebooks").iterdir())
    assert [copy.name for copy in copies] == [path.name for path in NOTEBOOKS]
    for original, copy in zip(NOTEBOOKS, copies):
        ours, (first, *rest) = (json.loads(p.read_text())["cells"] for p in (original, copy))
        for brought in ("https://github.com/someone/some-book", "nvmath-python[cu12]", "cupy-cuda"):
            assert brought in "".join(first["source"])
        assert [cell["source"] for cell in rest] == [cell["source"] for cell in ours]
        assert not any(cell.get("outputs") for cell in rest)
    lines = (tmp_path / "binder" / "requirements.txt").read_text().splitlines()
    names = {line.partition(">=")[0] for line in lines}
    assert names == {"ipykernel", "matplotlib", "torch", "torchvision"}


@pytest.mark.parametrize("arguments", [[], ["someone/some-book"], ["no name", "folder"]])
def test_wrong_arguments_are_explained(arguments):
    with pytest.raises(SystemExit, match="usage"):
        colab.main(arguments)
