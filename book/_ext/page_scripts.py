"""Drops the scripts of sphinx-thebe, which Jupyter Book adds to every page, twice, and which the book does not use."""

from sphinx.application import Sphinx


def drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Take thebe's scripts and styles off one page."""
    for kind in ("script_files", "css_files"):
        context[kind] = [entry for entry in context.get(kind, ()) if "thebe" not in str(getattr(entry, "filename", entry))]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
