"""Python processes in which some packages are missing, as on a machine that never had them."""

import os
from pathlib import Path

GPU_LIBRARIES = ("cupy", "cupyx", "cupy_backends", "nvmath", "cuda")


def without(*packages: str) -> dict[str, str]:
    """The variables with which a child process, and its children, cannot import the packages."""
    blocked = Path(__file__).parent / "blocked"
    path = os.pathsep.join(filter(None, [str(blocked), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "BLOCKED_IMPORTS": " ".join(packages)}
