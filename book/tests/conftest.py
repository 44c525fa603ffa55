"""What the tests of the book share: the browser, and pages opened in it."""

import contextlib
from urllib.parse import urlsplit

import pytest
from browser import chromium


@pytest.fixture(scope="session")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser):
    """Opens an address; at the end no page has complained, or asked another host for anything."""
    trouble = []

    def is_remote(address):
        parts = urlsplit(address)
        return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1"

    with contextlib.ExitStack() as contexts:

        def open_page(address, **options):
            context = browser.new_context(**options)
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(10_000)
            page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: trouble.append(str(error)))
            page.on("requestfailed", lambda r: trouble.append(f"failed: {r.url}"))
            page.on("request", lambda r: trouble.append(r.url) if is_remote(r.url) else None)
            page.goto(address)
            page.wait_for_load_state("load")
            return page

        yield open_page
    assert trouble == []
