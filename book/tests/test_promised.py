"""What the publishing workflow asks before it uploads the pages: is every promised one there?"""

import pytest

import promised
from built import BOOK, need_book


@pytest.fixture
def site(tmp_path):
    for page in promised.promised(promised.ROOT):
        path = tmp_path / f"{page}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    "page", ["book/index", "book/api/tutorial_lib.networks", "notebooks/12_several_gpus"]
)
def test_a_missing_page_is_an_error_that_names_it(site, page, capsys):
    promised.main([str(site)])
    assert "pages are there" in capsys.readouterr().out
    (site / f"{page}.html").unlink()
    with pytest.raises(SystemExit, match=rf"missing: \['{page}'\]; promised by nothing: \[\]"):
        promised.main([str(site)])


def test_a_page_that_nothing_promises_is_an_error_that_names_it(site):
    (site / "notebooks" / "old.html").touch()
    with pytest.raises(SystemExit, match=r"nothing: \['notebooks/old'\]"):
        promised.main([str(site)])


def test_the_built_book_has_all_its_pages():
    need_book()
    promised.main([str(BOOK)])
