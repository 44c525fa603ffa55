"""The library's source in a notebook, so that a page cannot differ from the library."""

import inspect
import textwrap
from types import FunctionType


class Source:
    """Source code that a notebook renders with highlighting and that prints as plain text."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __repr__(self) -> str:
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


def show(obj: type | FunctionType) -> Source:
    """The source of `obj`, a class, function or method of the package, dedented.

    Raises TypeError for anything that has no Python source.
    """
    try:
        code = inspect.getsource(obj)
    except OSError as error:
        raise TypeError(
            f"show needs a class, function or method with a source file, got {obj!r}"
        ) from error
    return Source(textwrap.dedent(code).rstrip())
