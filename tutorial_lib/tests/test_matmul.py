"""Matmul's life: state, plan, execute, reset, free; and what it refuses, in which words.

What nvmath does with the same calls is asked in gpu/questions.py and test_agrees_with_nvmath.py.
"""

import numpy as np
import pytest

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.arrays import record
from tutorial_lib.reference.epilogs import MatmulEpilog as E
from tutorial_lib.reference.matmul import Matmul, matmul
from tutorial_lib.reference.options import MatmulComputeType, MatmulPlanPreferences
from tutorial_lib.reference.refusals import InvalidMatmulState, cuBLASLtError
from tutorial_lib.tests.matrices import HALVES


def ones(*shape, dtype=np.float32, order="C"):
    return np.ones(shape, dtype, order=order)


A, B, C, BIAS = ones(4, 3), ones(3, 5), ones(4, 5), ones(4)
HALF = [(A.astype(dtype), B.astype(dtype)) for dtype in HALVES]
MASK = epilogs.pack_mask(np.ones((4, 5), bool))
IN_PLACE = {"inplace": True}


@pytest.fixture
def mm():
    with Matmul(A, B) as mm:
        yield mm


def test_operands_are_held_not_copied_and_a_reset_keeps_the_others():
    a, c, inputs = ones(4, 3), ones(4, 5, order="F"), {"relu_aux": MASK.copy("K")}
    with Matmul(a, B, c, beta=1) as mm:
        mm.plan(epilog=E.DRELU, epilog_inputs=inputs)
        for reset, new, expected in (
            (mm.reset_operands, {"b": 2 * B}, 7),
            (mm.reset_operands, {"a": 3 * A, "alpha": np.float64(0.5)}, 10),
            (mm.reset_operands, {"c": 2 * c, "beta": 10}, 29),
            (mm.reset_operands_unchecked, {"a": a, "alpha": 2, "beta": 1}, 14),
        ):
            reset(**new)
            assert (mm.execute() == expected).all()
        a *= 2
        assert (mm.execute() == 26).all()
        inputs["relu_aux"][:] = 0
        assert (mm.execute() == 0).all()
        mm.reset_operands(epilog_inputs={"relu_aux": MASK})
        assert (mm.execute() == 26).all()
        assert not inputs["relu_aux"].any()
        assert mm.execute().dtype == np.float32


def test_options_and_preferences_may_be_dicts_and_the_result_may_overwrite_c(mm):
    c = ones(4, 5)
    assert matmul(A, B, c, beta=1, options=IN_PLACE) is c
    assert (c == 4).all()
    tf32 = {"compute_type": MatmulComputeType.COMPUTE_32F_FAST_TF32}
    assert (matmul(A, B, options=tf32, preferences={"limit": 4}) == 3).all()
    (algorithm,) = mm.plan(preferences=MatmulPlanPreferences(limit=4))
    assert mm.plan(algorithms=[algorithm]) == (algorithm,) == mm.algorithms
    assert (mm.execute(algorithm=algorithm) == 3).all()


@pytest.mark.parametrize("half", HALF)
def test_float32_weights_are_updated_by_operands_of_half_precision(half):
    c = ones(4, 5)
    assert matmul(*half, c, alpha=1e6, beta=1, options=IN_PLACE) is c
    assert (c == 3_000_001).all()  # alpha, too, is float32


def test_calls_in_a_wrong_order_are_refused(mm):
    for call, what in ((mm.execute, "Execution"), (mm.autotune, "Autotuning")):
        with pytest.raises(RuntimeError, match=f"{what} cannot be performed before plan"):
            call()
    mm.plan()
    mm.autotune(iterations=3)
    mm.free()
    mm.free()
    resets = mm.reset_operands, mm.reset_operands_unchecked
    for use in (mm.plan, mm.execute, mm.autotune, *resets):
        with pytest.raises(InvalidMatmulState):
            use()


def test_a_plan_that_cublaslt_refused_is_not_forgotten_and_one_that_was_wrong_is(mm):
    mm.plan(epilog=E.BIAS, epilog_inputs={"bias": BIAS})
    with pytest.raises(ValueError, match="needs the epilog inputs"):
        mm.plan(epilog=E.BIAS)
    with pytest.raises(RuntimeError, match="before plan"):
        mm.execute()
    for reset in (mm.reset_operands, mm.reset_operands_unchecked):
        with pytest.raises(KeyError, match="bias"):
            reset(epilog_inputs={"bias": BIAS})
    with Matmul(A, B) as mm:
        with pytest.raises(cuBLASLtError, match="operand a"):
            mm.plan(epilog=E.BGRADA)
        with pytest.raises(cuBLASLtError, match=r"with BGRADA before.*another Matmul"):
            mm.plan()


