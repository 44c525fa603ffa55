"""Fills in the two tables of book/status.md: versions, and what is known of each notebook."""

import json
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from tutorial_lib import results

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PACKAGES = *results.PACKAGES, "matplotlib", "jupyter-book", "sphinx", "nbval"
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}


def versions(record: dict[str, Any]) -> str:
    """A row for each package that built the pages, or ran the notebooks."""
    pages, notebooks = results.versions(PACKAGES), record.get("versions", {})
    names = dict.fromkeys([*pages, *notebooks])
    rows = [(name, pages.get(name, "–"), notebooks.get(name, "–")) for name in names]
    return results.table(["package", "pages", "notebooks"], rows)


def notebooks(record: dict[str, Any]) -> str:
    """A row for each notebook: its cells, and how long it took, if it was measured."""
    rows = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        cells = [cell for cell in cells if cell["cell_type"] == "code" and cell["source"]]
        left_out = sum(bool(NOT_COMPARED & set(c["metadata"].get("tags", ()))) for c in cells)
        time = record.get("notebooks", {}).get(path.stem)
        timed = [when(time), f"{time['seconds']:,}"] if time else ["not measured yet", "–"]
        title = f"{int(path.stem[:2])}. {{doc}}`../notebooks/{path.stem}`"
        rows.append([title, *timed, len(cells), len(cells) - left_out, left_out])
    header = ["chapter", "timed on", "seconds", "code cells", "compared", "not compared"]
    return results.table(header, rows)


def when(time: dict[str, Any]) -> str:
    """On which GPU it was measured, or else on which processor, and when."""
    return f"{time['machine'].partition(',')[0]}, {time['date']}"


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the tables where the page names them."""
    if page == "book/status":
        known = (results.RESULTS / "notebook_times.json").exists()
        record = results.load("notebook_times") if known else {}
        for table in (versions, notebooks):
            source[0] = source[0].replace(f"<!-- {table.__name__} -->", table(record))


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension."""
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
