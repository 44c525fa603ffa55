"""Matmul's life: state, plan, execute, reset, free; and everything it refuses."""

import numpy as np
import pytest

from tutorial_lib.reference import epilogs
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.reference.matmul import Matmul, matmul
from tutorial_lib.reference.options import MatmulComputeType, MatmulOptions, MatmulPlanPreferences
from tutorial_lib.reference.refusals import InvalidMatmulState, cuBLASLtError


def ones(*shape, dtype=np.float32, order="C"):
    return np.ones(shape, dtype, order=order)


@pytest.fixture
def mm():
    with Matmul(ones(4, 3), ones(3, 5)) as mm:
        yield mm


def test_operands_are_held_not_copied():
    a, b, bias = ones(4, 3), ones(3, 5), np.zeros(4, np.float32)
    with Matmul(a, b) as mm:
        mm.plan(epilog=MatmulEpilog.BIAS, epilog_inputs={"bias": bias})
        first = mm.execute()
        a *= 2
        bias += 1
        assert first.max() == 3
        assert mm.execute().min() == 7


def test_reset_takes_the_new_operand_and_keeps_the_others(mm):
    mm.plan()
    mm.reset_operands(b=2 * ones(3, 5))
    assert (mm.execute() == 6).all()
    mm.reset_operands(a=3 * ones(4, 3), alpha=0.5)
    assert (mm.execute() == 9).all()


def test_reset_of_c_beta_and_epilog_inputs():
    mask = epilogs.pack_mask(np.ones((4, 5), bool))
    with Matmul(ones(4, 3), ones(3, 5), ones(4, 5, order="F"), beta=1) as mm:
        mm.plan(epilog=MatmulEpilog.DRELU, epilog_inputs={"relu_aux": mask})
        assert (mm.execute() == 4).all()
        mm.reset_operands(c=2 * ones(4, 5, order="F"), beta=10)
        assert (mm.execute() == 23).all()
        mm.reset_operands(epilog_inputs={"relu_aux": np.zeros_like(mask)})
        assert (mm.execute() == 0).all()


def test_reset_unchecked(mm):
    mm.plan()
    mm.reset_operands_unchecked(a=2 * ones(4, 3), alpha=2)
    assert (mm.execute() == 12).all()


def test_epilog_inputs_of_the_caller_are_not_changed():
    inputs = {"bias": ones(4)}
    with Matmul(ones(4, 3), ones(3, 5)) as mm:
        mm.plan(epilog=MatmulEpilog.BIAS, epilog_inputs=inputs)
        mm.reset_operands(epilog_inputs={"bias": 2 * ones(4)})
        assert (inputs["bias"] == 1).all()


def test_a_plan_made_anew_takes_another_epilog_where_nothing_of_the_old_one_stays(mm):
    mm.plan()
    mm.plan()
    mm.plan(epilog=MatmulEpilog.BIAS, epilog_inputs={"bias": ones(4)})
    assert (mm.execute() == 4).all()
    mm.plan(epilog=MatmulEpilog.BIAS, epilog_inputs={"bias": 2 * ones(4)})
    assert (mm.execute() == 5).all()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (MatmulEpilog.RELU, None),
        (MatmulEpilog.RELU_AUX, MatmulEpilog.RELU),
        (MatmulEpilog.RELU, MatmulEpilog.GELU),
        (MatmulEpilog.RELU_AUX, MatmulEpilog.GELU_AUX),
        (MatmulEpilog.BGRADB, MatmulEpilog.RELU_AUX),
    ],
)
def test_a_plan_made_anew_is_refused_where_something_of_the_old_one_stays(mm, first, then):
    mm.plan(epilog=first)
    with pytest.raises(cuBLASLtError, match=f"with .*{first.name}.* before.*another Matmul"):
        mm.plan(epilog=then)
    with pytest.raises(RuntimeError, match="before plan"):
        mm.execute()