# The operands, the arguments, and what is said of them.
STATEMENTS = [
    ((A, C), {}, ValueError, "a has 3 columns but b has 4 rows"),
    ((A, ones(3, 5, dtype=float)), {}, ValueError, "one dtype"),
    ((ones(4, 3, dtype=np.int32), B), {}, ValueError, "int32"),
    ((HALF[0][0], HALF[1][1]), {}, ValueError, "float16 and bfloat16"),
    ((*HALF[0], C.astype(float)), {"beta": 1}, cuBLASLtError, "c is float64, a and b are float16"),
    (HALF[1], {"options": {"compute_type": 77}}, ValueError, "FAST_TF32.* with bfloat16"),
    ((ones(3), B), {}, ValueError, "2 dimensions.*nvmath also takes"),
    ((ones(3, 4, 3), ones(2, 3, 5)), {}, ValueError, r"batches of a \(3,\) and b \(2,\)"),
    ((ones(3, 4, 3), B, ones(2, 4, 1)), {"beta": 1}, ValueError, r"or \(4, 5\) or \(4, 1\), it"),
    ((ones(0, 3), B), {}, ValueError, "at least 1"),
    ((ones(8, 6)[::2, ::2], B), {}, ValueError, "neither row- nor column-major"),
    (([[1.0]], B), {}, ValueError, "operand a must be a numpy.ndarray"),
    ((A, B, C), {}, ValueError, "beta must be given"),
    ((A, B, BIAS), {"beta": 1}, ValueError, r"\(4,\)$"),
    ((A, B, ones(5, 5)), {"beta": 1}, ValueError, r"\(4, 5\) or \(4, 1\)"),
    ((A, B, ones(4, 5, dtype=float)), {"beta": 1}, cuBLASLtError, "operand c"),
    ((A, B), {"options": IN_PLACE}, ValueError, "must be given"),
    ((A, B, ones(4, 1)), {"beta": 1, "options": IN_PLACE}, ValueError, r"shape \(4, 5\), it"),
    ((A, B), {"alpha": "much"}, ValueError, "alpha.*cannot be converted to float32"),
    ((A, B), {"options": {"compute_type": 70}}, ValueError, "COMPUTE_64F"),
    ((np.broadcast_to(ones(3), (4, 3)), B), {}, ValueError, r"\(0, 4\) b.*\(12, 4\).*copy it"),
    ((A, B, ones(4, 2)[:, :1]), {"beta": 1}, ValueError, r"c has strides \(8, 0\).*with \(0, 4\)"),
]


@pytest.mark.parametrize(("operands", "arguments", "error", "match"), STATEMENTS)
def test_a_statement_that_is_refused_says_why(operands, arguments, error, match):
    with pytest.raises(error, match=match):
        Matmul(*operands, **arguments)


@pytest.mark.parametrize(
    ("epilog", "inputs", "error", "match"),
    [
        (E.BIAS, None, ValueError, r"needs the epilog inputs \['bias'\], it was given \[\]"),
        (E.RELU_AUX_BIAS, {"bias": ones(5)}, ValueError, r"shape \(4,\) or \(4, 1\), it"),
        (E.BIAS, {"bias": ones(4, dtype=np.float64)}, cuBLASLtError, "float32"),
        (E.BIAS, {"bias": [1.0] * 4}, ValueError, "'bias' must be a numpy.ndarray"),
        (E.DRELU, {"relu_aux": MASK[:4]}, ValueError, "shape"),
        (E.DRELU, {"relu_aux": np.ascontiguousarray(MASK)}, ValueError, "column-major"),
        (E.DRELU, {"relu_aux": np.zeros((16, 10), "u1", "F")[:, ::2]}, ValueError, "columns of"),
        (E.DRELU_BGRAD, {"relu_aux": MASK.astype(np.int8)}, ValueError, "uint8"),
        (E.DGELU_BGRAD, {"gelu_aux": ones(8, 5, dtype=float, order="F")}, ValueError, "float32"),
        (E.DEFAULT, None, AssertionError, "Not supported"),
        (int(E.RELU), None, AttributeError, "MatmulEpilog"),
    ],
)
def test_a_plan_that_is_refused_says_why(mm, epilog, inputs, error, match):
    with pytest.raises(error, match=match):
        mm.plan(epilog=epilog, epilog_inputs=inputs)


