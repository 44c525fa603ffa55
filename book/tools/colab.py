"""`python book/tools/colab.py OWNER/NAME FOLDER`: the notebooks, ready for Colab and Binder.

Each copy in FOLDER/notebooks begins with a cell that brings the repository, and with it the package
and its records; in Colab also the GPU libraries that it lacks. FOLDER/binder says what Binder is to
install. The workflow that publishes the book puts FOLDER on the branch `launch`, to which the
pages' launch buttons point.
"""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
CELL = """\
# Brings the book's package, and in Colab its GPU libraries, to this machine; about a minute.
import sys
!git clone --quiet --depth 1 https://github.com/{repository} book
sys.path.insert(0, "book")
if "google.colab" in sys.modules:
    %pip install --quiet {libraries}"""


def requirements(*names: str) -> list[str]:
    """The lines of requirements.txt whose package begins with one of the names."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(names)]


def main(arguments: list[str]) -> None:
    """Write the copies and Binder's list."""
    if len(arguments) != 2 or not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments[0]):
        sys.exit("usage: python book/tools/colab.py OWNER/NAME FOLDER")
    folder = Path(arguments[1])
    for name in ("notebooks", "binder"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    libraries = " ".join(f'"{line}"' for line in requirements("cupy", "nvmath"))
    source = CELL.format(repository=arguments[0], libraries=libraries)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell |= {"outputs": [], "execution_count": None}
        notebook.cells.insert(0, nbformat.v4.new_code_cell(source, id="launch"))
        nbformat.write(notebook, folder / "notebooks" / path.name)
    needed = requirements("ipykernel", "matplotlib", "torch")
    (folder / "binder" / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