def test_a_plan_that_cublaslt_refused_is_not_forgotten(mm):
    with pytest.raises(cuBLASLtError, match="operand a"):
        mm.plan(epilog=MatmulEpilog.BGRADA)
    with pytest.raises(cuBLASLtError, match="BGRADA before"):
        mm.plan()


def test_a_plan_that_was_wrong_is_forgotten(mm):
    for wrong in ({"epilog": MatmulEpilog.BIAS}, {"preferences": {"limt": 1}}, {"epilog": 2}):
        with pytest.raises((ValueError, TypeError, AttributeError)):
            mm.plan(**wrong)
        with pytest.raises(RuntimeError, match="before plan"):
            mm.execute()
    mm.plan()
    assert (mm.execute() == 3).all()


def test_an_epilog_input_is_known_to_its_own_plan_only(mm):
    inputs = {"bias": ones(4)}
    for _ in range(2):
        for reset in (mm.reset_operands, mm.reset_operands_unchecked):
            with pytest.raises(KeyError, match="bias"):
                reset(epilog_inputs=inputs)
        mm.plan(epilog=MatmulEpilog.BIAS, epilog_inputs=inputs)
        mm.reset_operands(epilog_inputs=inputs)
        with pytest.raises(ValueError, match="needs the epilog inputs"):
            mm.plan(epilog=MatmulEpilog.BIAS)


def test_a_beta_of_0_never_reads_c():
    nan = np.full((4, 5), np.nan, np.float32)
    assert (matmul(ones(4, 3), ones(3, 5), nan, beta=0) == 3).all()
    assert (matmul(ones(4, 3), ones(3, 5), nan, beta=0, options={"inplace": True}) == 3).all()
    assert (nan == 3).all()


def test_scale_factors_are_numbers(mm):
    with pytest.raises(ValueError, match="cannot be converted to float32"):
        Matmul(ones(4, 3), ones(3, 5), ones(4, 5), beta=ones(4, 1))
    with pytest.raises(ValueError, match=r"alpha=[\s\S]*cannot be converted"):
        mm.reset_operands(alpha=ones(4, 1))
    mm.plan()
    mm.reset_operands(alpha=np.float64(2))
    assert mm.execute().dtype == np.float32
    assert (mm.execute() == 6).all()


def test_algorithms_are_those_that_a_plan_returned(mm):
    first = mm.plan()
    assert (mm.execute(algorithm=first[0]) == 3).all()
    assert mm.plan(algorithms=first) == first == mm.algorithms
    for algorithm in ("numpy.matmul", Matmul(ones(4, 3), ones(3, 5)).plan()[0]):
        with pytest.raises(ValueError, match="none of those"):
            mm.execute(algorithm=algorithm)
    for algorithms, error in ((["numpy.matmul"], AssertionError), ([], IndexError), (5, TypeError)):
        with pytest.raises(error):
            mm.plan(algorithms=algorithms)


def test_preferences_and_options_are_those_that_there_are(mm):
    assert mm.plan(preferences={"limit": 4})
    assert mm.plan(preferences=MatmulPlanPreferences(limit=4))
    assert (matmul(ones(4, 3), ones(3, 5), preferences={"limit": 4}) == 3).all()
    for wrong in ({"limt": 4}, [4]):
        with pytest.raises(TypeError):
            mm.plan(preferences=wrong)
        with pytest.raises(TypeError):
            matmul(ones(4, 3), ones(3, 5), preferences=wrong)
        with pytest.raises(TypeError):
            Matmul(ones(4, 3), ones(3, 5), options=wrong)


def test_what_a_reset_refused_unchecked_says(mm):
    mm.plan()
    with pytest.raises(IndexError, match="without an operand c"):
        mm.reset_operands_unchecked(c=ones(4, 5))
    with pytest.raises(ValueError, match="sequence"):
        mm.reset_operands_unchecked(alpha=[1.0, 2.0])
    mm.reset_operands_unchecked(beta=2)
    with pytest.raises(AssertionError, match="no operand c"):
        mm.execute()


