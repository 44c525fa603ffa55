"""`python -m tutorial_lib.launch OWNER/NAME FOLDER`: the notebooks, ready for Google Colab.

Each copy begins with a cell that brings the repository, and with it the package and its records,
and the two GPU libraries that Colab does not have. The workflow that publishes the book puts the
copies on the branch `launch`, to which the pages' launch buttons point.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CELL = """\
# Brings the book's package and its GPU libraries to this machine; about a minute.
!git clone --quiet --depth 1 https://github.com/{repository} book
%pip install --quiet {libraries}
import sys; sys.path.insert(0, "book")"""


def libraries() -> list[str]:
    """The lines of requirements.txt that Colab lacks: CuPy's version and nvmath-python."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [f'"{line}"' for line in lines if re.match(r"(cupy|nvmath)", line)]


def prepared(notebook: Path, repository: str) -> str:
    """A notebook's text with the cell put in front, without stored outputs."""
    content = json.loads(notebook.read_text())
    source = CELL.format(repository=repository, libraries=" ".join(libraries()))
    first = {"cell_type": "code", "id": "launch", "metadata": {}, "source": source}
    content["cells"].insert(0, first)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write the copies."""
    if len(arguments) != 2 or not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments[0]):
        sys.exit("usage: python -m tutorial_lib.launch OWNER/NAME FOLDER")
    folder = Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        (folder / notebook.name).write_text(prepared(notebook, arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
