"""The style of the bibliography: entries are labelled by author and year, as the text cites."""

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels.alpha import LabelStyle
from pybtex.style.sorting import BaseSortingStyle
from sphinx.application import Sphinx


class AuthorYearLabels(LabelStyle):
    """Labels such as "Li et al., 2020"; `LabelStyle` adds a, b, … to those that are alike."""

    def format_label(self, entry: Entry) -> str:
        """The last names, and the year."""
        authors = entry.persons["author"]
        first, *others = (" ".join(map(str, a.rich_last_names)) for a in authors)
        et_al = len(others) > 1 or others == ["others"]
        names = f"{first} et al." if et_al else " and ".join([first, *others])
        return f"{names}, {entry.fields['year']}"


class ByLabel(BaseSortingStyle):
    """In the order of the labels; those of one author and year by title."""

    def sorting_key(self, entry: Entry) -> tuple[str, str]:
        """What is compared."""
        label = AuthorYearLabels().format_label(entry)
        return label.casefold(), entry.fields["title"].strip("{}").casefold()


class AuthorYear(Style):
    """Pybtex's plain style with these labels, in their order."""

    default_label_style = AuthorYearLabels
    default_sorting_style = ByLabel


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension."""
    register_plugin("pybtex.style.formatting", "author_year", AuthorYear)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
