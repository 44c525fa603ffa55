"""Records: what was measured, as JSON in ``book/results``. Pages and figures read them here."""

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp

RESULTS = Path(__file__).parent.parent / "book" / "results"
# What the measurements depend on; a record says which of them are installed.
PACKAGES = (
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


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: multiprocessors, Hz at most, bytes per second of its memory."""

    multiprocessors: int
    clock: float
    bandwidth: float

    @property
    def peak(self) -> float:
        """Float32 operations per second: 128 lanes, each a multiplication and an addition."""
        return self.multiprocessors * 128 * 2 * self.clock


CARDS = {"H100 80GB HBM3": Card(132, 1.98e9, 3.35e12), "H200": Card(132, 1.98e9, 4.8e12)}


def card(machine: str) -> Card:
    """The card that a record's machine names; ValueError for one whose figures are not here."""
    for name, figures in CARDS.items():
        if name in machine:
            return figures
    raise ValueError(f"no figures of the card in {machine!r}; there are: {', '.join(CARDS)}")


def load(name: str) -> dict[str, Any]:
    """The record ``book/results/{name}.json``; FileNotFoundError with those that there are."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        names = sorted(path.stem for path in RESULTS.glob("*.json"))
        raise FileNotFoundError(f"no record {name!r}; there are: {names}")
    return json.loads(path.read_text(encoding="utf-8"))


def ladder() -> dict[str, Any]:
    """The record of the ladder, or, until one has been run whole, the first look at it."""
    complete = (RESULTS / "ladder.json").exists()
    return load("ladder" if complete else "first_look_h200")


def outcome(
    record: Mapping[str, Any], name: str, width: int, arithmetic: str = "float32"
) -> dict[str, Any]:
    """What a ladder's record says of a contestant at a width; empty if it was not run there."""
    for contestant in record["contestants"]:
        if (contestant["name"], contestant["arithmetic"]) == (name, arithmetic):
            return contestant["widths"].get(str(width), {})
    return {}


def milliseconds(
    record: Mapping[str, Any], name: str, width: int, arithmetic: str = "float32"
) -> float | None:
    """The median milliseconds of a contestant's epoch; None if it was not timed there."""
    return outcome(record, name, width, arithmetic).get("wall", {}).get("median")


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, left: int = 1) -> str:
    """A Markdown table: the first `left` columns are flush left, the others flush right."""
    rule = [":--"] * left + ["--:"] * (len(header) - left)
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles (never outside the samples) and the samples, all to four digits."""
    digits = [float(f"{sample:.4g}") for sample in samples]
    two = digits if len(digits) > 1 else digits * 2
    low, median, high = statistics.quantiles(two, n=4, method="inclusive")
    low, median, high = (float(f"{value:.4g}") for value in (low, median, high))
    return {"median": median, "quartiles": [low, high], "samples": digits}


@functools.cache
def machine() -> str:
    """The GPU with its driver, if there is one, and the processor with its number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    processor = f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores"
    if backend.name == "cpu":
        return processor
    gpu = xp.cuda.runtime.getDeviceProperties(xp.cuda.Device().id)["name"].decode()
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.split()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        driver = "unknown"
    return f"one {gpu}, driver {driver}; {processor}"


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The version of Python, and of those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write(name: str, content: Mapping[str, Any], *, packages: Iterable[str] = PACKAGES) -> Path:
    """Write ``book/results/{name}.json``: date, machine and versions, then `content`.

    Whole or not at all: a process that is killed meanwhile leaves the file as it was.
    """
    head = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "system": platform.platform(),
        "versions": versions(packages),
    }
    text = json.dumps(head | dict(content), indent=2)
    text = re.sub(r"\[\s+([-+.\deE,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    path = RESULTS / f"{name}.json"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path
