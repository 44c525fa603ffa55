"""What those who join read: how to contribute, what changed, how to report; and the status page."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import status_page

ROOT = Path(__file__).parents[2]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_version_and_its_date_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    released = re.findall(r"^## \[(\d.*)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == (version, str(citation["date-released"]))
    assert citation["version"] == version


def test_what_contributing_names_is_there():
    named = re.findall(r"`([\w./]+\.(?:py|md|toml))`", CONTRIBUTING)
    folders = ("", "book/tools", "tutorial_lib/tests")
    assert len(named) > 15
    for name in named:
        assert any((ROOT / folder / name).is_file() for folder in folders), name
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"(?:`|^)make (\w+)", CONTRIBUTING, re.M)) <= set(targets)
    for path in re.findall(r"notebooks/\d\w+\.ipynb|\.ci/run", CONTRIBUTING):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_accepts(path):
    """By GitHub's syntax for issue forms."""
    form = yaml.safe_load(path.read_text())
    assert form.keys() <= {"name", "description", "labels", "body"}
    assert form["name"]
    assert form["description"]
    ids = Counter(field["id"] for field in form["body"])
    assert set(ids.values()) == {1}
    for field in form["body"]:
        options = {"checkboxes": {"options"}}.get(field["type"], {"placeholder", "render"})
        assert field["type"] in ("input", "textarea", "checkboxes")
        assert field["attributes"].keys() <= {"label", "description"} | options
        assert field["attributes"]["label"]
        assert field.keys() <= {"type", "id", "attributes", "validations"}
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_a_failure_is_reported_with_what_the_doctor_says():
    assert len(FORMS) == 3
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/failure.yml").read_text())
    (field,) = [field for field in form["body"] if field["id"] == "doctor"]
    assert field["validations"]["required"]
    assert "`.venv/bin/python -m tutorial_lib doctor`" in field["attributes"]["description"]


TIME = {"seconds": 1234.5, "date": "2030-01-02", "machine": "one H100, driver 1; a CPU, 16 cores"}
CELLS = (
    {"cell_type": "markdown", "source": ["# One"], "metadata": {}},
    {"cell_type": "code", "source": ["1"], "metadata": {}},
    {"cell_type": "code", "source": ["2"], "metadata": {"tags": ["nbval-ignore-output"]}},
    {"cell_type": "code", "source": ["3"], "metadata": {"tags": ["nbval-skip"]}},
    {"cell_type": "code", "source": [], "metadata": {}},
)


def test_the_status_of_a_notebook_is_counted_or_measured_never_made_up(tmp_path, monkeypatch):
    for name in ("01_one", "12_two"):
        text = status_page.json.dumps({"cells": CELLS if name == "01_one" else CELLS[:2]})
        (tmp_path / f"{name}.ipynb").write_text(text)
    monkeypatch.setattr(status_page, "NOTEBOOKS", tmp_path)
    rows = status_page.notebooks({"notebooks": {"01_one": TIME}}).splitlines()[2:]
    assert rows == [
        "| 1. {doc}`../notebooks/01_one` | one H100, 2030-01-02 | 1,234.5 | 3 | 1 | 2 |",
        "| 12. {doc}`../notebooks/12_two` | not measured yet | – | 1 | 1 | 0 |",
    ]
    assert status_page.notebooks({}).count("not measured yet") == 2


def test_the_status_page_shows_the_versions_of_the_pages_and_of_the_notebooks(monkeypatch):
    monkeypatch.setattr(status_page.results, "versions", lambda names: {"numpy": "2.5"})
    assert status_page.versions({}).endswith("\n| numpy | 2.5 | – |")
    table = status_page.versions({"versions": {"numpy": "2.4", "cupy": "14"}})
    assert table.endswith("\n| numpy | 2.5 | 2.4 |\n| cupy | – | 14 |")


def test_the_tables_go_into_the_status_page_alone():
    text = (ROOT / "book" / "status.md").read_text()
    for page, filled in (("book/status", True), ("book/index", False)):
        source = [text]
        status_page.fill_in(None, page, source)
        assert ("| --: |" in source[0]) == filled
        assert ("<!--" in source[0]) != filled
