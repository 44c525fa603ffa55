"""Records: what was measured, as JSON in ``book/results``. Pages and figures read them here."""

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib.kernels.needs import this_device

RESULTS = Path(__file__).parent.parent / "book" / "results"
THOUSANDS = re.compile(r"(?<![-\w.,])\d{4,}(?!-\d|[\w.])")
NUMERIC = re.compile(r"([-\d\s.,:;=+–−×/()*%]|<br>|e(?=[-\d])|to\b|[µm]s\b)*$")
# What the measurements depend on; a record says which of them are installed.
CUDA_PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "nvmath-python", "nvidia-cublas-cu12")
PACKAGES = ("numpy", *CUDA_PACKAGES, "nvidia-cublas", "torch", "triton", "jax")


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: multiprocessors, Hz at most, bytes per second of its memory, TF32
    operations per second of its tensor cores, bytes of its L2 cache."""

    multiprocessors: int
    clock: float
    bandwidth: float
    tf32: float = 494.7e12
    l2: float = 50e6

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
    """The record ``book/results/{name}.json``; FileNotFoundError if there is none."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def find(rows: Iterable[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The first of a record's rows that has all the `wanted` values; KeyError if none has."""
    if row := next((row for row in rows if wanted.items() <= row.items()), None):
        return row
    raise KeyError(f"no row with {wanted}")


def about(record: Mapping[str, Any]) -> str:
    """Where and when it was measured, and whether the code has changed since."""
    line = f"{record['machine'].partition(';')[0]} | {record['date']}"
    changed = ", ".join(stale(record))
    return f"{line} | since then changed: {changed}" if changed else line


def outcome(record: dict, name: str, width: int, arithmetic: str = "float32") -> dict[str, Any]:
    """What a ladder's record says of a contestant at a width; empty if it was not run there."""
    for contestant in record["contestants"]:
        if (contestant["name"], contestant["arithmetic"]) == (name, arithmetic):
            return contestant["widths"].get(str(width), {})
    return {}


def milliseconds(record: dict, name: str, width: int, arithmetic: str = "float32") -> float | None:
    """The median milliseconds of a contestant's epoch; None if it was not timed there."""
    return outcome(record, name, width, arithmetic).get("wall", {}).get("median")


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table: a column is flush right if half of it or more is numbers; 1000 is 1,000."""
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in [header, *rows]]
    lines = [THOUSANDS.sub(lambda number: f"{int(number[0]):,}", line) for line in lines]
    columns = zip(*(line[2:-2].split(" | ") for line in lines[1:]))
    numbers = [[bool(NUMERIC.match(text)) for text in column] for column in columns]
    rule = ["--:" if 2 * sum(column) >= len(column) else ":--" for column in numbers]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, quartiles and the samples, all to four digits."""
    values = [*np.quantile(samples, (0.25, 0.5, 0.75)), *samples]
    low, median, high, *digits = (float(f"{value:.4g}") for value in values)
    return {"median": median, "quartiles": [low, high], "samples": digits}


@functools.cache
def machine() -> str:
    """The GPU with its driver, if there is one, and the processor with its number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    processor = f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores"
    if not (device := this_device()):
        return processor
    query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader"
    driver = subprocess.getoutput(query).partition("\n")[0]
    return f"one {device.name}, driver {driver}; {processor}"


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The version of Python, and of those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def digest(source: str) -> str:
    """A hash of a file of this package that only its code changes: not comments, not docstrings.

    Empty without such a file.
    """
    path = Path(__file__).parent / source
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    comments = r'"""[\s\S]*?"""|#.*' if path.suffix == ".py" else r"//.*|/\*[\s\S]*?\*/"
    code = re.sub(rf"{comments}|\s", "", text)
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def stale(record: Mapping[str, Any]) -> list[str]:
    """The files whose code has changed since they were measured for this record, or for one of its
    contestants; also of a contestant alone."""
    measured: dict[str, str] = {}
    for part in (record, *record.get("contestants", ())):
        measured |= part.get("sources", {})
    return [source for source, was in measured.items() if digest(source) != was]


def write(name: str, content: Mapping[str, Any], *, sources: Iterable[str] = ()) -> Path:
    """Write ``book/results/{name}.json``: date, machine, versions, digests, then `content`.

    `sources` are the files of this package that the record depends on, relative to it. Whole or not
    at all: a process that is killed meanwhile leaves the file as it was.
    """
    head = {"date": datetime.date.today().isoformat(), "machine": machine()}
    head |= {"system": platform.platform(), "versions": versions()}
    head |= {"sources": {source: digest(source) for source in sources}}
    text = json.dumps(head | dict(content), indent=2)
    text = re.sub(r"\[\s+([-+.\deE,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    unfinished = RESULTS / f"{name}.tmp"
    unfinished.write_text(text + "\n", encoding="utf-8")
    return unfinished.replace(RESULTS / f"{name}.json")
