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
REQUIREMENTS = ROOT / "requirements.txt"
PYPROJECT = ROOT / "pyproject.toml"
CUDA = {"cupy-cuda12x", "cupy-cuda13x", "nvmath-python"}
TORCH = {"torch", "torchvision"}


def run(*command, **variables):
    """Run Python; its output has to fit the code page of a Western Windows."""
    variables |= {"PYTHONIOENCODING": "cp1252", "TUTORIAL_BACKEND": ""}
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        encoding="cp1252",
        env=os.environ | variables,
        cwd=ROOT,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_what_is_blocked_is_missing():
    """It is not found at all, so that a library which looks for it first is not misled."""
    code = "import numpy, sys, importlib.util as u; print([*map(u.find_spec, sys.argv[1:])])"
    missing = str([None] * len(GPU_LIBRARIES)) + "\n"
    assert run("-c", code, *GPU_LIBRARIES, **without(*GPU_LIBRARIES)) == missing
    assert run("-c", code, "pytest", **without(*GPU_LIBRARIES)) != "[None]\n"


TRAINING = """
import numpy as np
import tutorial_lib
from tutorial_lib.dataset import MEAN, SAMPLE, STD
from tutorial_lib.networks import MnistNetCaptured

with np.load(SAMPLE) as sample:
    images = (sample["train_images"][:1024] / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    labels = sample["train_labels"][:1024].astype(np.int64)
plain, fused, captured = (
    network(784, 30, 10)
    for network in (tutorial_lib.MnistNetNaive, tutorial_lib.MnistNet, MnistNetCaptured)
)
for _ in range(2):
    losses = plain.epoch(images, labels)
    np.testing.assert_allclose(fused.epoch(images, labels), losses, atol=1e-6)
    np.testing.assert_allclose(captured.epoch(images, labels), losses, atol=1e-6)
print(losses[-1] < 0.3)
"""


def test_numpy_is_all_that_the_networks_need():
    others = set(packages_distributions()) - {"numpy", "tutorial_lib"}
    assert run("-c", TRAINING, **without(*others, *GPU_LIBRARIES)) == "True\n"


@pytest.mark.skipif(backend.name == "gpu", reason="chapters use the GPU libraries there")
def test_chapters_are_run_without_the_gpu_libraries(tmp_path):
    """All of them are, by nbval; here a notebook looks for the libraries in the same way."""
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    code = f"from importlib.util import find_spec\nprint(*map(find_spec, {GPU_LIBRARIES}))"
    missing = " ".join(["None"] * len(GPU_LIBRARIES)) + "\n"
    output = nbformat.v4.new_output("stream", text=missing)
    cell = nbformat.v4.new_code_cell(code, execution_count=1, outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "probe.ipynb")
    arguments = ["--nbval", "-q", "-c", PYPROJECT, "--rootdir", tmp_path, tmp_path]
    assert "1 passed" in run("-m", "pytest", *arguments, PYTHONPATH=str(ROOT))


def test_numpy_is_all_that_doctor_and_training_need(full_mnist):
    missing = without(*set(packages_distributions()) - {"numpy", "tutorial_lib"}, *GPU_LIBRARIES)
    text = run("-m", "tutorial_lib", "doctor", **missing)
    assert re.search("Backend +cpu", text)
    assert re.search("Weights +drawn .* by NumPy", text)
    text = run("-m", "tutorial_lib", "train", **missing)
    assert "Batch 0  Loss: 0.6833" in text
    assert "0.9146" in text


# What pip and uv call the machine: sys_platform, platform_machine; uv's own name for it.
LAPTOPS = {
    "macOS": ("darwin", "arm64", "aarch64-apple-darwin"),
    "macOS on Intel": ("darwin", "x86_64", "x86_64-apple-darwin"),
    "Windows": ("win32", "AMD64", "x86_64-pc-windows-msvc"),
    "Linux": ("linux", "x86_64", "x86_64-manylinux_2_28"),
    "Linux on Arm": ("linux", "aarch64", "aarch64-manylinux_2_28"),
}
# CuPy's name, a Python to resolve for, and where the stack is written down.
STACKS = {
    "requirements.txt": ("cupy-cuda12x", "3.10", [REQUIREMENTS]),
    "cu13": ("cupy-cuda13x", "3.13", [PYPROJECT, "--extra", "cu13"]),
}


