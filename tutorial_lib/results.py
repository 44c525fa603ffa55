"""What was measured, as JSON in ``book/results``: pages and plots read their numbers here."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "book" / "results"


def load(name: str) -> dict[str, Any]:
    """The record ``book/results/{name}.json``.

    Raises FileNotFoundError with the records that there are.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"no record {name!r}; there are: {sorted(p.stem for p in RESULTS.glob('*.json'))}"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def ladder() -> dict[str, Any]:
    """The record of the ladder, or, until one has been run whole, the first look at it."""
    complete = (RESULTS / "ladder.json").exists()
    return load("ladder" if complete else "first_look_h200")
