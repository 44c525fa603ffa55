"""The reference against nvmath's own planning code, which is Python and runs without a GPU.

What is left to a GPU is what cuBLASLt computes; shapes, strides and refusals are decided here.
"""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.matmul import Matmul, MatmulComputeType, MatmulEpilog, cuBLASLtError
from tutorial_lib.tests.matrices import matrix, problems

nvmath = pytest.importorskip("nvmath.linalg.advanced")
from nvmath.linalg._internal import epilog_protocol  # noqa: E402
from nvmath.linalg.advanced import matmulmod  # noqa: E402

LOG = logging.getLogger("nvmath planning")


@pytest.fixture(autouse=True, scope="module")
def _cublaslt_12_8():
    """Asking cuBLASLt for its version needs a driver; this is the version in requirements.txt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epilog_protocol.cublaslt, "get_version", lambda: 120804)
        yield


class Tensor:
    """The little that nvmath's epilog handlers ask of a tensor."""

    def __init__(self, x):
        self.shape, self.dtype = x.shape, str(x.dtype)
        self.strides = tuple(stride // x.itemsize for stride in x.strides)


def layout(x):
    tensor = Tensor(x)
    return matmulmod.MatrixLayout(tensor.shape, tensor.strides)


def handlers(kind, epilog, traits, dtype):
    table = getattr(epilog_protocol, f"EPILOG_{kind}_HANDLERS_MAP")
    epilog = nvmath.MatmulEpilog(int(epilog))
    return [make(LOG, traits, epilog, dtype, dtype, None) for make in table[epilog]]


def nvmath_plan(a, b, c, epilog, inputs):
    """What nvmath decides before cuBLASLt is asked: the layouts of result and outputs."""
    traits = matmulmod.get_mm_traits(
        layout(a), layout(b), None if c is None else layout(c), False, LOG
    )
    dtype, order, outputs = str(a.dtype), None, {}
    if epilog is not None:
        for handler in handlers("INPUT", epilog, traits, dtype):
            handler.validate(Tensor(inputs[handler.name]))
            order = handler.order
        for handler in handlers("OUTPUT", epilog, traits, dtype):
            shape, strides, output_dtype = handler.attributes()
            outputs[handler.name] = tuple(shape), tuple(strides), output_dtype
            order = handler.order if order is None else order
    result = matmulmod.get_result_traits(traits, order, LOG)
    return tuple(result.result_shape), tuple(result.result_strides), outputs


def test_the_enums_agree():
    assert {e.name: int(e) for e in MatmulEpilog} == {e.name: int(e) for e in nvmath.MatmulEpilog}
    for member in MatmulComputeType:
        assert nvmath.MatmulComputeType[member.name] == member


def test_nvmath_plans_every_epilog_but_default():
    known = {int(epilog) for epilog in epilog_protocol.EPILOG_INPUT_HANDLERS_MAP}
    assert known == set(map(int, epilogs.STAGES))


@given(problems(min_k=2), st.sampled_from([None, *epilogs.STAGES]), st.data())
def test_result_and_output_layouts(operands, epilog, data):
    a, b = operands
    m, n = len(a), b.shape[1]
    rng = np.random.default_rng(0)
    c = None
    if data.draw(st.booleans()):
        order = data.draw(st.sampled_from("CF")) if epilog in (None, 2, 32) else "F"
        c = matrix(data.draw, rng, (m, data.draw(st.sampled_from([1, n]))), a.dtype, order)
    inputs = {
        "bias": rng.random(m).astype(a.dtype),
        "relu_aux": epilogs.pack_mask(rng.random((m, n)) < 0.5),
        "gelu_aux": np.zeros((-(-m // 8) * 8, n), a.dtype, order="F"),
    }
    names = set() if epilog is None else epilogs.input_names(epilog)
    inputs = {name: inputs[name] for name in names}
    reason = ""
    with Matmul(a, b, c, beta=None if c is None else 1) as mm:
        try:
            mm.plan(epilog=epilog, epilog_inputs=inputs or None)
            result = mm.execute()
        except (cuBLASLtError, ValueError) as refused:
            reason = str(refused)
    if reason:  # not nvmath's planning, but cuBLASLt behind it
        assert "needs a column-major" in reason or "needs a row-major" in reason
        return
    d, outputs = result if isinstance(result, tuple) else (result, {})
    shape, strides, described = nvmath_plan(a, b, c, epilog, inputs)
    assert (Tensor(d).shape, Tensor(d).strides) == (shape, strides)
    ours = {name: (x.shape, Tensor(x).strides, str(x.dtype)) for name, x in outputs.items()}
    assert ours == described


@given(problems(min_k=2), st.sampled_from(["bias", "relu_aux", "gelu_aux"]), st.data())
def test_epilog_inputs_are_refused_alike(operands, name, data):
    """An input of about the right shape and layout: both accept it, or both raise ValueError."""
    a, b = operands
    epilog = {
        "bias": MatmulEpilog.BIAS,
        "relu_aux": MatmulEpilog.DRELU,
        "gelu_aux": MatmulEpilog.DGELU,
    }[name]
    m, n = len(a), b.shape[1]
    rows, dtype = {
        "bias": (m, a.dtype),
        "relu_aux": (epilogs.mask_shape(m, n)[0], np.dtype(np.uint8)),
        "gelu_aux": (-(-m // 8) * 8, a.dtype),
    }[name]
    columns = 1 if name == "bias" else n
    rows = max(1, rows + data.draw(st.sampled_from([0, 0, 0, 1, -1, 8])))
    columns = max(1, columns + data.draw(st.sampled_from([0, 0, 0, 1])))
    x = np.zeros((rows, columns), dtype, order=data.draw(st.sampled_from("CF")))
    if name == "bias" and columns == 1 and data.draw(st.booleans()):
        x = x.ravel() if data.draw(st.booleans()) else np.zeros(2 * rows, dtype)[::2]

    def ours():
        with Matmul(a, b) as mm:
            mm.plan(epilog=epilog, epilog_inputs={name: x})

    verdicts = []
    for plan in (ours, lambda: nvmath_plan(a, b, None, epilog, {name: x})):
        try:
            plan()
            verdicts.append("accepted")
        except ValueError:
            verdicts.append("refused")
    assert len(set(verdicts)) == 1, (verdicts, x.shape, x.strides)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.data())
def test_operands_are_refused_alike(m, k, k_of_b, n, data):
    """Shapes that may not fit, strides that may be neither order: the verdicts agree."""
    rng = np.random.default_rng(0)
    big = rng.random((20, 20)).astype(np.float32)

    def draw(rows, columns):
        row_step, column_step = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        x = big[: rows * row_step : row_step, : columns * column_step : column_step]
        return (
            x
            if data.draw(st.booleans())
            else big.T[: rows * row_step : row_step, : columns * column_step : column_step]
        )

    a, b = draw(m, k), draw(k_of_b, n)
    verdicts = []
    for state in (
        lambda: Matmul(a, b),
        lambda: matmulmod.get_mm_traits(layout(a), layout(b), None, False, LOG),
    ):
        try:
            state()
            verdicts.append("accepted")
        except ValueError:
            verdicts.append("refused")
    assert len(set(verdicts)) == 1, (verdicts, a.shape, a.strides, b.shape, b.strides)
