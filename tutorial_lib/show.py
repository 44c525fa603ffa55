"""The library's source in a notebook, so that a page cannot differ from the library."""

import inspect
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
    """The source of classes, functions or methods of the package, dedented, one after the other.

    Raises TypeError for anything that has no Python source.
    """
    try:
        codes = [textwrap.dedent(inspect.getsource(one)).rstrip() for one in objects]
    except OSError as error:
        raise TypeError(
            f"show needs classes, functions or methods with a source file, got {objects!r}"
        ) from error
    return Source("\n\n".join(codes))


def show_kernel(name: str, part: str = "") -> Source:
    """The CUDA source ``kernels/{name}.cu`` (or .cuh), or the part whose first line begins with
    `part`, dedented.

    A part begins at a comment, or after a blank line. It ends at the first blank line that nothing
    indented deeper follows, or with the block that it is in. Raises FileNotFoundError with the
    kernels that there are, ValueError with the parts that there are.
    """
    files = {path.stem: path for path in sorted(KERNELS.glob("*.cu*"))}
    if name not in files:
        raise FileNotFoundError(f"no kernel source {name!r}; there are: {list(files)}")
    lines = files[name].read_text(encoding="utf-8").splitlines()
    if not part:
        return Source("\n".join(lines), "cuda")
    starts = [i for i in range(len(lines)) if _starts_a_part(lines, i)]
    found = [i for i in starts if lines[i].lstrip().startswith(part)]
    if not found:
        there_are = "\n".join(f"  {lines[i].strip()}" for i in starts)
        raise ValueError(f"{name} has no part that begins with {part!r}; there are:\n{there_are}")
    start = found[0]
    indent, end = _indent(lines[start]), start + 1
    while end < len(lines) and not _ends_a_part(lines, end, indent):
        end += 1
    return Source(
        "\n".join(line.removeprefix(" " * indent) for line in lines[start:end]).rstrip(), "cuda"
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _starts_a_part(lines: list[str], i: int) -> bool:
    above, line = lines[i - 1].strip() if i else "", lines[i].strip()
    first_comment = line.startswith("//") and not above.startswith("//")
    return bool(line) and (not above or first_comment)


def _ends_a_part(lines: list[str], i: int, indent: int) -> bool:
    """Whether a part that is indented by `indent` is over before line i."""
    line = lines[i]
    if line.strip():
        return _indent(line) < indent and not line.startswith("#")
    following = next((later for later in lines[i:] if later.strip()), "")
    return _indent(following) <= indent
