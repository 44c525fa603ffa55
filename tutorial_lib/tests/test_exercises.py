"""What a reader is told about an answer."""

import numpy as np
import pytest

from tutorial_lib.backend import MatmulEpilog, xp
from tutorial_lib.exercises import check

MATRIX, ROW = np.arange(6.0).reshape(2, 3), np.array([0, 0, 9])


def product(a, b):
    return a @ b


class Twice:
    def of(self, x):
        return 2 * x


class Unfinished(Twice):
    def of(self, x):
        return ...


def through(network, x):
    return network().of(x)


def told(capsys, answer, expected, *arguments, **options):
    check(answer, expected, *arguments, **options)
    return capsys.readouterr().out.removesuffix("\n")


RIGHT = [
    (3, 3.0),
    (0.1 + 0.2, 0.3),
    (True, True),
    ("RELU", "RELU"),
    (MatmulEpilog.RELU, MatmulEpilog.RELU),
    ((30, 784), (30, 784)),
    ({"W": MATRIX, "b": [1, 2]}, {"b": [1, 2], "W": MATRIX}),
    (xp.ones((2, 3)), np.ones((2, 3))),
    (MATRIX + 1e-6, MATRIX),
    (np.zeros((0, 3)), np.zeros((0, 3))),
    ([0.0, 0.0], np.zeros(2)),
]


@pytest.mark.parametrize(("answer", "expected"), RIGHT)
def test_a_right_answer_is_right(answer, expected, capsys):
    assert told(capsys, answer, expected) == "Right."


WRONG = [
    (4, 3, "your answer is 4, which is not right."),
    (1e-9, 0, "your answer is 1e-09, which is not right."),
    (float("nan"), 3, "your answer is nan, which is not right."),
    ("GELU", "RELU", "your answer is GELU, which is not right."),
    (ROW, "RELU", "your answer is [0 0 9], which is not right."),
    (None, 3, "your answer is None: does your function return its result?"),
    ("three", 3, "your answer is 'three', and it should be a number or an array of numbers."),
    ((30,), (30, 784), "your answer should be a tuple of 2, not (30,)."),
    ([30, 784], (30, 784), "your answer should be a tuple of 2, not [30, 784]."),
    ((784, 30), (30, 784), "your answer[0] is 784, which is not right."),
    ({"w": 1}, {"W": 1}, "your answer has no entry 'W'."),
    ({"W": MATRIX.T}, {"W": MATRIX}, "the shape of your answer['W'] is (3, 2), and it should be (2, 3)."),  # noqa: E501
    (MATRIX + ROW, MATRIX, "your answer has the right shape, but at [0, 2] 11 is not right."),
    (MATRIX + np.inf, MATRIX, "your answer has the right shape, but at [0, 0] inf is not right."),
    (MATRIX + 1e-4 * ROW, MATRIX, "your answer has the right shape, but at [0, 2] 2.001 is not right."),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected", "fault"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(answer, expected, fault, capsys):
    assert told(capsys, answer, expected) == f"Not yet: {fault}"


BLANKS = {"value": ..., "list": [1, ...], "dict": {"a": ...}}
BLANKS |= {"function": lambda x: x @ ..., "class": Unfinished}


@pytest.mark.parametrize("blank", BLANKS.values(), ids=BLANKS)
def test_a_blank_is_not_an_answer(blank, capsys):
    assert "fill in the blanks" in told(capsys, blank, 3)


def test_an_ellipsis_that_indexes_is_no_blank(capsys):
    def in_place(x):
        x[...] = x[...] + 2
        x[...] -= 1
        return x

    assert told(capsys, in_place, np.array([1, 2]), np.array([0, 1])) == "Right."


def test_a_function_is_called_with_the_arguments(capsys):
    arguments = MATRIX, MATRIX.T
    assert told(capsys, lambda a, b: (b.T @ a.T).T, product, *arguments) == "Right."
    assert told(capsys, lambda a, b: a @ b, MATRIX @ MATRIX.T, *arguments) == "Right."
    assert "(3, 3), and it should be (2, 2)" in told(
        capsys, lambda a, b: b @ a, product, *arguments
    )
    assert "raises ValueError: matmul" in told(capsys, lambda a, b: a @ a, product, *arguments)


def test_a_class_is_used_as_the_exercise_says(capsys):
    assert told(capsys, Twice, 6, 3, through=through) == "Right."
    assert "is 6, which" in told(capsys, Twice, 7, 3, through=through)


def test_a_known_mistake_is_explained(capsys):
    why = {MatmulEpilog.RELU: "RELU adds no bias.", (1, 2): "That is its transpose."}
    assert told(capsys, MatmulEpilog.RELU, MatmulEpilog.RELU_BIAS, why=why).endswith(
        "adds no bias."
    )
    assert told(capsys, (1, 2), (2, 1), why=why) == "Not yet: That is its transpose."
    pairs = [(MATRIX, "No."), (MATRIX.T, "That is its transpose.")]
    assert told(capsys, MATRIX.T, MATRIX.T @ MATRIX, why=pairs) == "Not yet: That is its transpose."
    assert "which is not right" in told(capsys, MatmulEpilog.GELU, MatmulEpilog.RELU_BIAS, why=why)


def test_a_known_mistake_may_be_one_entry_of_several(capsys):
    right, why = {"W": MATRIX, "b": ROW}, [({"W": MATRIX.T}, "It is transposed.")]
    assert told(capsys, {"W": MATRIX.T, "b": ROW}, right, why=why) == "Not yet: It is transposed."
    assert "at [2]" in told(capsys, {"W": MATRIX, "b": 2 * ROW}, right, why=why)


def test_shapes_that_do_not_fit_are_explained(capsys):
    options = {"misfit": "Which factor do you transpose?"}
    fault = told(capsys, lambda a: a @ a, MATRIX, MATRIX, **options)
    assert fault == "Not yet: Which factor do you transpose?"
    assert "raises AttributeError" in told(capsys, lambda a: a.t, MATRIX, MATRIX, **options)


def test_an_exercise_that_is_wrong_itself_does_not_blame_the_reader():
    with pytest.raises(ZeroDivisionError):
        check(1, lambda: 1 / 0)
