"""Rules that a reader relies on: notebooks run in order, described figures, nothing private."""

import ast
import json
import operator
import re

import pytest

from tutorial_lib.tests.test_house import ROOT, lines_of

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
SKIPPED = {"nbval-ignore-output", "nbval-skip", "nbval-check-output"}
# What may be had from the CUDA libraries: names that the CUDA 12 and the CUDA 13 stack share.
STACK = {"cuda.bindings.driver", "cupy", "cupy.random", "cupyx.profiler.benchmark"}
STACK |= {"nvmath", "nvmath.bindings.cublasLt"} | {
    f"nvmath.linalg.advanced.{name}"
    for name in ("Matmul", "MatmulComputeType", "MatmulEpilog", "MatmulOptions", "matmul")
}
# These need CUDA 13.


def test_only_these_names_come_from_the_cuda_stack():
    used = set()
    for path in lines_of("tutorial_lib", suffixes={".py"}):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                used |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert {name for name in used if re.match(r"(cupyx?|nvmath|cuda)\b", name)} == STACK


def test_what_the_package_takes_from_xp_is_there_in_cupy():
    """A misspelled name behind `if backend.name == "gpu"` would only show on a GPU."""
    cupy = pytest.importorskip("cupy")
    for path in lines_of("tutorial_lib", suffixes={".py"}):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("xp."):
                name = re.match(r"xp\.((\w|\.)+)", ast.unparse(node))[1]
                operator.attrgetter(name)(cupy)  # AttributeError: CuPy has no such thing


def code_cells(path):
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and cell["source"]]


def tags(cell):
    return set(cell["metadata"].get("tags", ()))


@EACH
def test_notebooks_are_stored_executed_in_order(path):
    """nbval passes a cell that was stored without a run: it has nothing to compare."""
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        failed = any(output["output_type"] == "error" for output in cell["outputs"])
        assert failed == ("raises-exception" in tags(cell))
        assert not [output for output in cell["outputs"] if output.get("name") == "stderr"]


@EACH
def test_few_cells_are_exempt_from_comparison(path):
    cells = code_cells(path)
    exempt = ["".join(cell["source"]) for cell in cells if SKIPPED & tags(cell)]
    assert len(exempt) <= len(cells) / 4
    for source in exempt:  # what is exempt shows the machine: a timing or its name
        assert re.search(r"describe_backend|time|measure|seconds|machine", source)


@EACH
def test_every_figure_has_alternative_text(path):
    for cell in code_cells(path):
        shown = {kind for output in cell["outputs"] for kind in output.get("data", {})}
        if shown & {"image/png", "image/svg+xml"}:
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 4, f"cell {cell['execution_count']}: what does it show?"


@EACH
def test_what_is_stored_is_small_and_names_no_machine(path):
    assert path.stat().st_size < 700_000
    assert not re.search(r"/(root|home|Users|tmp|work)/", path.read_text())


@EACH
def test_nothing_that_a_page_shows_is_private(path):
    shown = set()
    for cell in code_cells(path):
        for output in cell["outputs"]:
            output.get("data", {}).pop("image/png", None)
        text = json.dumps([cell["source"], cell["outputs"]]).replace(r"\n", " ")
        shown |= set(re.findall(r"(?<![\w/])_[a-z]\w*", text))
    assert shown == set()


@EACH
def test_exercises_have_a_hint_a_scaffold_with_blanks_and_a_solution(path):
    """At least three a chapter; what `check` says of each is executed in test_notebooks."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["source"]]
    whole = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    titles = re.findall(r"\*\*(Exercise|Solution of exercise) (\d+\.\d+)", whole)
    exercises = [f"{int(path.name[:2])}.{i}" for i in range(1, len(titles) // 2 + 1)]
    assert titles == [(kind, n) for n in exercises for kind in ("Exercise", "Solution of exercise")]
    kinds = [next(iter({"exercise", "solution"} & tags(cell)), None) for cell in cells]
    places = [i for i, kind in enumerate(kinds) if kind == "exercise"]
    assert len(places) >= 3
    for i in places:
        task, check, scaffold, why, solution = cells[i - 2 : i + 3]
        number = re.search(r"\*\*Exercise (\d+\.\d+): ", "".join(task["source"]))[1]
        called = f"check_{number.replace('.', '_')}("
        assert "<details><summary>Hint</summary>\n\n" in "".join(task["source"])
        assert f"def {called}" in "".join(check["source"])
        assert 2 <= "".join(scaffold["source"]).count("...") <= 4
        assert f"**Solution of exercise {number}**" in "".join(why["source"])
        assert kinds[i + 2] == "solution"
        assert len(solution["metadata"]["wrong"]) >= 2
        for cell, last in ((scaffold, "Not yet: fill in the blanks"), (solution, "Right.")):
            assert called in "".join(cell["source"])
            assert "".join(cell["outputs"][-1]["text"]).splitlines()[-1].startswith(last)


@EACH
def test_what_a_page_folds_jupyterlab_folds_too(path):
    for cell in code_cells(path):
        folded = bool({"hide-input", "solution"} & tags(cell))
        assert folded == cell["metadata"].get("jupyter", {}).get("source_hidden", False)


@EACH
def test_what_is_shown_of_the_library_is_less_than_a_fifth_of_a_chapter(path):
    """The rest is the chapter's own: text, cells that a reader can change, and what they print."""
    lines = {True: 0, False: 0}
    for cell in json.loads(path.read_text())["cells"]:
        lines[False] += len(cell["source"])
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            listing = "".join(data.get("text/markdown", "")).startswith("```")
            lines[listing] += len(data.get("text/plain", output.get("text", ())))
    assert lines[True] < sum(lines.values()) / 5


@EACH
def test_no_notebook_shows_what_only_sphinx_can_read(path):
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert not re.findall(r"\{[a-z]+\}`|\$\$ *\(|\\tag|(```|:::)\{", text)


def test_every_notebook_is_in_the_table_of_contents():
    listed = re.findall(r"file: notebooks/(\S+)", (ROOT / "_toc.yml").read_text())
    assert listed == [path.stem for path in NOTEBOOKS]
