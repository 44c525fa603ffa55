"""Matmul's life: state, plan, execute, reset, free; and what it refuses, in which words.

What nvmath does with the same calls is asked in gpu/questions.py and test_agrees_with_nvmath.py.
"""

import numpy as np
import pytest

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog as E
from tutorial_lib.reference.matmul import Matmul, matmul
from tutorial_lib.reference.options import MatmulComputeType, MatmulPlanPreferences
from tutorial_lib.reference.refusals import InvalidMatmulState, cuBLASLtError


def ones(*shape, dtype=np.float32, order="C"):
    return np.ones(shape, dtype, order=order)


A, B, C, BIAS = ones(4, 3), ones(3, 5), ones(4, 5), ones(4)
MASK = epilogs.pack_mask(np.ones((4, 5), bool))
GELU_AUX = ones(8, 5, order="F")


@pytest.fixture
def mm():
    with Matmul(A, B) as mm:
        yield mm


def test_operands_and_inputs_are_held_not_copied():
    a, bias = ones(4, 3), np.zeros(4, np.float32)
    inputs = {"bias": bias}
    with Matmul(a, B) as mm:
        mm.plan(epilog=E.BIAS, epilog_inputs=inputs)
        assert (mm.execute() == 3).all()
        a *= 2
        bias += 1
        assert (mm.execute() == 7).all()
        mm.reset_operands(epilog_inputs={"bias": bias + 1})
        assert (mm.execute() == 8).all()
        assert inputs["bias"] is bias


def test_a_reset_takes_what_is_new_and_keeps_the_rest():
    with Matmul(A, B, ones(4, 5, order="F"), beta=1) as mm:
        mm.plan(epilog=E.DRELU, epilog_inputs={"relu_aux": MASK})
        mm.reset_operands(b=2 * B)
        assert (mm.execute() == 7).all()
        mm.reset_operands(a=3 * A, alpha=np.float64(0.5))
        assert (mm.execute() == 10).all()
        mm.reset_operands(c=2 * ones(4, 5, order="F"), beta=10)
        assert (mm.execute() == 29).all()
        mm.reset_operands_unchecked(a=A, alpha=2, beta=1)
        assert (mm.execute() == 14).all()
        mm.reset_operands(epilog_inputs={"relu_aux": np.zeros_like(MASK)})
        assert (mm.execute() == 0).all()
        assert mm.execute().dtype == np.float32


def test_options_and_preferences_may_be_dicts_and_the_result_may_overwrite_c(mm):
    c = ones(4, 5)
    assert matmul(A, B, c, beta=1, options={"inplace": True}) is c
    assert (c == 4).all()
    tf32 = {"compute_type": MatmulComputeType.COMPUTE_32F_FAST_TF32}
    assert (matmul(A, B, options=tf32, preferences={"limit": 4}) == 3).all()
    (algorithm,) = mm.plan(preferences=MatmulPlanPreferences(limit=4))
    assert mm.plan(algorithms=[algorithm]) == (algorithm,) == mm.algorithms
    assert (mm.execute(algorithm=algorithm) == 3).all()


def test_a_plan_that_cublaslt_refused_is_not_forgotten_and_one_that_was_wrong_is(mm):
    for wrong in ({"epilog": E.BIAS}, {"preferences": {"limt": 1}}, {"epilog": 2}):
        mm.plan()
        with pytest.raises((ValueError, TypeError, AttributeError)):
            mm.plan(**wrong)
        with pytest.raises(RuntimeError, match="before plan"):
            mm.execute()
    with pytest.raises(cuBLASLtError, match="operand a"):
        mm.plan(epilog=E.BGRADA)
    with pytest.raises(cuBLASLtError, match=r"with BGRADA before.*another Matmul"):
        mm.plan()


def test_calls_in_a_wrong_order_are_refused(mm):
    with pytest.raises(RuntimeError, match="Execution cannot be performed before plan"):
        mm.execute()
    with pytest.raises(RuntimeError, match="Autotuning cannot be performed before plan"):
        mm.autotune()
    mm.plan()
    mm.autotune(iterations=3)
    mm.free()
    mm.free()
    resets = mm.reset_operands, mm.reset_operands_unchecked
    for use in (mm.plan, mm.execute, mm.autotune, *resets):
        with pytest.raises(InvalidMatmulState):
            use()


