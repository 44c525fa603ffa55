"""The epilog atlas is what its generator makes, and its examples run."""

import re
from collections import Counter
from xml.etree import ElementTree

import pytest

import atlas
from tutorial_lib import results
from tutorial_lib.benchmarks import profiler
from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog

PAGE = (atlas.BOOK / "epilogs.md").read_text()
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


def test_facts_are_of_the_published_network_and_tell_which_operand_a_bias_gradient_reads():
    shown = atlas.section(MatmulEpilog.RELU_AUX_BIAS)
    assert shown["result"].shape == (30, 256)
    assert shown["outputs"]["relu_aux"].shape == epilogs.mask_shape(30, 256)
    assert [stage["name"] for stage in shown["stages"]] == ["bias", "relu_aux", "relu"]
    assert [stage["changes"] for stage in shown["stages"]] == [True, False, True]
    for epilog, operand in (("BGRADA", "a"), ("BGRADB", "b")):
        (stage,) = atlas.section(MatmulEpilog[epilog])["stages"]
        assert (set(stage["reads"]), stage["changes"]) == ({operand}, False)


@EACH
def test_orders_and_refusals_are_those_of_the_reference(epilog):
    shown = atlas.section(epilog)
    column_major = epilogs.COLUMN_MAJOR | {MatmulEpilog.BGRADA}
    assert shown["always_column_major"] == (epilog in column_major)
    refusals = " ".join(shown["refusals"])
    assert ("`K` = 1" in refusals) == epilog.name.startswith(("DRELU", "DGELU"))
    assert (refusals == "always (`AssertionError`)") == (epilog == MatmulEpilog.DEFAULT)


@EACH
def test_kernels_are_those_of_the_record(epilog):
    name = None if epilog == MatmulEpilog.DEFAULT else epilog.name
    (row,) = re.findall(rf"^\| {{ref}}`{epilog.name} <.*$", PAGE, re.M)
    entry = PAGE.partition(f"\n## {epilog.name}\n")[2].partition("\n## ")[0]
    shown = dict(re.findall(r"\| kernels on an H100, (.*?) \| (.*) \|", entry))
    found = Counter()
    for call in results.load("kernels")["calls"]:
        size = " × ".join(f"{call[extent]:,}" for extent in "mnk")
        if call["epilog"] == name and size in shown:
            roles = [profiler.role(kernel["name"]) for kernel in call["kernels"]]
            roles = [role for role in roles if role != "memset"]
            label = call["arithmetic"].replace("tf32", "TF32")
            groups = shown[size].split("; ")
            (group,) = [group for group in groups if label in re.findall(r"\w+", group)]
            assert group.endswith(f": {' + '.join(roles)}")
            found[size] += 1
            if size == "8,192 × 256 × 784":
                column = 4 + ["float32", "tf32", "float16", "bfloat16"].index(call["arithmetic"])
                assert row.split("|")[column].strip() == str(len(roles))
    assert len(found) >= 3
    assert found == dict.fromkeys(shown, 4)  # each arithmetic once
