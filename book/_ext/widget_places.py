"""Puts a widget where a page has `<div data-widget="NAME"></div>`, and its scripts on that page.

Where no script of the book runs, as in JupyterLab or on GitHub, such an element shows nothing. So
the text before it links to the page that has the same widget.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PLACE = re.compile(r'<div data-widget="(\w+)"[^>]*>(?=</div>)')
SCRIPTS = {
    "digit": ["weights", "network", "digit", "dom", "pad", "draw"],
    "epilog": ["dom", "epilog", "tables", "step"],
    "pays": ["measured", "dom", "estimate", "pays"],
}


def add_widgets(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Fill the places of a page, before it is written; scripts added now are this page's alone."""
    body = context.get("body", "")
    found = PLACE.findall(body)
    if not found or app.builder.name != "html":  # an EPUB runs no script
        return
    folder = Path(__file__).with_name("widgets")
    html = {name: (folder / f"{name}.html").read_text(encoding="utf-8") for name in found}
    context["body"] = PLACE.sub(lambda place: f"{place[0]}\n{html[place[1]]}", body)
    app.add_css_file("widgets/widgets.css")
    for script in dict.fromkeys(script for name in found for script in SCRIPTS[name]):
        app.add_js_file(f"widgets/{script}.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension."""
    app.connect("html-page-context", add_widgets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
