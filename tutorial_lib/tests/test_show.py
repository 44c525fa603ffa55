"""The library's sources in a notebook: parts of kernels, and Python."""

import pytest

from tutorial_lib import show
from tutorial_lib.show import KERNELS, show_kernel


@pytest.mark.parametrize(
    ("file", "name", "first", "last"),
    [
        ("epoch", "// A whole", "// A whole", "// launches.py gives"),
        ("epoch", "Shared", "// Rows of", "static_assert(sizeof(Shared) =="),
        ("epoch", "epoch", 'extern "C"', "}"),  # with blank lines, and its name on a second line
        ("common", "fold", "// Each lane", "}"),  # a template
        ("common", "digit", "// The label", "__device__ int digit("),  # in one line
        ("loss_and_gradient", "loss_and_gradient", 'extern "C"', "}"),
        ("in_triton", "drelu_bgrad_kernel", "@triton.jit", "    tl.store(bias_gradient"),
    ],
)
def test_a_function_or_struct_of_a_kernel_is_shown_by_its_name(file, name, first, last):
    source = show_kernel(file, name)
    code = source.code
    assert code.startswith(first)
    assert code.splitlines()[-1].startswith(last)
    assert code.count("{") == code.count("}")
    assert sum(code in path.read_text() for path in KERNELS.iterdir() if path.is_file()) == 1
    assert sum(line.startswith("}") for line in code.splitlines()) <= 1
    language = "python" if file == "in_triton" else "cuda"
    assert source._repr_markdown_() == f"```{language}\n{source!r}\n```"


@pytest.mark.parametrize(("file", "name"), [("wishes", "epoch"), ("epoch", "sums")])
def test_what_is_not_there_is_an_error(file, name):
    with pytest.raises(ValueError, match=f"no kernel source '{file}' has a .* '{name}'"):
        show_kernel(file, name)


def test_python_is_shown_dedented_as_python_and_what_has_no_source_is_refused():
    assert show(show_kernel)._repr_markdown_().startswith("```python\ndef show_kernel(")
    assert show(type(show(show)).__repr__).code.startswith("def __repr__")
    with pytest.raises(TypeError, match="needs classes, functions or methods with a source file"):
        show(eval("lambda: 0"))
