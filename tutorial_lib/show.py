"""The library's source in a notebook, so that a page cannot differ from the library."""

import inspect
import re
import textwrap
from pathlib import Path
from types import FunctionType

KERNELS = Path(__file__).parent / "kernels"


class Source:
    """Source code that a notebook renders with highlighting and that prints as plain text."""

    def __init__(self, code: str, language: str = "python") -> None:
        self.code, self.language = code, language

    def __repr__(self) -> str:
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```{self.language}\n{self.code}\n```"


def show(*objects: type | FunctionType) -> Source:
    """The source of classes, functions or methods, one after the other; TypeError without one."""
    try:
        codes = [textwrap.dedent(inspect.getsource(one)).rstrip() for one in objects]
    except OSError as error:
        need = "show needs classes, functions or methods with a source file"
        raise TypeError(f"{need}, got {objects!r}") from error
    return Source("\n\n".join(codes))


def show_kernel(file: str, name: str) -> Source:
    """A function or struct of ``kernels/{file}``, which is CUDA or Triton, by its name.

    The comment above it belongs to it. A name that begins with ``//`` is that of a comment that
    stands alone, by its first words. ValueError where there is no such.
    """
    definition = re.compile(rf"^(?!//|\s).*\b{re.escape(name)}\b\s*[({{]", re.MULTILINE)
    cuda = KERNELS.glob(f"{file}*.cu*")  # a kernel may have files of its own
    for path in sorted([*cuda, *KERNELS.glob(f"{file}.py")]):
        for part in re.split(r"\n\n(?=\S)", path.read_text(encoding="utf-8").rstrip()):
            if part.startswith(name) or definition.search(part):
                return Source(part, "python" if path.suffix == ".py" else "cuda")
    raise ValueError(f"no kernel source {file!r} has a function or struct {name!r}")
