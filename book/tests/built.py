"""The built book, ``_build/html`` or the folder that `BOOK_HTML` names, and visits to it."""

import contextlib
import os
from pathlib import Path

import pytest

BOOK = Path(os.environ.get("BOOK_HTML") or Path(__file__).parents[2] / "_build" / "html").resolve()
PAGES = sorted(
    p.relative_to(BOOK) for f in ("book", "notebooks") for p in (BOOK / f).rglob("*.html")
)
LOCAL = ("file:", "data:", "blob:", "http://127.0.0.1:")


def need_book() -> None:
    """Skip where the book has not been built."""
    if not PAGES:
        pytest.skip(f"needs the built book: make book (there is none in {BOOK})")


@contextlib.contextmanager
def visiting(browser):
    """Opens an address; at the end no page has complained, or asked another host for anything."""
    trouble = []
    with contextlib.ExitStack() as contexts:

        def open_page(address, **options):
            context = browser.new_context(**options)
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(10_000)
            page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: trouble.append(str(error)))
            page.on("requestfailed", lambda r: trouble.append(f"failed: {r.url}"))
            page.on("request", lambda r: None if r.url.startswith(LOCAL) else trouble.append(r.url))
            page.goto(address)
            page.wait_for_load_state("load")
            return page

        yield open_page
    assert trouble == []
