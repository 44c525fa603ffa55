"""Rules that a reader relies on: imports one way, executed notebooks, described figures."""

import ast
import json
import re
from pathlib import Path

import pytest

from tutorial_lib import results, show
from tutorial_lib.benchmarks import published, readme
from tutorial_lib.functions import one_hot
from tutorial_lib.networks.naive import MnistNetNaive

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tutorial_lib"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SKIPPED = {"nbval-ignore-output", "nbval-skip", "nbval-check-output"}

# A module imports only from levels below its own.
LEVELS = [
    {"reference", "results", "show", "mnist_files"},
    {"backend"},
    {"dataset", "functions", "gradcheck", "atlas", "kernels", "capture"},
    {"networks"},
    {"training", "plotting", "doctor"},
    {"benchmarks", "outputs", "widgets", "launch", "__init__"},
    {"distributed"},
    {"__main__"},
    {"tests"},
]
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules}
# What may import the heavy libraries; all but plotting do so only when called.
HEAVY = {
    "cupy": {"backend", "doctor"},
    "nvmath": {"backend", "doctor"},
    "torch": {"dataset", "distributed", "benchmarks"},
    "torchvision": {"dataset", "benchmarks"},
    "jax": {"benchmarks"},
    "matplotlib": {"plotting"},
}


def imports(path):
    """(imported module, whether at import time) for each import in a file."""
    tree = ast.parse(path.read_text())
    inside = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            # `from tutorial_lib import backend` may name a module or an object of the package
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names = parts if node.module == "tutorial_lib" else [node.module]
        else:
            continue
        for name in names:
            yield name, node not in inside


# What may be had from the CUDA libraries: names that the CUDA 12 and the CUDA 13 stack share.
STACK = {
    "cuda.bindings.driver",
    "cupy",
    "cupy.random",
    "nvmath",
    "nvmath.bindings.cublasLt",
    "nvmath.linalg.advanced.Matmul",
    "nvmath.linalg.advanced.MatmulComputeType",
    "nvmath.linalg.advanced.MatmulEpilog",
    "nvmath.linalg.advanced.MatmulOptions",
    "nvmath.linalg.advanced.matmul",
}


def test_only_these_names_come_from_the_cuda_stack():
    used = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                used |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert {name for name in used if name.split(".")[0] in ("cupy", "nvmath", "cuda")} == STACK