@pytest.mark.parametrize(
    ("new", "error", "match"),
    [
        ({}, ValueError, "at least one"),
        ({"a": ones(5, 3)}, ValueError, r"shape of operand a must stay \(4, 3\)"),
        ({"a": ones(3, 4).T}, ValueError, "strides of operand a"),
        ({"a": ones(4, 3, dtype=np.float64)}, ValueError, "dtype of operand a"),
        ({"a": [[1.0]]}, ValueError, "operand a must be a numpy.ndarray"),
        ({"c": C}, ValueError, "without an operand c"),
        ({"alpha": "much"}, ValueError, "alpha='much' cannot be converted"),
        ({"epilog_inputs": {"relu_aux": BIAS}}, KeyError, "relu_aux"),
        ({"epilog_inputs": {"bias": ones(5)}}, ValueError, "shape of epilog input 'bias'"),
        ({"epilog_inputs": {"bias": [1.0] * 4}}, ValueError, "'bias' must be a numpy.ndarray"),
    ],
)
def test_a_reset_that_is_refused_says_why_and_leaves_what_comes_after(mm, new, error, match):
    mm.plan(epilog=E.BIAS, epilog_inputs={"bias": BIAS})
    with pytest.raises(error, match=match):
        mm.reset_operands(**new)
    assert (mm.execute() == 4).all()


def test_tensors_are_copied_when_they_are_stated_and_results_are_tensors():
    torch = pytest.importorskip("torch")
    a, b, c, bias = (torch.from_numpy(x.copy()) for x in (A, B, C, BIAS))
    with Matmul(a, b, c.T.contiguous().T, beta=1) as mm:
        mm.plan(epilog=E.RELU_AUX_BIAS, epilog_inputs={"bias": bias})
        for changed in (a, bias):
            changed *= 2
            d, extra = mm.execute()
            assert (d == 5).all()
        assert d.stride() == (1, 4)
        assert extra["relu_aux"].stride() == (1, 16)
        mm.reset_operands(a=a, epilog_inputs={"bias": bias})
        a *= 0
        assert (mm.execute()[0] == 9).all()
        mm.reset_operands(a=torch.ones(3, 4).T)  # in another memory order
        mm.reset_operands_unchecked(b=2 * b, alpha=2)
        assert (mm.execute()[0] == 15).all()
    with Matmul(torch.ones(4, 3), b, c, beta=1, options=IN_PLACE) as mm:
        mm.plan()
        c *= 0  # not read again, but written
        assert mm.execute() is c
        mm.reset_operands(c=(other := torch.zeros(4, 5)))
        assert mm.execute() is other
        assert (c == 4).all()
        assert (other == 3).all()


def test_a_captured_batch_keeps_its_memory_order():
    a, found = np.ones((3, 4, 2)), []
    with Matmul(a, np.ones((2, 5))) as mm:
        mm.plan(epilog=E.BIAS, epilog_inputs={"bias": np.ones(4)})
        recording = record(lambda: found.append(mm.execute()))
        a *= 2
        recording.launch()
    assert (found[0] == 5).all()
    assert found[0].strides == (160, 8, 32)


def test_the_one_column_of_an_input_may_lie_in_a_larger_matrix():
    mask = np.zeros((16, 2), np.uint8, order="F")[:, ::2]
    assert not matmul(A, B[:, :1].copy(), epilog=E.DRELU, epilog_inputs={"relu_aux": mask}).any()


def test_what_is_ignored_is_said(caplog):
    assert (matmul(A, B) == 3).all()
    assert not caplog.text
    with Matmul(A, B, beta=2.0) as mm:
        mm.plan(epilog_inputs={"bias": BIAS})
        mm.reset_operands(beta=3.0)
        assert (mm.execute() == 3).all()
    for text in ("beta=2.0 is ignored", "beta=3.0 is ignored", "['bias'] are ignored"):
        assert text in caplog.text
