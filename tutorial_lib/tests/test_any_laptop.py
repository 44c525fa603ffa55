"""A laptop has no GPU libraries: the package needs NumPy alone, and requirements.txt installs.

That the chapters need none either is seen by `pytest --nbval`: see notebooks/conftest.py.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

from tutorial_lib import backend
from tutorial_lib.tests.imports import GPU_LIBRARIES, without

ROOT = Path(__file__).parents[2]
CUDA = {"cupy-cuda12x", "cupy-cuda13x", "nvmath-python"}
TORCH = {"torch", "torchvision"}
LAPTOPS = {  # uv's name, sys_platform, platform_machine
    "macOS": ("aarch64-apple-darwin", "darwin", "arm64"),
    "macOS on Intel": ("x86_64-apple-darwin", "darwin", "x86_64"),
    "Windows": ("x86_64-pc-windows-msvc", "win32", "AMD64"),
    "Linux": ("x86_64-manylinux_2_28", "linux", "x86_64"),
    "Linux on Arm": ("aarch64-manylinux_2_28", "linux", "aarch64"),
}
# CuPy's name, a Python to resolve for, and where the stack is written down.
STACKS = {
    "requirements.txt": ("cupy-cuda12x", "3.10", []),
    "pyproject.toml": ("cupy-cuda13x", "3.13", ["--extra", "cu13"]),
}


def run(*command, **variables):
    """Run Python; its output has to fit the code page of a Western Windows."""
    variables |= {"PYTHONIOENCODING": "cp1252", "TUTORIAL_BACKEND": ""}
    options = {"capture_output": True, "encoding": "cp1252", "cwd": ROOT}
    done = subprocess.run([sys.executable, *command], env=os.environ | variables, **options)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.usefixtures("full_mnist")
def test_numpy_is_all_that_doctor_and_training_need():
    missing = without(*set(packages_distributions()) - {"numpy", "tutorial_lib"}, *GPU_LIBRARIES)
    text = run("-m", "tutorial_lib", "doctor", **missing)
    assert re.search(r"Backend +cpu(.*\n)*Weights +drawn .* by NumPy", text)
    for net in ("naive", "fused", "captured"):
        text = run("-m", "tutorial_lib", "train", "--net", net, **missing)
        for result in ("Batch 0  Loss: 0.6833", "Batch 220  Loss: 0.0566", "Accuracy: 0.9146"):
            assert result in text


@pytest.mark.skipif(backend.name == "gpu", reason="chapters use the GPU libraries there")
def test_chapters_are_run_without_the_gpu_libraries(tmp_path):
    """All of them are, by nbval; here a notebook looks for the libraries in the same way."""
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    code = f"from importlib.util import find_spec\nprint(*map(find_spec, {GPU_LIBRARIES}))"
    missing = " ".join(["None"] * len(GPU_LIBRARIES)) + "\n"
    output = nbformat.v4.new_output("stream", text=missing)
    cell = nbformat.v4.new_code_cell(code, execution_count=1, outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "probe.ipynb")
    arguments = ["--nbval", "-q", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, tmp_path]
    assert "1 passed" in run("-m", "pytest", *arguments, PYTHONPATH=str(ROOT))


@pytest.mark.skipif(not shutil.which("sed"), reason="needs sed, as make does")
def test_the_makefile_cuts_the_requirements_where_their_headings_are():
    names = []
    for cut in re.findall(r"sed '(.+)' requirements.txt >", (ROOT / "Makefile").read_text()):
        text = subprocess.check_output(["sed", cut, ROOT / "requirements.txt"], text=True)
        names += [{Requirement(line).name for line in text.splitlines() if line[:1].isalpha()}]
    pages, tools = names
    assert "jupyter-book" in pages < tools
    assert "pytest" in tools - pages
    assert not tools & (CUDA | TORCH)


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    ("system", "python", "folder"), [("Windows_NT", "python", "Scripts"), ("", "python3", "bin")]
)
def test_make_finds_python_where_the_system_puts_it(system, python, folder):
    command = ["make", "--no-print-directory", "-n", "-B", f"OS={system}", "lab", ".venv/cuda13"]
    outer = {"PYTHON", "CUDA", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # of `make test` itself
    plain = {name: value for name, value in os.environ.items() if name not in outer}
    lines = subprocess.check_output(command, cwd=ROOT, text=True, env=plain).splitlines()
    assert lines[0].startswith(f"{python} -m venv --upgrade-deps .venv")
    assert f".venv/{folder}/jupyter lab notebooks" in lines
    assert not [line for line in lines if "/dev/" in line]
    assert [line for line in lines if line.startswith(f".venv/{folder}/python -m pip install")]


def assert_fits(names, laptop, stack):
    """Only Linux gets the CUDA packages, of one stack; only Intel Macs get no torch."""
    expected = set() if laptop == "macOS on Intel" else TORCH
    if laptop.startswith("Linux"):
        expected = expected | {STACKS[stack][0], "nvmath-python"}
    assert names & (CUDA | TORCH) == expected, f"{laptop}, {stack}"


@pytest.mark.parametrize("laptop", LAPTOPS)
@pytest.mark.parametrize("stack", STACKS)
def test_the_markers_of_the_requirements_fit_every_laptop(laptop, stack):
    here = dict(zip(("sys_platform", "platform_machine"), LAPTOPS[laptop][1:]))
    found = re.findall(r'^ *"?([\w-]+(?:\[.+\])?>=.+?)"?,?$', (ROOT / stack).read_text(), re.M)
    wanted = [
        line for line in map(Requirement, found) if not line.marker or line.marker.evaluate(here)
    ]
    assert_fits({line.name for line in wanted}, laptop, stack)


def test_the_requirements_resolve_to_wheels_for_every_laptop():
    """uv resolves each stack for each laptop, all at once: metadata only, wheels only."""
    uv = pytest.importorskip("uv", reason="needs uv").find_uv_bin()
    compile_all = [uv, "pip", "compile", "--only-binary", ":all:", "--quiet", "--no-annotate"]
    # macOS 14 is the oldest that torch supports; a hanging network shall not hang the tests.
    settings = {"MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_HTTP_TIMEOUT": "20", "UV_HTTP_RETRIES": "1"}
    options = {"env": os.environ | settings, "cwd": ROOT, "text": True}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    runs = {}
    for laptop, (platform, *_) in LAPTOPS.items():
        for stack, (_, python, extra) in STACKS.items():
            target = ["--python-platform", platform, "--python-version", python]
            command = [*compile_all, stack, *extra, *target]
            runs[laptop, stack] = subprocess.Popen(command, **options, **pipes)
    results = {key: (*run.communicate(), run.returncode) for key, run in runs.items()}
    for (laptop, stack), (found, error, status) in results.items():
        if re.search("Failed to fetch|error sending request|offline|timed out", error):
            pytest.skip(f"no package index: {error.strip().splitlines()[-1]}")
        assert status == 0, error
        names = set(re.findall(r"^[\w.-]+(?===)", found, re.M))
        assert_fits(names, laptop, stack)
        libraries = [name for name in names if name.startswith(("nvidia", "cuda", "triton"))]
        assert bool(libraries) == laptop.startswith("Linux"), f"{laptop}, {stack}"


def test_text_files_are_read_as_utf_8_on_windows_too():
    """The default there is the code page, in which neither the pages nor the notebooks are."""
    for path in [*ROOT.glob("tutorial_lib/**/*.py"), *ROOT.glob("book/**/*.py")]:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            function = getattr(call, "func", None)
            if isinstance(function, ast.Attribute) and function.attr in ("read_text", "write_text"):
                given = {keyword.arg for keyword in call.keywords}
                assert "encoding" in given or "tests" in path.parts, f"{path}, line {call.lineno}"
