"""The timer, the records, and the tables made of them."""

import time

import numpy as np
import pytest

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import readme
from tutorial_lib.timing import Times, measure


def test_calls_are_timed_and_those_of_the_warm_up_not_counted():
    calls = []

    def work():
        calls.append(1)
        time.sleep(0.05 if len(calls) == 1 else 0.002)

    times = measure(work, repeats=3, warm_up=1)
    assert len(calls) == 4
    assert times.host.shape == times.wall.shape == (3,)
    assert (times.host >= 0.002).all()
    assert times.host.min() < 0.05
    assert (times.gpu is None) == (backend.name == "cpu")
    assert Times(np.array([1.0, 4.0]), gpu=np.array([3.0, 2.0])).wall.tolist() == [3, 4]


def test_a_summary_has_median_and_quartiles_to_four_digits():
    found = {"median": 2.346, "quartiles": [1.79, 618.5], "samples": [1.235, 2.346, 1235.0]}
    assert results.summary([1.23456, 2.34567, 1234.56]) == found
    assert results.summary([7.0]) == {"median": 7.0, "quartiles": [7.0, 7.0], "samples": [7.0]}


def test_the_figures_of_a_card_are_those_of_the_record_s_machine():
    assert results.card("one NVIDIA H100 80GB HBM3").peak == pytest.approx(66.9e12, rel=1e-3)
    assert results.card("one NVIDIA H200, driver 580").bandwidth == 4.8e12
    with pytest.raises(ValueError, match="no figures of the card in 'AMD EPYC'; there are: H100"):
        results.card("AMD EPYC")


def test_records_are_compact_whole_and_say_where_they_were_made(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    content = {"what": "x", "samples": [1.5, 2e-05, -3], "names": ["a 1", "b"], "empty": []}
    path = results.write("first_look_h200", content, sources=["graphs.py"])
    assert '"samples": [1.5, 2e-05, -3]' in path.read_text()
    loaded = results.ladder()  # the first look stands in until there is one
    assert {key: loaded[key] for key in content} == content
    assert loaded["versions"] == results.versions()
    assert results.versions(["numpy", "no-such-package"]).keys() == {"python", "numpy"}
    assert loaded["machine"] == results.machine()
    assert loaded["sources"] == {"graphs.py": results.digest("graphs.py")}
    assert [p.name for p in tmp_path.iterdir()] == ["first_look_h200.json"]
    assert results.write("ladder", {"what": "whole"}) == tmp_path / "ladder.json"
    assert results.ladder()["what"] == "whole"


CODE = '"""A module."""\n\ndef f(x):\n    """Two\n    lines."""\n    return x > 0, "no"  # one\n'
SAME = [("A module.", "Another."), ("Two\n", "One\n"), ("  # one", ""), ("x >", "x  >")]
SAME += [("one", "2 'or' \"3\"")]
OTHER = [("> 0", "> 1"), ("f(x)", "g(x)"), (">", ">="), ("no", "on"), ("# one\n", "\nf = 1\n")]


@pytest.mark.parametrize(("old", "new"), SAME + OTHER)
def test_a_digest_changes_with_the_code_alone_and_names_what_is_stale(old, new, tmp_path):
    files = [str(tmp_path / name) for name in ("a.py", "b.py")]
    for file in files:
        (tmp_path / file).write_text(CODE)
    measured = {"sources": {file: results.digest(file) for file in files}}
    (tmp_path / "b.py").write_text(CODE.replace(old, new))
    assert old in CODE
    assert results.stale(measured) == files[1:] * ((old, new) in OTHER)


def record(**more):
    contestants = [
        ("naive", "float32", {"30": {"wall": {"median": 1234.5}, "measured": "earlier"}}),
        ("ours", "float32", {"30": {"wall": {"median": 2.345}}, "8192": {"failed": "lost"}}),
        ("ours", "tf32", {"30": {"absent": "not here"}}),
        ("theirs", "tf32", {"30": {"wall": {"median": 12.34}}}),
    ]
    contestants = [dict(zip(("name", "arithmetic", "widths"), c)) for c in contestants]
    head = {"what": "A look", "machine": "one H200", "date": "2030-01-02", "steps": 234}
    rest = {"versions": {"numpy": "2.5"}, "widths": [30, 8192], "contestants": contestants}
    return head | rest | more


def test_the_ladder_s_table_has_a_row_for_each_contestant_and_a_note_for_each_gap():
    assert readme.ladder(record()).split("\n\n") == [
        "| ms per epoch | 30 float32 | 8192 float32 | 30 tf32 |\n"
        "| :-- | --: | --: | --: |\n"
        "| naive | 1,234* | – | – |\n"
        "| ours | **2.35** | failed | – |\n"
        "| theirs | – | – | **12.3** |",
        "A look. Median of the runs, 234 steps an epoch; one H200; numpy 2.5; 2030-01-02.",
        "- ours, 8192 float32, failed: lost",
        "- ours, 30 tf32, absent: not here",
    ]
    assert results.milliseconds(record(), "theirs", 30, "tf32") == 12.34
    assert results.milliseconds(record(), "ours", 8192) is None
    look = readme.ladder(record(not_measured=["a", "b"]))
    assert "With a star: measured earlier, in another run. Not measured yet: a, b." in look


def test_a_table_goes_between_its_markers_and_nowhere_else(monkeypatch, tmp_path):
    monkeypatch.setattr(readme, "README", page := tmp_path / "README.md")
    text = f"# A\n<!-- other -->\nx\n<!-- end -->\n{readme.BEGIN}\nold\n{readme.END}\nrest\n"
    page.write_text(text)
    readme.put(readme.BEGIN, "new")
    assert page.read_text() == text.replace("old", "new")
    with pytest.raises(ValueError, match="not found"):
        readme.put("<!-- missing -->", "new")
