"""The reference against a GPU, where there is one; the harness against the reference, anywhere."""

import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest

from tutorial_lib import results
from tutorial_lib.reference import matmul as reference
from tutorial_lib.reference.epilogs import MatmulEpilog
from tutorial_lib.tests.gpu import candidates, conformance, questions, training_runs
from tutorial_lib.tests.gpu.__main__ import COMPARISONS

# Losses of float32 runs that sum in other orders: equal in the seventh digit until a value near 0
# falls on another side of a ReLU, which in three epochs happens to wide networks only.
LOSS_BOUND = {30: 1e-6, 64: 1e-6, 257: 5e-4, 1024: 5e-4}


@pytest.fixture(scope="module", params=["the record", pytest.param("a GPU", marks=pytest.mark.gpu)])
def compared(request):
    """What a GPU was found to compute: as recorded, and measured now where there is a GPU."""
    if request.param == "the record":
        return results.load("conformance")
    parts = "matmul", "rounding", "questions", "candidates", "random", "device_memory_bytes"
    return {part: COMPARISONS[part]() for part in parts}


def test_every_matmul_agrees_with_cublaslt(compared):
    matmuls = compared["matmul"]
    assert matmuls["cases"] == len(conformance.cases())
    assert not matmuls["disagreements"]
    counts = matmuls["per_epilog"]
    assert set(counts) == {"none", *(epilog.name for epilog in MatmulEpilog)}
    for name in ("float16 512 RELU_AUX_BIAS", "bfloat16 8192 RELU_AUX_BIAS"):
        assert compared["rounding"][name] > 0.99
    assert {name for name, count in counts.items() if not count["computed"]} == {"DEFAULT"}


def test_every_candidate_algorithm_agrees(compared):
    found = compared["candidates"]
    assert set(found) == {f"{m} {w}" for m in candidates.MATMULS for w in candidates.WIDTHS}
    for by_arithmetic in found.values():
        assert set(by_arithmetic) == set(candidates.ARITHMETICS)
        assert all(one["candidates"] == one["agree"] > 0 for one in by_arithmetic.values())


def test_the_random_stream_agrees_and_device_memory_does_not_grow(compared):
    assert compared["random"]["different"] == 0
    assert len(set(compared["device_memory_bytes"])) == 1


def test_every_question_is_answered_alike(compared):
    """Where nvmath reads other memory, the reference refuses, or reads it, too: unchecked."""
    answers = compared["questions"]["answers"]
    assert not compared["questions"]["disagreements"]
    assert set(answers) == set(questions.QUESTIONS)
    for name in questions.MISUSES:  # which a page shows
        assert not re.search("/|0x", answers[name])
    for name in set(questions.QUESTIONS) - questions.OPEN:
        ours = questions.answer(name, reference, np).verdict
        if ours == "ModuleNotFoundError":
            continue  # an Intel Mac has no torch
        theirs = answers[name].partition(":")[0]
        if name in questions.STRICTER:
            theirs = "cuBLASLtError"
        elif theirs == questions.OTHER and not name.startswith("unchecked: "):
            theirs = "cuBLASLtError" if name.startswith("planned") else "ValueError"
        assert ours == theirs, name


def test_the_recorded_training_runs_agree():
    compared = results.load("conformance")["training"]
    assert len(compared) == len(training_runs.NETWORKS) * len(training_runs.WIDTHS)
    for name, run in compared.items():
        assert run["worst_loss_difference"] < LOSS_BOUND[int(name.split()[1])]
        assert abs(run["correct_cpu"] - run["correct_gpu"]) <= 3


SPOILED = {"hidden": "relu_aux", "grad_relu": "drelu_bgrad", "update hidden": "result"}
SPOILED |= {"update output and bias": "bgradb"}


def copy(x):
    return np.lib.stride_tricks.as_strided(x.copy(order="K"), x.shape, x.strides)


def library(changed):
    """A library whose Matmul is `changed`, a class."""
    return SimpleNamespace(Matmul=changed, MatmulEpilog=MatmulEpilog, matmul=reference.matmul)


def test_the_reference_agrees_with_itself():
    some = [case for i, case in enumerate(conformance.cases()) if i % 67 == 0]
    assert len({case.epilog for case in some}) == len(conformance.EPILOGS)
    for case in some:
        ours, theirs = (conformance.run(reference, case, how) for how in (lambda x: x, copy))
        assert conformance.differences(case, ours, theirs)[0] == []
    assert {*conformance.rounding(reference, copy, [30]).values()} == {1}
    assert not questions.ask_all(reference, np)["disagreements"]
    for by_arithmetic in candidates.count_all(reference, np, [30]).values():
        assert list(by_arithmetic.values()) == [{"candidates": 1, "agree": 1, "repeat": 1}] * 2


@pytest.mark.parametrize(
    ("epilog", "finding", "spoil"),
    [
        ("RELU", "values deviate", lambda out: out["result"].__setitem__((3, 3), 7.5)),
        ("RELU_AUX", "bits differ", lambda out: out["relu_aux"].__setitem__((0, 0), 255)),
        ("BIAS", "layouts", lambda out: out.update(result=out["result"].copy(order="C"))),
        ("BGRADB", "library ['result']", lambda out: out.pop("bgradb")),
        ("DGELU", "values deviate", lambda out: out.update(result=out["result"] * 1.01)),
    ],
)
def test_the_harness_finds_a_spoiled_result_and_another_exception(epilog, finding, spoil):
    case = conformance.Case(MatmulEpilog[epilog], (17, 33, 9), ("F", "C"), "float32", "none")
    ours, theirs = conformance.run(reference, case, copy), conformance.run(reference, case, copy)
    spoil(theirs)
    (found,) = conformance.differences(case, ours, theirs)[0]
    assert finding in found
    others = [ValueError("in other words"), RuntimeError("why"), theirs]
    found = [bool(conformance.differences(case, ValueError("why"), x)[0]) for x in others]
    assert found == [False, True, True]


def test_the_questions_find_a_library_that_answers_otherwise():
    class Careless(reference.Matmul):
        def execute(self, **arguments):
            d = super().execute()
            return d if isinstance(d, tuple) else d * 2

    found = questions.ask_all(library(Careless), np)
    assert found["answers"]["a is a list"].startswith("ValueError: operand a must be")
    differ = found["disagreements"]
    assert differ["a is reset before the plan"] == "reference: right values, library: other values"
    assert differ["unchecked: bias reversed"] == "reference: other values, library: other values"
    assert differ["the algorithm is a text"] == "reference: ValueError, library: accepted"
    assert differ.keys().isdisjoint({"a is a list", *questions.OPEN})


@pytest.mark.parametrize(("matmul", "output"), SPOILED.items())
def test_a_candidate_that_is_wrong_or_does_not_repeat_is_found(matmul, output):
    numbers = itertools.count(1)

    class Spoiled(reference.Matmul):
        def plan(self, **arguments):
            super().plan(**arguments)
            self.algorithms = tuple(reference.Algorithm() for _ in range(3))
            return self.algorithms

        def execute(self, *, algorithm):
            result = super().execute(algorithm=algorithm)
            x, rank = conformance.named(result)[output], self.algorithms.index(algorithm)
            x[0] += (0, 1, next(numbers))[rank]  # right, wrong in the same way, and in another
            return result

    wrong = {"wrong": ["1: algorithm ", "2: algorithm "]}
    for arithmetic in candidates.ARITHMETICS:
        found = candidates.count(library(Spoiled), np, matmul, 30, arithmetic)
        assert found == {"candidates": 3, "agree": 1, "repeat": 2} | wrong
