"""The epilog atlas is what its generator makes, and its examples run."""

import re
from xml.etree import ElementTree

import pytest

import atlas
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog

EACH = pytest.mark.parametrize("epilog", MatmulEpilog, ids=lambda e: e.name)


def test_the_committed_files_are_what_the_generator_makes():
    made = atlas.files()
    for path, text in made.items():
        assert path.read_text() == text, f"{path.name}: run python book/tools/atlas.py"
    pictures = set((atlas.BOOK / "_static" / "epilogs").iterdir())
    assert pictures == set(made) - {atlas.BOOK / "epilogs.md"}


@EACH
def test_examples_are_four_short_lines_whose_output_is_the_same_on_every_machine(epilog):
    example, output = (atlas.section(epilog)[key] for key in ("example", "output"))
    assert len(example.splitlines()) == 4
    assert max(map(len, example.splitlines())) <= 89  # what fits the page
    assert f"MatmulEpilog.{epilog.name}" in example
    assert output
    assert not re.search(r"-0\.(?!\d)", output), "0 or -0 would depend on the machine"


@EACH
def test_pictures_are_small_described_and_complete(epilog):
    shown = atlas.section(epilog)
    svg = (atlas.BOOK / "_static" / "epilogs" / f"{shown['slug']}.svg").read_text()
    assert len(svg) < 4096
    root = ElementTree.fromstring(svg)
    assert root.find("{*}title").text == shown["alt"]
    texts = root.findall(".//{*}text")
    boxes = [text.text for text in texts if text.get("font-weight")]
    stages = [stage.__name__ for stage in epilogs.STAGES.get(epilog, ())]
    assert boxes == ["matmul", *stages, f"d {shown['result'].shape}"]
    labels = {text.text for text in texts}
    for name, array in (shown["inputs"] | shown["outputs"]).items():
        assert {name, str(array.shape)} <= labels


def test_facts_are_those_of_the_published_network():
    shown = atlas.section(MatmulEpilog.RELU_AUX_BIAS)
    assert shown["result"].shape == (30, 256)
    assert shown["outputs"]["relu_aux"].shape == epilogs.mask_shape(30, 256)
    assert [stage["name"] for stage in shown["stages"]] == ["bias", "relu_aux", "relu"]
    assert [stage["changes"] for stage in shown["stages"]] == [True, False, True]


@pytest.mark.parametrize(("epilog", "operand"), [("BGRADA", "a"), ("BGRADB", "b")])
def test_facts_tell_which_operand_a_bias_gradient_reads(epilog, operand):
    (stage,) = atlas.section(MatmulEpilog[epilog])["stages"]
    assert set(stage["reads"]) == {operand}
    assert not stage["changes"]


@EACH
def test_orders_and_refusals_are_those_of_the_reference(epilog):
    shown = atlas.section(epilog)
    column_major = epilogs.COLUMN_MAJOR | {MatmulEpilog.BGRADA}
    assert shown["always_column_major"] == (epilog in column_major)
    refusals = " ".join(shown["refusals"])
    assert ("`K` = 1" in refusals) == epilog.name.startswith(("DRELU", "DGELU"))
    assert (refusals == "always (`AssertionError`)") == (epilog == MatmulEpilog.DEFAULT)
