"""``python -m tutorial_lib.atlas`` writes book/epilogs.md and book/_static/epilogs/*.svg anew."""

from pathlib import Path

from tutorial_lib import results
from tutorial_lib.atlas import page, picture
from tutorial_lib.reference.epilogs import MatmulEpilog

BOOK = results.RESULTS.parent


def files() -> dict[Path, str]:
    """Every file of the atlas, by its path, as it should be."""
    made = {BOOK / "epilogs.md": page.write()}
    for epilog in MatmulEpilog:
        path = BOOK / "_static" / "epilogs" / f"{page.slug(epilog)}.svg"
        made[path] = picture.draw(epilog, page.find(epilog))
    return made


def main() -> None:
    """Write the files."""
    made = files()
    for path, text in made.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"Written: {len(made)} files in book/")


if __name__ == "__main__":
    main()
