"""`python book/tools/promised.py [FOLDER]`: has the built book every promised page, and no other?

Promised are the pages of `_toc.yml` and one for each package of `tutorial_lib`. FOLDER is
`_build/html` unless given. The publishing workflow asks before it uploads anything.
"""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def promised(root: Path) -> set[str]:
    """The pages that a checkout promises, without suffixes."""
    contents = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in contents["parts"] for chapter in part["chapters"]]
    packages = [init.parent.relative_to(root) for init in root.glob("tutorial_lib/**/__init__.py")]
    api = {f"book/api/{'.'.join(path.parts)}" for path in packages if "tests" not in path.parts}
    return api | {contents["root"]} | {page["file"] for page in chapters if "file" in page}


def main(arguments: list[str]) -> None:
    """Say how many pages there are, or exit with those that are missing or too many."""
    folder = Path(arguments[0]) if arguments else ROOT / "_build" / "html"
    built = {
        page.relative_to(folder).with_suffix("").as_posix()
        for page in (*folder.glob("book/**/*.html"), *folder.glob("notebooks/**/*.html"))
    }
    missing, unexpected = promised(ROOT) - built, built - promised(ROOT)
    if missing or unexpected:
        sys.exit(f"missing: {sorted(missing)}; promised by nothing: {sorted(unexpected)}")
    print(f"all {len(built)} pages are there")


if __name__ == "__main__":
    main(sys.argv[1:])
