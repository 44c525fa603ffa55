"""`python book/tools/colab.py OWNER/NAME COMMIT FOLDER`: the notebooks, ready for Colab and Binder.

Each copy in FOLDER/notebooks begins with a cell that brings the repository at COMMIT, and with it
the package and its records; in Colab also the GPU libraries that it lacks. FOLDER/binder says what
Binder is to install. The workflow that publishes the book puts FOLDER on the branch `launch`, to
which the pages' launch buttons point.
"""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
BINDER = ("ipykernel", "matplotlib", "ml_dtypes", "torch")
CELL = """\
# Run this cell first. It brings the book's package, as it was when this notebook was published.
# That takes seconds. In Colab it also installs the GPU libraries: 3 GB, about three minutes.
import os, sys
!git init --quiet book
!git -C book fetch --quiet --depth 1 https://github.com/{repository} {commit}
!git -C book checkout --quiet {commit}
sys.path.insert(0, os.path.abspath("book"))
if "google.colab" in sys.modules:
    %pip install --quiet {libraries}"""


def requirements(*names: str) -> list[str]:
    """The lines of requirements.txt whose package begins with one of the names."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(names)]


def main(arguments: list[str]) -> None:
    """Write the copies and Binder's list."""
    pattern = r"[\w.-]+/[\w.-]+ [0-9a-f]{40}"
    if len(arguments) != 3 or not re.fullmatch(pattern, " ".join(arguments[:2])):
        sys.exit("usage: python book/tools/colab.py OWNER/NAME COMMIT FOLDER")
    repository, commit, folder = *arguments[:2], Path(arguments[2])
    for name in ("notebooks", "binder"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    libraries = " ".join(f'"{line}"' for line in requirements("cupy", "nvmath"))
    source = CELL.format(repository=repository, commit=commit, libraries=libraries)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell |= {"outputs": [], "execution_count": None}
        notebook.cells.insert(0, nbformat.v4.new_code_cell(source, id="launch"))
        nbformat.write(notebook, folder / "notebooks" / path.name)
    needed = {"requirements.txt": requirements(*BINDER), "runtime.txt": ["python-3.12"]}
    for name, lines in needed.items():
        (folder / "binder" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
