"""The record of a measurement, as JSON: samples and spread, machine, versions, date."""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tutorial_lib.results import RESULTS


def summary(samples: list[float]) -> dict[str, Any]:
    """Median, quartiles and the raw samples, in the unit they came in."""
    low, median, high = statistics.quantiles(samples, n=4)
    return {"median": median, "quartiles": [low, high], "samples": samples}


def machine() -> str:
    """The processor and how many of it, in a few words."""
    names = []
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def write(name: str, packages: Iterable[str], content: Mapping[str, Any]) -> Path:
    """Write ``book/results/{name}.json``: `content` behind machine, versions and date."""
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record | dict(content), indent=2) + "\n")
    return path
