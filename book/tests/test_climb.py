"""The figure of the ladder is what its generator makes of the record."""

import re
import struct
from xml.etree import ElementTree

import climb
from tutorial_lib import results


def wall(*quartiles):
    low, median, high = quartiles
    return {"wall": {"median": median, "quartiles": [low, high]}}


ROWS = [  # name, kind, arithmetic, and what was measured by width
    ("ours, one CUDA graph", "rung", "float32", {"30": wall(2, 3, 4), "512": wall(8, 9, 9)}),
    ("loop", "peer", "float32", {"30": wall(590, 600, 650), "512": wall(99.6, 99.7, 99.9)}),
    ("published loader", "rung", "float32", {"30": wall(9e3, 9e3, 9e3)}),
    ("ours", "rung", "tf32", {"30": wall(1, 1, 1), "512": {"failed": "no"}}),
    ("theirs", "peer", "tf32", {"30": wall(5, 5, 5), "512": wall(6.25, 6.25, 6.25)}),
]
KEYS = "name", "kind", "arithmetic", "widths"
HEAD = {"machine": "one H100, driver 1; a CPU", "widths": [30]}
RECORD = HEAD | {"contestants": [dict(zip(KEYS, row)) for row in ROWS]}


def test_a_panel_has_a_row_for_each_contestant_of_its_arithmetic_the_slowest_first():
    facts = climb.facts(RECORD)
    names = {name: [row["name"] for row in rows] for name, rows in facts["panels"].items()}
    assert names == {"float32": ["loop", "ours in a graph"], "TF32": ["theirs", "ours"]}
    assert facts["panels"]["float32"][1]["times"] == {30: (3, 2, 4), 512: (9, 8, 9)}
    assert [facts["place"](ms) for ms in (1, 600**0.5, 600)] == [14, 210, 406]
    assert (facts["machine"], facts["stale"]) == ("H100", False)
    said = "TF32: the fastest rungs are ours (1 ms at 30 units); the fastest peers theirs (5 ms at"
    assert said in facts["alt"]


def test_a_time_is_drawn_where_it_lies_and_written_behind_its_name():
    root = ElementTree.fromstring(climb.picture(RECORD))
    texts = ["".join(text.itertext()) for text in root.findall("{*}text")]
    assert texts[texts.index("ours in a graph") + 1] == "3.00 · 9.00 · –"
    assert texts[texts.index("loop") + 1] == "600 · 99.7 · –"
    assert "† The code has changed since." not in texts
    circles = [(c.get("cx"), c.get("fill")) for c in root.findall("{*}circle")[3:]]
    place = climb.facts(RECORD)["place"]
    expected = [(99.7, "#b8551f"), (600, "#b8551f"), (9, "#2a6f97"), (3, "#2a6f97")]
    expected += [(6.25, "#b8551f"), (5, "#b8551f"), (1, "#2a6f97")]
    assert circles == [(str(place(ms)), color) for ms, color in expected]


def test_a_row_whose_code_has_changed_is_marked():
    changed = RECORD["contestants"][0] | {"sources": {"graphs.py": "0"}}
    text = climb.picture(RECORD | {"contestants": [changed, *RECORD["contestants"][1:]]})
    assert ">ours in a graph †<" in text
    assert "† The code has changed since." in text


def test_the_landing_page_s_bars_are_as_long_as_their_times():
    record = results.load("ladder")
    root = ElementTree.fromstring(climb.few(record))
    assert climb.few(record) == climb.RUNGS.read_text(), "run python book/tools/climb.py"
    texts = [text.text for text in root.findall("{*}text")]
    shown = dict(zip(texts[::2], [float(text.removesuffix(" ms")) for text in texts[1::2]]))
    assert list(shown)[-2:] == ["JAX, the fastest peer", "one kernel for the epoch"]
    lengths = [float(bar.get("d").split("H")[1]) for bar in root.findall("{*}path")[::2]]
    plain = lengths[0]
    colors = [bar.get("stroke") for bar in root.findall("{*}path")[::2]]
    blue, orange = "#2a6f97", "#b8551f"  # of rungs and peers, as in the large figure
    assert colors == [orange, orange, blue, blue, blue, orange, blue]
    for length, ms in zip(lengths, shown.values(), strict=True):
        assert abs(length / plain - ms / shown["plain, in CuPy"]) < 0.01
    assert shown["fused, like NVIDIA's code"] > shown["plain, in CuPy"]  # as the page says
    medians = {
        c["name"]: c["widths"]["30"]["wall"]["median"]
        for c in record["contestants"]
        if c["arithmetic"] == "float32" and "wall" in c["widths"].get("30", {})
    }
    peers = [ms for name, ms in medians.items() if re.match("PyTorch|torch|JAX", name)]
    assert shown["JAX, the fastest peer"] == round(min(peers), 2)
    for name, label in climb.FEW.items():
        assert shown[label] == float(f"{medians[name]:.3g}")


def test_the_picture_for_links_is_small_and_has_the_size_that_sites_show():
    data = climb.PREVIEW.read_bytes()
    assert len(data) < 100_000
    assert (data[1:4], struct.unpack(">II", data[16:24])) == (b"PNG", (1200, 630))


def test_the_committed_picture_is_what_the_generator_makes_and_is_described_on_each_page():
    record, text = results.load("ladder"), climb.PICTURE.read_text()
    assert climb.picture(record) == text, "run python book/tools/climb.py"
    assert len(text) < 25_000
    alt = ElementTree.fromstring(text).find("{*}title").text
    for page in climb.PAGES:
        assert re.search(climb.DESCRIPTION, page.read_text())[0] == alt