@pytest.mark.parametrize("laptop", LAPTOPS)
def test_only_linux_gets_cuda_packages_and_only_intel_macs_get_no_torch(laptop):
    system, machine, _ = LAPTOPS[laptop]
    for text in (REQUIREMENTS.read_text(), PYPROJECT.read_text()):
        lines = re.findall(r'^ *"?([\w-]+(?:\[.+\])?>=.+?)"?,?$', text, re.M)
        wanted = {
            requirement.name
            for requirement in map(Requirement, lines)
            if not requirement.marker
            or requirement.marker.evaluate({"sys_platform": system, "platform_machine": machine})
        }
        cuda = {"cupy-cuda12x"} if text.startswith("# To read") else {"cupy-cuda13x"}
        cuda |= {"nvmath-python"}
        assert wanted & CUDA == (cuda if system == "linux" else set())
        assert wanted & TORCH == (set() if laptop == "macOS on Intel" else TORCH)


def sections():
    """What the Makefile's sed cuts out of requirements.txt, as names of packages, by heading."""
    cuts = re.findall(r"sed '(.+)' requirements.txt >", (ROOT / "Makefile").read_text())
    for cut in cuts:
        text = subprocess.run(["sed", cut, REQUIREMENTS], capture_output=True, text=True).stdout
        yield {Requirement(line).name for line in text.splitlines() if line[:1].isalpha()}


@pytest.mark.skipif(not shutil.which("sed"), reason="needs sed, as make does")
def test_the_makefile_cuts_the_requirements_where_their_headings_are():
    pages, tools = sections()
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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=plain)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{python} -m venv --upgrade-deps .venv")
    assert f".venv/{folder}/jupyter lab notebooks" in lines
    assert not [line for line in lines if "/dev/" in line]
    assert [line for line in lines if line.startswith(f".venv/{folder}/python -m pip install")]


@pytest.fixture(scope="module")
def resolved():
    """uv resolves each stack for each laptop, all at once: metadata only, wheels only."""
    uv = pytest.importorskip("uv", reason="needs uv")
    compile_all = [
        uv.find_uv_bin(),
        "pip",
        "compile",
        "--only-binary",
        ":all:",
        "--quiet",
        "--no-annotate",
    ]
    # macOS 14 is the oldest that torch supports; a hanging network shall not hang the tests.
    settings = {"MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_HTTP_TIMEOUT": "20", "UV_HTTP_RETRIES": "1"}
    runs = {
        (laptop, stack): subprocess.Popen(
            [*compile_all, *arguments, "--python-platform", platform, "--python-version", python],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
        )
        for laptop, (_, _, platform) in LAPTOPS.items()
        for stack, (_, python, arguments) in STACKS.items()
    }
    return {key: (*run.communicate(), run.returncode) for key, run in runs.items()}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("laptop", LAPTOPS)
def test_the_requirements_resolve_to_wheels(resolved, laptop, stack):
    found, error, status = resolved[laptop, stack]
    if re.search("Failed to fetch|error sending request|offline|timed out", error):
        pytest.skip(f"no package index: {error.strip().splitlines()[-1]}")
    assert status == 0, error
    names = set(re.findall(r"^[\w.-]+(?===)", found, re.M))
    assert ("torch" in names) == (laptop != "macOS on Intel")
    on_linux = laptop.startswith("Linux")
    assert (STACKS[stack][0] in names) == ("nvmath-python" in names) == on_linux
    assert on_linux or not any(name.startswith(("nvidia", "cuda", "triton")) for name in names)


SOURCES = [p for folder in ("tutorial_lib", "book") for p in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if "tests" not in p.parts], ids=lambda p: p.name
)
def test_text_files_are_read_as_utf_8_on_windows_too(path):
    """The default there is the code page, in which neither the pages nor the notebooks are."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            given = {keyword.arg for keyword in call.keywords}
            if call.func.attr in ("read_text", "write_text"):
                assert "encoding" in given, f"{path}, line {call.lineno}"
