"""A laptop has no GPU libraries: the package needs NumPy alone, and requirements.txt installs."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest

from tutorial_lib import backend
from tutorial_lib.tests.imports import GPU_LIBRARIES, without

ROOT = Path(__file__).parents[2]
TORCH = {"torch", "torchvision"}
LAPTOPS = {  # uv's names
    "macOS": "aarch64-apple-darwin",
    "macOS on Intel": "x86_64-apple-darwin",
    "Windows": "x86_64-pc-windows-msvc",
    "Linux": "x86_64-manylinux_2_28",
    "Linux on Arm": "aarch64-manylinux_2_28",
}
STACKS = {
    "cupy-cuda12x": "3.11 requirements.txt",
    "cupy-cuda13x": "3.13 pyproject.toml --extra cu13",
}
CUDA = {*STACKS, "nvmath-python"}


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
    assert re.search(r"Backend +cpu: no (.*\n)*Weights +drawn from", text)
    for net in ("naive", "fused", "captured"):
        text = run("-m", "tutorial_lib", "train", "--net", net, **missing)
        for result in ("Batch 0  Loss: 0.6833", "Batch 220  Loss: 0.0566", "Accuracy: 0.9146"):
            assert result in text


@pytest.mark.skipif(backend.name == "gpu", reason="chapters use the GPU libraries there")
def test_chapters_are_run_without_the_gpu_libraries(tmp_path):
    """All of them are, by nbval; here a notebook looks for the libraries in the same way."""
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    code = f"from importlib.util import find_spec\nany(map(find_spec, {GPU_LIBRARIES}))"
    output = nbformat.v4.new_output("execute_result", {"text/plain": "False"}, execution_count=1)
    cell = nbformat.v4.new_code_cell(code, execution_count=1, outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "probe.ipynb")
    arguments = ["--nbval", "-q", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, tmp_path]
    assert "1 passed" in run("-m", "pytest", *arguments, PYTHONPATH=str(ROOT))


def test_the_requirements_resolve_to_wheels_for_every_laptop():
    """uv adds each stack to pages.lock for each laptop, all at once: metadata only, wheels only."""
    uv = pytest.importorskip("uv", reason="needs uv").find_uv_bin()
    # macOS 14 is the oldest that torch supports; a hanging network shall not hang the tests.
    settings = {"MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_HTTP_TIMEOUT": "20", "UV_HTTP_RETRIES": "1"}
    options = {"env": os.environ | settings, "cwd": ROOT, "text": True}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    runs = {}
    for laptop, (cupy, stack) in itertools.product(LAPTOPS, STACKS.items()):
        command = f"pip compile -q --only-binary :all: --no-annotate -c pages.lock -p {stack}"
        command = [uv, *command.split(), "--python-platform", LAPTOPS[laptop]]
        runs[laptop, cupy] = subprocess.Popen(command, **options)
    results = {key: (*run.communicate(), run.returncode) for key, run in runs.items()}
    for (laptop, cupy), (found, error, status) in results.items():
        if re.search("Failed to fetch|error sending request|offline|timed out", error):
            pytest.skip(f"no package index: {error.strip().splitlines()[-1]}")
        assert status == 0, error
        names, linux = set(re.findall(r"^[\w.-]+(?===)", found, re.M)), laptop.startswith("Linux")
        expected = TORCH if laptop != "macOS on Intel" else set()
        expected = expected | {cupy, "nvmath-python"} if linux else expected
        assert names & (CUDA | TORCH) == expected, f"{laptop}, {cupy}"
        libraries = [name for name in names if name.startswith(("nvidia", "cuda", "triton"))]
        assert bool(libraries) == linux, f"{laptop}, {cupy}"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_the_lock_holds_all_that_the_pages_need_with_hashes(python, system):
    """Also what builds the package: pages.lock is installed without resolving anything."""
    packaging = pytest.importorskip("packaging.requirements")
    where = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": system}
    lock = (ROOT / "pages.lock").read_text(encoding="utf-8")
    assert "://" not in lock, "it names no package index"
    locked = {}
    for entry in re.split(r"\n(?=\S)", re.sub("^#.*\n", "", lock, flags=re.MULTILINE)):
        pinned, *hashes = re.split(r"\s*\\\n\s*", entry.strip())
        assert hashes
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", each) for each in hashes)
        pin = packaging.Requirement(pinned)
        if not pin.marker or pin.marker.evaluate(where):
            assert locked.setdefault(pin.name, pin.specifier) is pin.specifier, "pinned once"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    made, run, _ = (ROOT / "requirements.txt").read_text(encoding="utf-8").partition("\n# To run")
    assert run
    needed = re.findall(r"^\w[^#\n]*", made, re.MULTILINE)
    for line in needed + project["project"]["dependencies"] + project["build-system"]["requires"]:
        wanted = packaging.Requirement(line)
        version = str(locked[wanted.name]).removeprefix("==")
        assert version in wanted.specifier, f"make lock: {line}, but {version} is locked"
