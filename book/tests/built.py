"""The built book: ``_build/html``, or the folder that `BOOK_HTML` names."""

import os
from pathlib import Path

import pytest

BOOK = Path(os.environ.get("BOOK_HTML") or Path(__file__).parents[2] / "_build" / "html").resolve()
PAGES = sorted(
    p.relative_to(BOOK) for f in ("book", "notebooks") for p in (BOOK / f).rglob("*.html")
)


def need_book() -> None:
    """Skip where the book has not been built."""
    if not PAGES:
        pytest.skip(f"needs the built book: make book (there is none in {BOOK})")
