"""The timer, the records, and the tables made of them."""

import time
from pathlib import Path

import numpy as np
import pytest

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import ladder, readme
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
    path = results.write("small", content, sources=["graphs.py"])
    assert '"samples": [1.5, 2e-05, -3]' in path.read_text()
    loaded = results.load("small")
    assert {key: loaded[key] for key in content} == content
    assert loaded["versions"] == results.versions()
    assert results.versions(["numpy", "no-such-package"]).keys() == {"python", "numpy"}
    assert loaded["machine"] == results.machine()
    assert loaded["sources"] == {"graphs.py": results.digest("graphs.py")}
    assert [p.name for p in tmp_path.iterdir()] == ["small.json"]


CODE = '"""A module."""\n\ndef f(x):\n    """Two\n    lines."""\n    return x > 0, "no"  # one\n'
SAME = [("A module.", "Another."), ("Two\n", "One\n"), ("  # one", ""), ("x >", "x  >")]
SAME += [("one", "2 'or' \"3\"")]
OTHER = [("> 0", "> 1"), ("f(x)", "g(x)"), (">", ">="), ("no", "on"), ("# one\n", "\nf = 1\n")]


KERNEL = "/* A\n * kernel */\n#define N 4\nint f() {  // one\n    return N; }\n"
CASES = [("py", CODE, *pair, pair in OTHER) for pair in SAME + OTHER]
CASES += [
    ("cuh", KERNEL, *pair, False) for pair in (("A\n", "B\n"), ("one", "two"), ("  //", " //"))
]
CASES += [("cu", KERNEL, *pair, True) for pair in (("N 4", "N 5"), ("return N", "return 2"))]


@pytest.mark.parametrize(("kind", "code", "old", "new", "other"), CASES)
def test_a_digest_changes_with_the_code_alone_and_names_what_is_stale(
    kind, code, old, new, other, tmp_path
):
    files = [str(tmp_path / f"{name}.{kind}") for name in "ab"]
    for file in files:
        Path(file).write_text(code)
    measured = {"sources": {file: results.digest(file) for file in files}}
    Path(files[1]).write_text(code.replace(old, new))
    assert old in code
    assert results.stale(measured) == files[1:] * other


def times(median, low=None, high=None, **more):
    quartiles = [low or median, high or median]
    return {"wall": {"median": median, "quartiles": quartiles}} | more


def record(**more):
    states = [{"state": {"MHz": mhz, "W": 99.6, "C": 40}} for mhz in (1980, 1755)]
    was = {"sources": {"graphs.py": "0"}}
    contestants = [
        ("naive", "float32", {"30": times(1234.5, 1220, 1240, **states[0])}, {}),
        ("ours", "float32", {"30": times(2.345, 2.32, 2.37), "8192": {"failed": "lost"}}, was),
        ("ours", "tf32", {"30": {"absent": "not here"}}, {}),
        ("theirs", "tf32", {"30": times(12.34, **states[1])}, {}),
    ]
    keys = "name", "arithmetic", "widths"
    contestants = [dict(zip(keys, c)) | c[-1] for c in contestants]
    head = {"what": "A look", "machine": "one H200", "date": "2030-01-02", "steps": 234}
    rest = {"versions": {"numpy": "2.5"}, "widths": [30, 8192], "contestants": contestants}
    return head | rest | more


def test_the_ladder_s_tables_have_a_row_for_each_contestant_and_a_note_for_each_gap():
    assert readme.ladder(record()).split("\n\n") == [
        "| ms, float32 | 30 units | 8,192 units |\n"
        "| :-- | --: | --: |\n"
        "| naive | 1,234 | – |\n"
        "| ours † | **2.35** (2.32–2.37) | failed |",
        "| ms, tf32 | 30 units |\n| :-- | --: |\n| ours | – |\n| theirs | **12.3** |",
        "A look; 234 steps an epoch; medians, and in parentheses the quartiles where they differ "
        "by more than 2%; one H200 at 1,755 to 1,980 MHz, 100 to 100 W, 40 to 40 °C; "
        "numpy 2.5; 2030-01-02.",
        "† Measured with other code: since then, graphs.py changed.",
        "- ours, 8192 float32, failed: lost\n- ours, 30 tf32, absent: not here",
    ]
    some = readme.times(record(), "float32", ["naive"])
    assert some == "| ms, float32 | 30 units |\n| :-- | --: |\n| naive | **1,234** |"
    assert results.milliseconds(record(), "theirs", 30, "tf32") == 12.34
    assert results.milliseconds(record(), "ours", 8192) is None


def test_a_table_has_its_numbers_flush_right_and_in_one_style():
    rows = [["RELU", 8192, "1.5 (1–2) µs", "H100 1024, 2030-01-02"]]
    rows += [["BIAS", "30 / 2000", "failed", "0.1234"]]
    lines = results.table(["epilog", "of 4096", "time", "text"], rows).split("\n")
    assert lines[0] == "| epilog | of 4,096 | time | text |"
    assert lines[1] == "| :-- | --: | --: | --: |"
    assert lines[2] == "| RELU | 8,192 | 1.5 (1–2) µs | H100 1,024, 2030-01-02 |"
    assert lines[3] == "| BIAS | 30 / 2,000 | failed | 0.1234 |"


FLOORS = [("ours", "float32", 8192, 23.42), ("ours, 3xTF32", "float32", 8192, 9.503)]
FLOORS += [("ours", "tf32", 8192, 3.168), ("ours", "bfloat16", 8192, 1.584)]
FLOORS += [("ours", "tf32", 30, 0.05606), ("ours", "float16", 30, 0.02803)]


@pytest.mark.parametrize(("name", "arithmetic", "width", "milliseconds"), FLOORS)
def test_the_floor_is_arithmetic_in_wide_networks_and_memory_in_narrow_ones(
    name, arithmetic, width, milliseconds
):
    on = {"machine": "one NVIDIA H100 80GB HBM3", "steps": 234}
    found = ladder.floor(on, {"name": name, "arithmetic": arithmetic}, width)
    assert found == pytest.approx(milliseconds, rel=1e-3)


def test_what_changed_since_is_told_of_a_record_and_of_each_contestant():
    now = {"sources": {"graphs.py": results.digest("graphs.py"), "gone.py": "1"}}
    measured = {"sources": {"timing.py": "0"}, "contestants": [now, {"name": "without"}]}
    assert results.stale(measured) == ["timing.py", "gone.py"]
    assert [results.stale(one) for one in measured["contestants"]] == [["gone.py"], []]


def test_a_table_goes_between_its_markers_and_nowhere_else(monkeypatch, tmp_path):
    monkeypatch.setattr(readme, "README", page := tmp_path / "README.md")
    text = f"# A\n<!-- other -->\nx\n<!-- end -->\n{readme.BEGIN}\nold\n{readme.END}\nrest\n"
    page.write_text(text)
    readme.put(readme.BEGIN, "new")
    assert page.read_text() == text.replace("old", "new")
    with pytest.raises(ValueError, match="not found"):
        readme.put("<!-- missing -->", "new")