def test_views_that_nvmath_would_misread_are_refused():
    """The message says what nvmath would read, and what to do."""
    with pytest.raises(
        ValueError, match=r"operand a has strides \(0, 4\) bytes.*with \(12, 4\).*copy it"
    ):
        Matmul(np.broadcast_to(ones(3), (4, 3)), ones(3, 5))
    with pytest.raises(ValueError, match="operand a has strides"):
        Matmul(np.broadcast_to(ones(3), (2, 3)), ones(3, 5))
    with pytest.raises(ValueError, match=r"operand b has strides \(-20, 4\)"):
        Matmul(ones(4, 3), ones(3, 5)[::-1])
    with pytest.raises(ValueError, match=r"operand c has strides \(8, 0\).*with \(0, 4\)"):
        Matmul(ones(4, 3), ones(3, 5), ones(4, 2)[:, :1], beta=1)
    with pytest.raises(ValueError, match=r"operand c has strides \(8, 0\)"):
        Matmul(ones(4, 3), ones(3, 1), ones(4, 2)[:, :1], beta=1)
    mask = np.asfortranarray(np.zeros((16, 10), np.uint8))[:, ::2]
    with pytest.raises(ValueError, match="columns of epilog input 'relu_aux' must follow"):
        matmul(ones(4, 3), ones(3, 5), epilog=MatmulEpilog.DRELU, epilog_inputs={"relu_aux": mask})
    one = np.asfortranarray(np.zeros((16, 2), np.uint8))[:, ::2]
    inputs = {"relu_aux": one}
    assert (
        matmul(ones(4, 3), ones(3, 1), epilog=MatmulEpilog.DRELU, epilog_inputs=inputs).any() == 0
    )


def test_options_may_be_a_dict():
    c = ones(4, 5)
    assert matmul(ones(4, 3), ones(3, 5), c, beta=1, options={"inplace": True}) is c
    tf32 = {"compute_type": MatmulComputeType.COMPUTE_32F_FAST_TF32}
    assert (matmul(ones(4, 3), ones(3, 5), options=tf32) == 3).all()


def test_order_of_calls(mm):
    with pytest.raises(RuntimeError, match="Execution cannot be performed before plan"):
        mm.execute()
    with pytest.raises(RuntimeError, match="Autotuning cannot be performed before plan"):
        mm.autotune()
    assert len(mm.plan()) == 1
    mm.autotune(iterations=3)
    mm.free()
    mm.free()
    for use in (
        mm.plan,
        mm.execute,
        mm.autotune,
        lambda: mm.reset_operands(a=ones(4, 3)),
        lambda: mm.reset_operands_unchecked(a=ones(4, 3)),
    ):
        with pytest.raises(InvalidMatmulState):
            use()


@pytest.mark.parametrize(
    ("operand", "match"),
    [(ones(5, 3), "shape"), (ones(3, 4).T, "strides"), (ones(4, 3, dtype=np.float64), "dtype")],
)
def test_reset_refuses_what_the_plan_does_not_fit_and_what_comes_after_it(mm, operand, match):
    mm.plan()
    with pytest.raises(ValueError, match=match):
        mm.reset_operands(alpha=10, b=2 * ones(3, 5), a=operand)
    assert (mm.execute() == 30).all()


