"""The epilog atlas is what its generator makes, whole, and its examples run."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from tutorial_lib import results
from tutorial_lib.atlas import facts, page, picture
from tutorial_lib.atlas.__main__ import BOOK, files
from tutorial_lib.atlas.entries import ENTRIES
from tutorial_lib.atlas.words import BITS
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog

EACH = pytest.mark.parametrize("epilog", MatmulEpilog, ids=lambda e: e.name)


def test_the_committed_files_are_what_the_generator_makes():
    made = files()
    for path, text in made.items():
        assert path.read_text() == text, f"{path.name}: run python -m tutorial_lib.atlas"
    assert set((BOOK / "_static" / "epilogs").iterdir()) == set(made) - {BOOK / "epilogs.md"}


@EACH
def test_every_epilog_has_an_entry_and_a_section(epilog):
    entry = ENTRIES[epilog]
    assert entry.formula
    assert entry.use
    text = (BOOK / "epilogs.md").read_text()
    label = f"epilog-{page.slug(epilog)}"
    assert f"({label})=\n## {epilog.name}\n" in text
    assert f"{{ref}}`{epilog.name} <{label}>`" in text
    assert f"\n{entry.formula}\n" in text
    assert entry.example(epilog.name) in text


@EACH
def test_examples_are_four_short_lines_and_run_alone(epilog):
    example = ENTRIES[epilog].example(epilog.name)
    assert len(example.splitlines()) == 4
    assert max(map(len, example.splitlines())) <= 89  # what fits the page
    assert f"MatmulEpilog.{epilog.name}" in example
    output = page.run(example)
    assert output
    assert not re.search(r"-0\.(?!\d)", output), "0 or -0 would depend on the machine"


def test_an_example_runs_in_a_fresh_process():
    example = ENTRIES[MatmulEpilog.RELU_AUX_BIAS].example("RELU_AUX_BIAS")
    fresh = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert fresh.returncode == 0, fresh.stderr
    assert fresh.stdout.rstrip() == page.run(example)


@EACH
def test_pictures_are_small_described_and_complete(epilog):
    found = page.find(epilog)
    svg = picture.draw(epilog, found)
    assert len(svg.encode()) < 4096
    root = ElementTree.fromstring(svg)
    title = root.find("{*}title").text
    assert title == picture.describe(epilog, found)
    assert len(title.split()) > 8
    texts = root.findall(".//{*}text")
    boxes = [x.text for x in texts if x.get("font-weight")]
    stages = [stage.__name__ for stage in epilogs.STAGES.get(epilog, ())]
    assert boxes == ["matmul", *stages, f"d {found.result.shape}"]
    labels = [x.text for x in texts if not x.get("font-weight")]
    for name, array in (found.inputs | found.outputs).items():
        assert name in labels
        assert str(array.shape) in labels


def test_facts_are_those_of_the_published_network():
    found = facts.find(MatmulEpilog.RELU_AUX_BIAS)
    assert found.result.shape == (30, 256)
    assert found.outputs["relu_aux"].shape == epilogs.mask_shape(30, 256)
    assert found.always_column_major
    assert [stage.name for stage in found.stages] == ["bias", "relu_aux", "relu"]
    assert [stage.changes for stage in found.stages] == [True, False, True]


def test_facts_tell_which_operand_a_bias_gradient_reads():
    for epilog, operand in ((MatmulEpilog.BGRADA, "a"), (MatmulEpilog.BGRADB, "b")):
        (stage,) = facts.find(epilog).stages
        assert set(stage.reads) == {operand}
        assert not stage.changes


@EACH
def test_column_major_facts_agree_with_the_reference(epilog):
    expected = epilog in epilogs.COLUMN_MAJOR | {MatmulEpilog.BGRADA}
    assert page.find(epilog).always_column_major == expected


def test_refusals():
    refusals = {epilog: " ".join(page.find(epilog).refusals) for epilog in MatmulEpilog}
    assert "AssertionError" in refusals[MatmulEpilog.DEFAULT]
    at_one = {epilog for epilog, text in refusals.items() if "`K` = 1" in text}
    assert at_one == {e for e in MatmulEpilog if e.name.startswith(("DRELU", "DGELU"))}
    assert not refusals[MatmulEpilog.RELU]


def test_every_bit_has_a_meaning():
    assert np.bitwise_or.reduce(list(map(int, MatmulEpilog))) == sum(BITS)


def test_the_page_cites_the_record_of_conformance_where_there_is_one(monkeypatch):
    count = {"computed": 70, "refused": 2, "disagree": 0, "worst_deviation": 0.0}
    record = {
        "machine": "one GPU",
        "cublaslt": 130100,
        "matmul": {"cases": 1152, "per_epilog": {epilog.name: count for epilog in MatmulEpilog}},
    }
    monkeypatch.setattr(results, "load", lambda name: record)
    text = page.write()
    assert "against cuBLASLt 13.1 on one GPU, in 1,152 cases" in text
    assert text.count("70 cases computed alike, 2 refused alike |") == 16
    count |= {"disagree": 3, "worst_deviation": 2e-6}
    assert "2 refused alike, 3 disagree; largest deviation 2.0e-06 |" in page.write()

    def missing(name):
        raise FileNotFoundError

    monkeypatch.setattr(results, "load", missing)
    assert "not yet against cuBLASLt on a GPU" in page.write()
