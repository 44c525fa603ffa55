"""The paths through the book, and what its landing page promises, are computed from the book."""

import re

import pytest
import yaml

import paths
from tutorial_lib import results

INDEX, PAGE = (page.read_text() for page in (paths.INDEX, paths.PATHS))


@pytest.mark.parametrize("text", [INDEX, *paths.sections()], ids=lambda text: text.split("\n")[0])
def test_a_stated_time_is_near_the_time_to_read_what_is_linked(text):
    """Small changes of a chapter leave it standing: 2 minutes, or a tenth; of hours, a half."""
    numbers = [
        [(float(m[0].split()[0]), m[1].strip()) for m in paths.STATED.finditer(each)]
        for each in (text, paths.stated(text))
    ]
    for (is_stated, unit), (computed, _) in zip(*numbers, strict=True):
        allowed = 0.5 if unit == "hours" else max(2, 0.1 * computed)
        assert abs(is_stated - computed) <= allowed, "run python book/tools/paths.py"


def test_every_chapter_has_its_time_and_so_has_every_path():
    chapters = re.findall(r"(?m)^\| \d+ \| \[.*\d\smin \|$", INDEX)
    assert len(chapters) == 12
    assert re.findall(r"\(paths\.md#([\w-]+)\) \|.*\d (?:minutes|hours) \|", INDEX) == [
        *("one-evening", "two-days", "everything")
    ]
    for path in ("one-evening", "two-days", "everything"):
        rows = paths.path_of(path).split("\n")[2:]
        assert all(paths.STATED.search(row) for row in rows)
    assert paths.minutes(paths.path_of("everything")) > 12 * 20


def test_the_evening_takes_at_most_90_minutes():
    assert 30 < paths.minutes("](paths.md#one-evening)") <= 90


@pytest.mark.parametrize(
    ("what", "most"), [(r"matmul\(.*\b(epilog|alpha)=", 300), (r"\b(in_a_row|measure)\(", 900)]
)
def test_the_evening_soon_shows_a_fused_result_and_a_timing(what, most):
    words = 0
    for _, count, look in paths.linked(paths.path_of("one-evening")):
        if re.search(what, look):
            break
        words += count
    else:
        pytest.fail("not on the path")
    assert 0 < words <= most


def test_a_section_is_counted_up_to_the_next_heading(tmp_path, monkeypatch):
    page = tmp_path / "a.md"
    page.write_text(
        "# A\n\none [two](x.md) `three`\n\n## B\n\nfour — five\n\n$$\nx\n$$\n\n```py\ny\n```\n"
    )
    monkeypatch.setattr(paths, "BOOK", tmp_path)
    assert paths.minutes("[a](a.md#a)") == pytest.approx(4 / 200)
    assert paths.minutes("[b](a.md#b)") == pytest.approx(3 / 200 + 2 / 3)
    assert paths.stated("[a](a.md#b), 0 minutes") == "[a](a.md#b), 1 minutes"
    with pytest.raises(ValueError, match="no section 'c'"):
        paths.minutes("[c](a.md#c)")


def test_the_landing_page_says_how_much_faster_the_last_rung_is():
    ladder = results.load("ladder")
    plain, fastest = (
        results.milliseconds(ladder, name, 30, "float32")
        for name in ("naive CuPy", "one kernel, 3xTF32")
    )
    assert f"{plain / fastest:.0f} times as fast as the plain one" in " ".join(INDEX.split())


def test_the_landing_page_cites_as_the_citation_file_does():
    citation = yaml.safe_load((paths.BOOK.parent / "CITATION.cff").read_text())
    [author] = citation["authors"]
    cited = dict(re.findall(r"(?m)^  (\w+) +=\s\{+(.*?)\}+,?$", INDEX))
    assert cited == {
        "author": author["name"],
        "title": citation["title"],
        "version": citation["version"],
        "date": str(citation["date-released"]),
        "license": citation["license"],
    }


CHAPTERS = sorted((paths.BOOK.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_says_which_paths_contain_it_and_how_long_it_takes(chapter):
    text = chapter.read_text()
    assert "**Paths:**" in text
    assert "(../book/paths.md#one-evening)" in text
    [said] = re.findall(r"\*\*Reading time\*\* about (\d+) minutes", text)
    assert abs(int(said) - paths.minutes(f"](../notebooks/{chapter.name})")) <= 5
    on_evening = chapter.name in paths.path_of("one-evening")
    assert ("*Short path: " in text) == on_evening
