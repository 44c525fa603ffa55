"""The library's sources in a notebook: whole, in parts, and clear about what there is not."""

import pytest

from tutorial_lib import show
from tutorial_lib.show import KERNELS, show_kernel


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.cu*")), ids=lambda p: p.stem)
def test_a_whole_kernel_source(path):
    source = show_kernel(path.stem)
    assert f"{source!r}\n" == path.read_text()
    assert source._repr_markdown_() == f"```cuda\n{source!r}\n```"


@pytest.mark.parametrize(
    ("file", "name", "first", "last"),
    [
        ("epoch", "// A whole", "// A whole", "// launches.py gives"),
        ("epoch", "Shared", "struct Shared {", "static_assert(sizeof(Shared) =="),
        ("epoch", "Phase", "enum class Phase {", "};"),
        ("epoch", "hidden_partial", "// 1.", "}"),
        ("epoch", "update_small", "// 5.", "}"),
        ("epoch", "epoch", 'extern "C"', "}"),  # with blank lines, and its name on a second line
        ("output_layer", "fold", "// Each lane", "}"),  # a template
        ("common", "digit", "// The label", "__device__ int digit("),  # in one line
        ("loss_and_gradient", "loss_and_gradient", 'extern "C"', "}"),
    ],
)
def test_a_function_or_struct_by_its_name(file, name, first, last):
    code = show_kernel(file, name).code
    assert code.startswith(first)
    assert code.splitlines()[-1].startswith(last)
    assert code.count("{") == code.count("}")
    assert code in (KERNELS / f"{file}.cu{'h' * (file == 'common')}").read_text()
    assert sum(line.startswith("}") for line in code.splitlines()) <= 1


def test_what_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"no kernel source 'wishes'.*'epoch'"):
        show_kernel("wishes")
    with pytest.raises(ValueError, match="epoch has no function or struct 'sums'"):
        show_kernel("epoch", "sums")


def test_python_is_shown_dedented_as_python_and_what_has_no_source_is_refused():
    assert show(show_kernel)._repr_markdown_().startswith("```python\ndef show_kernel(")
    assert show(type(show(show)).__repr__).code.startswith("def __repr__")
    with pytest.raises(TypeError, match="needs a class, function or method with a source file"):
        show(eval("lambda: 0"))
