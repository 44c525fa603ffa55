"""The record of a measurement, as JSON: samples and spread, machine, versions, date."""

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.results import RESULTS

# What the GPU benchmarks depend on; which of them there is, a record says.
GPU_PACKAGES = (
    "numpy",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "nvmath-python",
    "nvidia-cublas",
    "nvidia-cublas-cu12",
    "torch",
    "triton",
    "jax",
)


def summary(samples: list[float]) -> dict[str, Any]:
    """Median, quartiles and the raw samples, in the unit they came in."""
    low, median, high = statistics.quantiles(samples, n=4)
    return {"median": median, "quartiles": [low, high], "samples": samples}


def machine() -> str:
    """The processor and how many of it, in a few words."""
    names = []
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


@functools.cache
def device() -> str:
    """The GPU, its driver and the processor beside it; without a GPU the processor alone."""
    if backend.name != "gpu":
        return machine()
    name = xp.cuda.runtime.getDeviceProperties(xp.cuda.Device().id)["name"].decode()
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.split()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        driver = "unknown"
    return f"one {name}, driver {driver}; {machine()}"


def installed(packages: Iterable[str] = GPU_PACKAGES) -> list[str]:
    """Those of the packages that are installed."""
    return [package for package in packages if _is_installed(package)]


def _is_installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def write(name: str, packages: Iterable[str], content: Mapping[str, Any]) -> Path:
    """Write ``book/results/{name}.json``: `content` behind machine, versions and date.

    Whole or not at all: a process killed meanwhile leaves the file as it was.
    """
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
    }
    path = RESULTS / f"{name}.json"
    text = json.dumps(record | dict(content), indent=2)
    text = re.sub(r"\[\s+([-+.\deE,\s]+?)\s+\]", _on_one_line, text)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[1].split())}]"
