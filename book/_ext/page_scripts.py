"""Drops the scripts of sphinx-thebe, which Jupyter Book adds twice and this book does not use."""

from sphinx.application import Sphinx


def drop_thebe(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Take thebe's scripts and styles off one page."""
    for kind in ("script_files", "css_files"):
        entries = context.get(kind, ())
        context[kind] = [e for e in entries if "thebe" not in str(getattr(e, "filename", e))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension."""
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