def test_reset_refuses_the_rest(mm):
    mm.plan(epilog=MatmulEpilog.BIAS, epilog_inputs={"bias": ones(4)})
    with pytest.raises(ValueError, match="at least one"):
        mm.reset_operands()
    with pytest.raises(ValueError, match="without an operand c"):
        mm.reset_operands(c=ones(4, 5))
    with pytest.raises(KeyError, match="relu_aux"):
        mm.reset_operands(epilog_inputs={"relu_aux": ones(4)})
    with pytest.raises(ValueError, match="shape of epilog input 'bias'"):
        mm.reset_operands(epilog_inputs={"bias": ones(5)})
    with pytest.raises(ValueError, match="alpha"):
        mm.reset_operands(alpha="much")
    with pytest.raises(ValueError, match=r"operand a must be a numpy\.ndarray"):
        mm.reset_operands(a=[[1.0]])
    with pytest.raises(ValueError, match=r"'bias' must be a numpy\.ndarray"):
        mm.reset_operands(epilog_inputs={"bias": [1.0] * 4})


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        (lambda: (ones(4, 3), ones(4, 5)), {}, ValueError, "K"),
        (lambda: (ones(4, 3), ones(3, 5, dtype=np.float64)), {}, ValueError, "one dtype"),
        (lambda: (ones(4, 3, dtype=np.int32), ones(3, 5)), {}, ValueError, "int32"),
        (lambda: (ones(3), ones(3, 5)), {}, ValueError, "2 dimensions.*nvmath also takes"),
        (lambda: (ones(2, 4, 3), ones(3, 5)), {}, ValueError, "2 dimensions"),
        (lambda: (ones(0, 3), ones(3, 5)), {}, ValueError, "at least 1"),
        (
            lambda: (ones(8, 6)[::2, ::2], ones(3, 5)),
            {},
            ValueError,
            "neither row- nor column-major",
        ),
        (lambda: ([[1.0]], ones(1, 5)), {}, ValueError, "operand a must be a numpy.ndarray"),
        (lambda: (ones(4, 3), ones(3, 5), ones(4, 5)), {}, ValueError, "beta"),
        (lambda: (ones(4, 3), ones(3, 5), ones(4)), {"beta": 1}, ValueError, r"\(4,\)$"),
        (lambda: (ones(4, 3), ones(3, 5), ones(5, 5)), {"beta": 1}, ValueError, "operand c"),
        (lambda: (ones(4, 3), ones(3, 5), ones(4, 2)), {"beta": 1}, ValueError, "operand c"),
        (
            lambda: (ones(4, 3), ones(3, 5), ones(4, 5, dtype=np.float64)),
            {"beta": 1},
            cuBLASLtError,
            "operand c",
        ),
        (
            lambda: (ones(4, 3), ones(3, 5)),
            {"options": {"inplace": True}},
            ValueError,
            "must be given",
        ),
        (
            lambda: (ones(4, 3), ones(3, 5), ones(4, 1)),
            {"beta": 1, "options": {"inplace": True}},
            ValueError,
            "c must",
        ),
        (
            lambda: (ones(4, 3), ones(3, 5), np.broadcast_to(ones(5), (4, 5))),
            {"beta": 1, "options": {"inplace": True}},
            ValueError,
            "copy it",
        ),
        (lambda: (ones(4, 3), ones(3, 5)), {"alpha": "much"}, ValueError, "alpha"),
        (
            lambda: (ones(4, 3), ones(3, 5)),
            {"options": {"compute_type": 70}},
            ValueError,
            "COMPUTE_64F",
        ),
        (lambda: (ones(4, 3), ones(3, 5)), {"options": {"compute_type": 1}}, ValueError, "1"),
    ],
)
def test_statements_that_are_refused(arguments, options, error, match):
    with pytest.raises(error, match=match):
        Matmul(*arguments(), **options)


MASK = epilogs.pack_mask(np.ones((4, 5), bool))
GELU_AUX = ones(8, 5, order="F")


