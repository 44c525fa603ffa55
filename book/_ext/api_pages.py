"""Lays a page for each package of `tutorial_lib` in book/api, by sphinx-apidoc, before each build."""

import os
import shutil
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "book" / "api"


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension, before it looks for pages."""
    os.environ["SPHINX_APIDOC_OPTIONS"] = "members,ignore-module-all"  # each object once
    from sphinx.ext import apidoc

    shutil.rmtree(PAGES, ignore_errors=True)  # the pages of packages that have gone
    package = ROOT / "tutorial_lib"
    layout = ["--no-toc", "--module-first", "-q", "--output-dir", str(PAGES)]
    apidoc.main([*layout, str(package), str(package / "tests")])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
