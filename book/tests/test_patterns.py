"""The page of patterns: its code runs, top to bottom, and its speeds are those of the record."""

import re

import pytest

from tutorial_lib import results

PAGE = (results.RESULTS.parent / "patterns.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
SECTIONS = re.split(r"^## ", PAGE, flags=re.M)[1:]


def test_the_code_runs_from_top_to_bottom():
    namespace = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"patterns.md, code block {number}", "exec"), namespace)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s.partition("\n")[0])
def test_each_pattern_says_when_what_it_costs_and_what_it_prevents(section):
    assert section.count("```python") == 1
    for part in ("**When.**", "**Cost.**", "**Without it**", "**Derived in**"):
        assert section.count(part) == 1
    assert "{doc}`../notebooks/" in section.partition("**Derived in**")[2]


def test_every_speed_is_in_the_record():
    epochs = results.load("published_h200")["epoch_milliseconds"]
    del epochs["statistic"]
    recorded = {str(ms) for by_width in epochs.values() for ms in by_width.values()}
    for each in results.load("first_look_h200")["contestants"]:
        if each["name"] in ("update in the matmul", "captured epoch"):
            recorded.add(f"{each['widths']['30']['wall']['median']:.1f}")
    stated = re.findall(r"([\d.,]+)\s+ms\b", PAGE)
    assert stated
    assert set(stated) <= recorded
    fused, naive = (epochs[f"images on the GPU, {n} network"]["30"] for n in ("fused", "naive"))
    (overhead,) = re.findall(r"about (\d+) microseconds", PAGE)
    assert overhead == str(round(1000 * (fused - naive) / 234 / 5))
