"""The CUDA sources in a notebook: whole, in parts, and clear about what there is not."""

import sys

import pytest

from tutorial_lib import show
from tutorial_lib.show import KERNELS, show_kernel

NUMBERED = [f"// {phase}." for phase in range(1, 6)]


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.cu*")), ids=lambda p: p.stem)
def test_a_whole_kernel_source(path):
    source = show_kernel(path.stem)
    assert f"{source!r}\n" == path.read_text()
    assert source._repr_markdown_() == f"```cuda\n{source!r}\n```"


@pytest.mark.parametrize("part", NUMBERED)
def test_a_phase_is_one_part_dedented(part):
    code = show_kernel("epoch", part).code
    assert code.startswith(part)
    assert sum(line.startswith(tuple(NUMBERED)) for line in code.splitlines()) == 1
    assert code.count("{") == code.count("}")
    assert code == code.strip()


def test_phases_follow_each_other_without_a_gap():
    whole = (KERNELS / "epoch.cu").read_text()
    parts = [*NUMBERED[:4], "// The small parameters", NUMBERED[4]]
    lines = [show_kernel("epoch", part).code.splitlines() for part in parts]
    indented = [[" " * 8 + line if line else line for line in part] for part in lines]
    assert "\n\n".join("\n".join(part) for part in indented) in whole


def test_functions_and_structures_end_with_their_brace():
    assert show_kernel("epoch", "struct Shared").code.endswith("\n};")
    for kernel, part in (("epoch", "// Waits until all"), ("ptx", "// Waits for all")):
        code = show_kernel(kernel, part).code
        assert code.endswith("\n}")
        assert code.count("__device__") == 1


def test_what_is_not_there_is_answered_with_what_is():
    with pytest.raises(FileNotFoundError, match=r"no kernel source 'wishes'.*'epoch'"):
        show_kernel("wishes")
    with pytest.raises(ValueError, match=r"begins with '// 9\.'; there are:\n(.*\n)*  // 1\."):
        show_kernel("epoch", "// 9.")


def test_python_is_still_shown_as_python():
    assert show(show_kernel)._repr_markdown_().startswith("```python\ndef show_kernel(")


SMALL = """\
#define N 3
// Pairs,
// of two.
struct Pair {
    int a;

    int b;
};

// The function.
__device__ int f(int x) {
    // First,
    // with a loop.
    int y = x;
#pragma unroll
    for (;;) {

        y += N;
    }
    if (y) {
        // Inside.
        y = 1;
    }

    // Last.
    return y;
}"""


@pytest.mark.parametrize(
    ("part", "lines"),
    [
        ("#define", slice(0, 8)),
        ("// Pairs", slice(1, 8)),  # over a blank line in its block, to one after it
        ("int b", slice(6, 7)),  # the block ends
        ("// The function.", slice(9, None)),
        ("// First", slice(11, 23)),  # a line of the preprocessor ends no block
        ("y += N", slice(17, 18)),
        ("// Inside.", slice(20, 22)),
        ("// Last.", slice(24, 26)),
    ],
)
def test_a_part_of_a_small_source(part, lines, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["tutorial_lib.show"], "KERNELS", tmp_path)
    (tmp_path / "small.cu").write_text(f"{SMALL}\n")
    shown = SMALL.splitlines()[lines]
    indent = len(shown[0]) - len(shown[0].lstrip())
    expected = [line if line.startswith("#") else line[indent:] for line in shown]
    assert show_kernel("small", part).code == "\n".join(expected)


def test_the_parts_that_there_are(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["tutorial_lib.show"], "KERNELS", tmp_path)
    (tmp_path / "small.cu").write_text(f"{SMALL}\n\n")
    with pytest.raises(ValueError, match=r"begins with '// of two'") as error:
        show_kernel("small", "// of two")
    _, *parts = str(error.value).splitlines()
    assert [part.strip() for part in parts] == [
        "#define N 3",
        "// Pairs,",
        "int b;",
        "// The function.",
        "// First,",
        "y += N;",
        "// Inside.",
        "// Last.",
    ]