SOURCES = [p for p in PACKAGE.rglob("*.py") if "tests" not in p.parts]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name, at_import in imports(path):
        top, _, rest = name.partition(".")
        if top == "tutorial_lib":
            part = rest.partition(".")[0]
            target = part if part in LEVEL else "__init__"
            if own == "__init__":
                continue
            assert target == own or LEVEL[target] < LEVEL[own], f"{own} must not import {name}"
        elif top in HEAVY:
            assert own in HEAVY[top], f"{own} must not import {top}"
            assert not at_import or top == "matplotlib" or own == "backend", f"{path}: {top}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_functions_have_docstrings_and_hints(path):
    tree = ast.parse(path.read_text())
    bodies = [tree.body] + [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in (node for body in bodies for node in body):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {node.name}"
            assert node.returns, f"{path}: {node.name} says not what it returns"
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = {a.arg for a in arguments if not a.annotation} - {"self"}
            assert not bare, f"{path}: {node.name} has no hints for {bare}"


def code_cells(path):
    notebook = json.loads(path.read_text())
    cells = [
        c for c in notebook["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()
    ]
    assert cells, f"{path.name} has no code"
    return cells


def test_there_are_six_chapters():
    assert len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_stored_executed_in_order(path):
    """nbval passes a cell that was stored without a run: it has nothing to compare."""
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        tags = set(cell["metadata"].get("tags", ()))
        failed = any(output["output_type"] == "error" for output in cell["outputs"])
        assert failed == ("raises-exception" in tags)
        streams = "".join("".join(o["text"]) for o in cell["outputs"] if o.get("name") == "stderr")
        assert not streams, f"{path.name} writes to stderr: {streams[:200]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_few_cells_are_exempt_from_comparison(path):
    cells = code_cells(path)
    exempt = [c for c in cells if SKIPPED & set(c["metadata"].get("tags", ()))]
    assert len(exempt) <= len(cells) / 4
    for cell in exempt:  # what is exempt shows the machine: a timing or its name
        assert re.search(r"describe_backend|time|seconds|machine", "".join(cell["source"]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_figure_has_alternative_text(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 4, (
                f"{path.name}, cell {cell['execution_count']}: say what the figure shows"
            )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_outputs_are_small_and_name_no_machine(path):
    assert path.stat().st_size < 700_000
    text = path.read_text()
    assert not re.search(r"/(root|home|Users|tmp|work)/", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_chapter_has_an_exercise_and_its_solution(path):
    text = "".join("".join(c["source"]) for c in json.loads(path.read_text())["cells"])
    exercises = re.findall(r"```\{exercise\}", text)
    assert exercises
    assert len(re.findall(r"\{solution-start\}", text)) >= len(exercises)


def test_every_notebook_is_in_the_table_of_contents():
    listed = re.findall(r"file: notebooks/(\S+)", (ROOT / "_toc.yml").read_text())
    assert listed == [path.stem for path in NOTEBOOKS]


def test_each_dependency_is_stated_once():
    requirements = (ROOT / "requirements.txt").read_text()
    names = [
        re.match(r"[A-Za-z0-9_.-]+", line)[0]
        for line in requirements.splitlines()
        if line[:1].isalnum()
    ]
    assert len(names) == len(set(names))
    lines = [line for line in requirements.splitlines() if line[:1].isalnum()]
    assert all("<" in line or "==" in line for line in lines), (
        "each dependency needs an upper bound"
    )


def test_records_name_machine_and_versions():
    names = [path.stem for path in results.RESULTS.glob("*.json")]
    assert names
    for name in names:
        record = results.load(name)
        assert record["what"]
        assert record["machine"]
        assert record["versions"]


def test_the_table_in_the_readme_is_that_of_the_record():
    text = readme.README.read_text()
    networks = results.load("published_run_cpu")["networks"]
    assert f"{published.BEGIN}\n{published.table(networks)}\n{readme.END}" in text
    for network in networks.values():
        assert network["correct"] == 9131
        for batch, loss in results.load("published_h200")["losses"].items():
            assert network["losses"][batch] == pytest.approx(loss, abs=1e-6)


def test_the_record_in_the_readme_is_that_of_the_ladder():
    ladder = results.ladder()
    text = readme.README.read_text()
    assert f"{readme.BEGIN}\n{readme.ladder(ladder)}\n{readme.END}" in text
    assert ladder["backend"] == "gpu"
    assert ladder["widths"] == [30, 512, 8192]
    assert ladder.get("done", [30, 512, 8192]) == [30, 512, 8192]


def test_the_numbers_in_the_readme_are_those_of_the_records():
    text = " ".join(readme.README.read_text().split())
    epochs = results.load("published_h200")["epoch_milliseconds"]
    fused, plain = (epochs[f"images on the GPU, {n} network"]["30"] for n in ("fused", "naive"))
    assert f"an epoch of the fused network takes {fused} ms and the plain one {plain} ms" in text
    record = results.load("conformance")
    assert f"on an H100: {record['matmul']['cases']:,} matmuls" in text
    assert "H100" in record["machine"]
    assert len(record["questions"]["answers"]) > 100
    networks = results.load("published_run_gpu")["networks"].values()
    assert {network["correct"] for network in networks} == {9131}


def test_show_gives_the_library_s_source():
    source = show(one_hot)
    assert repr(source).startswith("def one_hot(")
    assert source._repr_markdown_() == f"```python\n{source!r}\n```"
    assert repr(show(MnistNetNaive.forward)).startswith("def forward(")
    with pytest.raises(TypeError):
        show(3)