@pytest.mark.parametrize(
    ("epilog", "inputs", "error", "match"),
    [
        (MatmulEpilog.BIAS, None, ValueError, "needs the epilog inputs"),
        (MatmulEpilog.BIAS, {}, ValueError, "needs the epilog inputs"),
        (MatmulEpilog.BIAS, {"bias": ones(4), "relu_aux": MASK}, ValueError, "it was given"),
        (MatmulEpilog.BIAS, {"bais": ones(4)}, ValueError, "bais"),
        (MatmulEpilog.RELU_AUX_BIAS, {"bias": ones(5)}, ValueError, "shape"),
        (MatmulEpilog.RELU_BIAS, {"bias": ones(4, 5)}, ValueError, "shape"),
        (MatmulEpilog.BIAS, {"bias": ones(8)[::2]}, ValueError, "stride 1"),
        (MatmulEpilog.BIAS, {"bias": ones(4, dtype=np.float64)}, cuBLASLtError, "float32"),
        (MatmulEpilog.BIAS, {"bias": [1.0] * 4}, ValueError, "numpy.ndarray"),
        (MatmulEpilog.DRELU, {"relu_aux": MASK[:4]}, ValueError, "shape"),
        (MatmulEpilog.DRELU, {"relu_aux": np.ascontiguousarray(MASK)}, ValueError, "column-major"),
        (MatmulEpilog.DRELU_BGRAD, {"relu_aux": MASK.astype(np.int8)}, ValueError, "uint8"),
        (MatmulEpilog.DGELU, {"gelu_aux": GELU_AUX[:4]}, ValueError, "shape"),
        (
            MatmulEpilog.DGELU_BGRAD,
            {"gelu_aux": GELU_AUX.astype(np.float64, order="F")},
            ValueError,
            "float32",
        ),
        (MatmulEpilog.DEFAULT, None, AssertionError, "Not supported"),
        (12345, None, AssertionError, "Not supported"),
        (int(MatmulEpilog.RELU), None, AttributeError, "MatmulEpilog"),
        (MatmulEpilog.BGRADA, None, cuBLASLtError, "operand a"),
    ],
)
def test_plans_that_are_refused(mm, epilog, inputs, error, match):
    with pytest.raises(error, match=match):
        mm.plan(epilog=epilog, epilog_inputs=inputs)
    with pytest.raises(RuntimeError, match="before plan"):
        mm.execute()


@pytest.mark.parametrize(
    "epilog",
    [MatmulEpilog.DRELU, MatmulEpilog.DRELU_BGRAD, MatmulEpilog.DGELU, MatmulEpilog.DGELU_BGRAD],
)
def test_gradient_epilogs_refuse_k_of_one(epilog):
    name = "relu_aux" if "RELU" in epilog.name else "gelu_aux"
    aux = MASK if name == "relu_aux" else GELU_AUX
    with pytest.raises(ValueError, match="K=1"):
        matmul(ones(4, 1), ones(1, 5), epilog=epilog, epilog_inputs={name: aux})


def test_row_major_c_where_the_result_must_be_column_major():
    for epilog, error in (
        (MatmulEpilog.BGRADB, ValueError),
        (MatmulEpilog.BGRADA, ValueError),
        (MatmulEpilog.RELU_AUX, cuBLASLtError),
    ):
        with (
            Matmul(ones(4, 3), ones(3, 5), ones(4, 5), beta=1) as mm,
            pytest.raises(error, match="operand c"),
        ):
            mm.plan(epilog=epilog)


def test_bias_gradients_need_their_operand_in_one_order():
    """A single column counts as column-major whatever its strides, so BGRADB refuses it."""
    with pytest.raises(cuBLASLtError, match="column-major operand a"):
        matmul(ones(4, 3), ones(3, 5), epilog=MatmulEpilog.BGRADA)
    for b in (ones(3, 5, order="F"), ones(3, 1), ones(3, 1, order="F")):
        with pytest.raises(cuBLASLtError, match="row-major operand b"):
            matmul(ones(4, 3), b, epilog=MatmulEpilog.BGRADB)


def test_what_is_ignored_is_said(caplog):
    assert (matmul(ones(4, 3), ones(3, 5)) == 3).all()
    assert not caplog.text
    with Matmul(ones(4, 3), ones(3, 5), beta=2.0) as mm:
        mm.plan(epilog_inputs={"bias": ones(4)})
        assert (mm.execute() == 3).all()
    assert "beta=2.0 is ignored" in caplog.text
    with Matmul(ones(4, 3), ones(3, 5)) as mm:
        mm.reset_operands(beta=3.0)
    assert "beta=3.0 is ignored" in caplog.text
    assert "['bias'] are ignored" in caplog.text


def test_options_default_to_not_inplace():
    assert MatmulOptions() == MatmulOptions(inplace=False, compute_type=None)
