"""The notebooks for Colab and Binder: the same cells behind one that brings the package."""

import json
import os
import re
import subprocess
import sys

import pytest

import colab

NOTEBOOKS = sorted((colab.ROOT / "notebooks").glob("*.ipynb"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BROUGHT = {"IPython": "ipykernel", "numpy": "matplotlib"}  # by a package that needs them


def read(path, kinds=("code", "markdown")):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] in kinds]
    return [("".join(cell["source"]), cell.get("outputs")) for cell in cells]


def test_copies_bring_the_package_and_change_nothing_else(tmp_path):
    colab.main(["someone/some-book", COMMIT, str(tmp_path)])
    copies = sorted((tmp_path / "notebooks").iterdir())
    assert [copy.name for copy in copies] == [path.name for path in NOTEBOOKS]
    for original, copy in zip(NOTEBOOKS, copies):
        (first, _), *rest = read(copy)
        for brought in ("nvmath-python[cu12]", "cupy-cuda"):
            assert brought in first
        assert [source for source, _ in rest] == [source for source, _ in read(original)]
        assert not any(outputs for _, outputs in rest)


def test_binder_has_a_python_and_each_package_that_a_chapter_imports(tmp_path):
    colab.main(["someone/some-book", COMMIT, str(tmp_path)])
    (python,) = (tmp_path / "binder" / "runtime.txt").read_text().split()
    oldest = re.search(
        r'requires-python = ">=3\.(\d+)"', (colab.ROOT / "pyproject.toml").read_text()
    )
    assert int(python.removeprefix("python-3.")) >= int(oldest[1])
    sources = "\n".join(source for path in NOTEBOOKS for source, _ in read(path, ["code"]))
    imported = set(re.findall(r"^ *(?:import|from) (\w+)", sources, re.MULTILINE))
    lines = (tmp_path / "binder" / "requirements.txt").read_text().splitlines()
    installed = {re.match(r"[\w-]+", line)[0] for line in lines}
    needed = imported - sys.stdlib_module_names - {"tutorial_lib"}
    assert {BROUGHT.get(name, name) for name in needed} == installed - {"torchvision"}


def test_the_first_cell_brings_the_commit_of_its_notebook_and_runs_twice(tmp_path):
    """In place of GitHub, git asks a folder, whose newest commit is a later one."""
    repository, here = tmp_path / "some-book", tmp_path / "here"

    def git(*arguments):
        command = ["git", "-C", repository, "-c", "user.name=n", "-c", "user.email=e", *arguments]
        return subprocess.check_output(command, text=True).strip()

    (repository / "tutorial_lib").mkdir(parents=True)
    here.mkdir()
    git("init", "--quiet")
    commits = []
    for version in ("shown", "later"):
        (repository / "tutorial_lib" / "__init__.py").write_text(f"version = {version!r}\n")
        git("add", ".")
        git("commit", "--quiet", "--message", version)
        commits.append(git("rev-parse", "HEAD"))
    colab.main(["someone/some-book", commits[0], str(tmp_path)])
    cell, _ = read(next((tmp_path / "notebooks").iterdir()))[0]
    (here / "cell.ipy").write_text(f"{cell}\nimport tutorial_lib\nprint(tutorial_lib.version)\n")
    instead = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": "https://github.com/someone/"}
    instead |= {"GIT_CONFIG_KEY_0": f"url.{tmp_path.as_uri()}/.insteadOf", "IPYTHONDIR": str(here)}
    for _ in range(2):
        command = [sys.executable, "-m", "IPython", "--colors=NoColor", "cell.ipy"]
        run = {"cwd": here, "env": os.environ | instead, "stderr": subprocess.STDOUT, "text": True}
        assert subprocess.check_output(command, **run).split() == ["shown"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["someone/some-book", COMMIT],
        ["someone/some-book", "main", "."],
        ["no name", COMMIT, "."],
    ],
)
def test_wrong_arguments_are_explained(arguments):
    with pytest.raises(SystemExit, match="usage"):
        colab.main(arguments)