STATEMENTS = [
    (ValueError, "a has 3 columns but b has 4 rows", lambda: Matmul(A, C)),
    (ValueError, "one dtype", lambda: Matmul(A, ones(3, 5, dtype=np.float64))),
    (ValueError, "int32", lambda: Matmul(ones(4, 3, dtype=np.int32), B)),
    (ValueError, "2 dimensions.*nvmath also takes", lambda: Matmul(ones(3), B)),
    (ValueError, "2 dimensions", lambda: Matmul(ones(2, 4, 3), B)),
    (ValueError, "at least 1", lambda: Matmul(ones(0, 3), B)),
    (ValueError, "neither row- nor column-major", lambda: Matmul(ones(8, 6)[::2, ::2], B)),
    (ValueError, "operand a must be a numpy.ndarray", lambda: Matmul([[1.0]], B)),
    (ValueError, "beta must be given", lambda: Matmul(A, B, C)),
    (ValueError, r"\(4,\)$", lambda: Matmul(A, B, BIAS, beta=1)),
    (ValueError, r"\(4, 5\) or \(4, 1\)", lambda: Matmul(A, B, ones(5, 5), beta=1)),
    (ValueError, "operand c", lambda: Matmul(A, B, ones(4, 2), beta=1)),
    (cuBLASLtError, "operand c", lambda: Matmul(A, B, ones(4, 5, dtype=float), beta=1)),
    (ValueError, "must be given", lambda: Matmul(A, B, options={"inplace": True})),
    (
        ValueError,
        r"shape \(4, 5\), it",
        lambda: Matmul(A, B, ones(4, 1), beta=1, options={"inplace": True}),
    ),
    (ValueError, "alpha.*cannot be converted to float32", lambda: Matmul(A, B, alpha="much")),
    (ValueError, "COMPUTE_64F", lambda: Matmul(A, B, options={"compute_type": 70})),
    (
        ValueError,
        r"operand a has strides \(0, 4\) bytes.*with \(12, 4\).*copy it",
        lambda: Matmul(np.broadcast_to(ones(3), (4, 3)), B),
    ),
    (
        ValueError,
        r"operand c has strides \(8, 0\).*with \(0, 4\)",
        lambda: Matmul(A, B, ones(4, 2)[:, :1], beta=1),
    ),
    (
        ValueError,
        r"c has strides \(8, 0\)",
        lambda: Matmul(A, BIAS[:3, None], ones(4, 2)[:, :1], beta=1),
    ),
]


@pytest.mark.parametrize(("error", "match", "state"), STATEMENTS)
def test_a_statement_that_is_refused_says_why(error, match, state):
    with pytest.raises(error, match=match):
        state()


@pytest.mark.parametrize(
    ("epilog", "inputs", "error", "match"),
    [
        (E.BIAS, None, ValueError, r"needs the epilog inputs \['bias'\], it was given \[\]"),
        (E.BIAS, {"bias": BIAS, "relu_aux": MASK}, ValueError, "it was given"),
        (E.RELU_AUX_BIAS, {"bias": ones(5)}, ValueError, r"shape \(4,\) or \(4, 1\), it"),
        (E.BIAS, {"bias": ones(8)[::2]}, ValueError, "stride 1"),
        (E.BIAS, {"bias": ones(4, dtype=np.float64)}, cuBLASLtError, "float32"),
        (E.BIAS, {"bias": [1.0] * 4}, ValueError, "'bias' must be a numpy.ndarray"),
        (E.DRELU, {"relu_aux": MASK[:4]}, ValueError, "shape"),
        (E.DRELU, {"relu_aux": np.ascontiguousarray(MASK)}, ValueError, "column-major"),
        (E.DRELU, {"relu_aux": np.repeat(MASK, 2, axis=1)[:, ::2]}, ValueError, "column-major"),
        (E.DRELU_BGRAD, {"relu_aux": MASK.astype(np.int8)}, ValueError, "uint8"),
        (E.DGELU, {"gelu_aux": GELU_AUX[:4]}, ValueError, "shape"),
        (E.DGELU_BGRAD, {"gelu_aux": GELU_AUX.astype(float)}, ValueError, "float32"),
        (E.DEFAULT, None, AssertionError, "Not supported"),
        (int(E.RELU), None, AttributeError, "MatmulEpilog"),
    ],
)
def test_a_plan_that_is_refused_says_why(mm, epilog, inputs, error, match):
    with pytest.raises(error, match=match):
        mm.plan(epilog=epilog, epilog_inputs=inputs)


def test_columns_of_an_input_with_gaps_between_them_are_refused_where_there_are_some(mm):
    mask = np.zeros((16, 10), np.uint8, order="F")[:, ::2]
    with pytest.raises(ValueError, match="columns of epilog input 'relu_aux' must follow"):
        mm.plan(epilog=E.DRELU, epilog_inputs={"relu_aux": mask})
    inputs = {"relu_aux": mask[:, :1]}
    assert not matmul(A, B[:, :1].copy(), epilog=E.DRELU, epilog_inputs=inputs).any()


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


def test_an_input_of_an_earlier_plan_cannot_be_reset(mm):
    mm.plan(epilog=E.BIAS, epilog_inputs={"bias": BIAS})
    with pytest.raises(ValueError, match="needs the epilog inputs"):
        mm.plan(epilog=E.BIAS)
    for reset in (mm.reset_operands, mm.reset_operands_unchecked):
        with pytest.raises(KeyError, match="bias"):
            reset(epilog_inputs={"bias": BIAS})


def test_what_is_ignored_is_said(caplog):
    assert (matmul(A, B) == 3).all()
    assert not caplog.text
    with Matmul(A, B, beta=2.0) as mm:
        mm.plan(epilog_inputs={"bias": BIAS})
        mm.reset_operands(beta=3.0)
        assert (mm.execute() == 3).all()
    for text in ("beta=2.0 is ignored", "beta=3.0 is ignored", "['bias'] are ignored"):
        assert text in caplog.text
