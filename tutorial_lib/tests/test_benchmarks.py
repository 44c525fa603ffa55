"""The benchmarks: nobody is timed unchecked, nobody ends the run of all, nothing is dropped."""

import re
from argparse import Namespace
from contextlib import nullcontext

import numpy as np
import pytest

from tutorial_lib import MnistNet, MnistNetNaive, backend, results
from tutorial_lib.benchmarks import __main__ as command_line
from tutorial_lib.benchmarks import contest, fusion, ladder, profiler, readme, timeline, turns
from tutorial_lib.benchmarks.contest import BFLOAT16, FLOAT16, FLOAT32, HALF, TF32, Problem
from tutorial_lib.benchmarks.elementwise import C, arguments, forms, outcome
from tutorial_lib.benchmarks.field import Entrant
from tutorial_lib.benchmarks.torch_peer import peer
from tutorial_lib.dataset import normalized
from tutorial_lib.functions import binary_cross_entropy, sigmoid
from tutorial_lib.tests.imports import without

READ = ("published_h200",)
SMALL = {"hidden": 8, "steps": 12, "repeats": 2}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Records go to a folder of their own, with those that are read; a README beside them."""
    for name in READ:
        (tmp_path / f"{name}.json").write_text((results.RESULTS / f"{name}.json").read_text())
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    blocks = (f"{begin}\nold\n{readme.END}\n" for begin in (readme.BEGIN, readme.PUBLISHED))
    readme.README.write_text("".join(blocks))
    return tmp_path


def row_of(script, arithmetic=FLOAT32, **options):
    """The row of a contestant after its first turn."""
    contestant = turns.Contestant(Entrant("x", "peer", script, arithmetic), **options)
    for _ in range(3):
        contestant.go_on(60)
    contestant.end()
    return contestant.row


@pytest.mark.parametrize(
    ("fault", "what", "reason"),
    [
        ("import", "absent", "ModuleNotFoundError: No module named 'no_such_framework'"),
        ("crash", "failed", "status -6: .*"),
        ("quit", "failed", "status 1: the driver is gone"),
        ("silent", "failed", "status 0: .*"),
        ("crash later", "failed", "status -6: .*"),
        ("later", "failed", "RuntimeError: launch failed"),
        ("tf32", "failed", "ValueError: first ten losses differ by up to .*, more than 5e-06"),
        ("nan", "failed", "ValueError: first ten losses differ by up to nan, more than 5e-06"),
        ("short", "failed", r"ValueError: returns losses of shape \(11,\), not \(12,\)"),
        ("frozen", "failed", "ValueError: no longer learns after 2 epochs"),
    ],
)
def test_every_fault_ends_as_a_row_with_its_reason(fault, what, reason, monkeypatch):
    monkeypatch.setattr(turns, "__package__", "tutorial_lib.tests")
    row = row_of(f"faulty --fault {fault.replace(' ', '_')}", **SMALL)
    assert list(row) == [what]
    assert re.fullmatch(reason, row[what])


def test_a_field_is_built_side_by_side_and_timed_in_two_rounds_and_the_rest_runs_on(
    capsys, monkeypatch
):
    monkeypatch.setattr(turns, "__package__", "tutorial_lib.tests")
    monkeypatch.setattr(turns, "BUILD", 30)
    monkeypatch.setattr(turns, "TURN", 2)
    field = [
        Entrant("good", "rung", "faulty --repeats 2"),
        Entrant("bad", "peer", "faulty --fault crash"),
        Entrant("late", "peer", "faulty --fault hang_later"),
        Entrant("tuned", "peer", "faulty", alone=True),
        Entrant("narrow", "rung", "faulty", widest=7),
        Entrant("wide", "rung", "faulty", narrowest=9),
    ]
    ladder.run(field=field, widths=[8], steps=12)
    record = results.load("ladder_cpu" if backend.name == "cpu" else "ladder_part")
    rows = {c["name"]: c["widths"].get("8", {}) for c in record["contestants"]}
    assert (len(rows["good"]["wall"]["samples"]), len(rows["tuned"]["wall"]["samples"])) == (4, 16)
    assert (rows["late"], rows["narrow"]) == ({"failed": "took more than 2 s"}, {})
    assert ("state" in rows["good"], rows["wide"]) == (True, {})
    said = re.findall(r"^    8 (\w+), float32: (\w+)", capsys.readouterr().out, re.M)
    built = [("good", "checked"), ("bad", "status"), ("late", "checked")]
    assert sorted(said[:7]) == sorted([*built, *zip(("good", "bad", "late", "tuned"), ["set"] * 4)])
    assert [who for who, _ in said[7:]] == ["tuned", "good", "late", "tuned", "tuned", "good"]


# The first ten losses tell the arithmetic; later, where units cross zero, wide networks may differ.
BOUNDS = [(width, FLOAT32, batch, 5e-6) for width in (30, 64) for batch in (0, 9)]
BOUNDS += [(width, TF32, batch, 1e-3) for width in (30, 64) for batch in (0, 10)]
BOUNDS += [(64, FLOAT16, 9, 2e-4), (64, FLOAT16, 10, 5e-4), (30, FLOAT16, 10, 2e-3)]
BOUNDS += [(64, BFLOAT16, 9, 1e-3), (64, BFLOAT16, 10, 1e-3), (30, BFLOAT16, 10, 2e-2)]
BOUNDS += [(64, FLOAT32, 10, 1e-4), (64, FLOAT32, 233, 1e-4), (30, FLOAT32, 10, 1e-5)]


@pytest.mark.parametrize(("width", "arithmetic", "batch", "bound"), BOUNDS)
def test_one_loss_off_by_more_than_its_bound_is_refused(width, arithmetic, batch, bound):
    problem, expected = Namespace(hidden=width, arithmetic=arithmetic), np.linspace(0.5, 0.1, 234)
    off = bound * (np.arange(234) == batch)
    off[0] += 6e-6 * (arithmetic in HALF)  # without it, one has computed in float32
    found = contest.check(problem, expected, expected - 0.98 * off)
    assert found["losses"] == pytest.approx(0.98 * bound, rel=1e-2)
    with pytest.raises(ValueError, match="losses differ by up to"):
        contest.check(problem, expected, expected + 1.02 * off)


@pytest.mark.parametrize("arithmetic", HALF)
def test_what_computes_in_float32_is_not_timed_as_half_precision(arithmetic):
    losses = np.linspace(0.5, 0.1, 20)
    with pytest.raises(ValueError, match=f"are those of float32, not {arithmetic}"):
        contest.check(Namespace(hidden=64, arithmetic=arithmetic), losses, losses + 4e-6)


@pytest.mark.usefixtures("full_mnist")
@pytest.mark.parametrize(
    ("arithmetic", "off", "refused"),
    [(FLOAT32, 2, False), (FLOAT32, -3, True), (TF32, 10, False), (TF32, 11, True)],
)
def test_a_network_recognizes_as_many_images_as_published(arithmetic, off, refused, monkeypatch):
    problem = Problem(30, FLOAT32, 256, None)
    problem.arithmetic, problem.model = arithmetic, MnistNetNaive(784, 30, 10)
    monkeypatch.setattr(contest, "test", lambda model: (9131 + off) / 9984)
    with pytest.raises(ValueError, match=f"by {abs(off)} from") if refused else nullcontext():
        contest.check_network(problem, lambda: problem.train(problem.model), np.zeros(234))


@pytest.mark.parametrize("off", [None, "losses", "bias_output"])
def test_whether_a_network_repeats_is_seen_in_losses_and_weights(off):
    problem, runs = Problem(8, FLOAT32, 64, 12), []
    model = problem.model = MnistNetNaive(784, 8, 10)

    def epoch():
        runs.append(problem.train(model))
        if len(runs) == 2 and off:
            last = runs[1] if off == "losses" else model.bias_output
            last[3] += 1e-6
        return runs[-1]

    found = contest.check_network(problem, epoch, contest.fetch(epoch()))
    assert found["repeats"] == (off is None)


@pytest.mark.parametrize("script", ["rung --network captured", "rung", "torch_peer"])
def test_contestants_agree_with_the_plain_network(script):
    row = row_of(script, hidden=30, batch=64, steps=12, repeats=2)
    assert row["check"]["losses"] < 1e-6, row
    assert len(row["wall"]["samples"]) == 2
    assert row["wall"]["median"] >= row["host"]["median"] > 0
    assert (row["gpu"] is None) == (backend.name == "cpu")


@pytest.mark.parametrize(("arithmetic", "bound"), [(FLOAT16, 1e-3), (BFLOAT16, 5e-3)])
def test_a_network_in_half_precision_competes_with_its_losses_and_accuracy(arithmetic, bound):
    script = "rung --network half --plans OwnEpilogPlans"
    row = row_of(script, hidden=30, arithmetic=arithmetic, steps=24, repeats=2)
    assert row["check"]["losses"] < bound, row
    assert len(row["losses"]) == 1 + (len(normalized(True)[0]) > 20 * 256)
    assert 0.3 < row["accuracy"] < 1


@pytest.mark.parametrize("arithmetic", [FLOAT32, *HALF])
@pytest.mark.parametrize("form", ["graph", "activation", "compiled"])
def test_the_steps_that_are_captured_on_a_gpu_compute_the_same(form, arithmetic, monkeypatch):
    """Without the capture, and without the compiler."""
    monkeypatch.setattr("torch.compile", lambda function, **options: function)
    monkeypatch.setattr(f"{peer.__module__}.captured", lambda epoch, weights: (epoch, weights))
    problem, naive = Problem(30, arithmetic, 64, 12), MnistNetNaive(784, 30, 10)
    epoch, weights = peer(problem, Namespace(form=form))
    expected, losses = contest.fetch(problem.train(naive)), contest.fetch(epoch())
    contest.check(problem, expected, losses)
    atol = 1e-6 if arithmetic == FLOAT32 else 6e-3  # a unit may cross zero
    for ours, theirs in [(losses, expected), *zip(weights, naive.parameters)]:
        assert abs(contest.fetch(ours) - contest.fetch(theirs)).max() < atol
    with pytest.raises(contest.Absent, match="written for float32 and TF32"):
        peer(Problem(30, BFLOAT16, 64, 12), Namespace(form="eager"))


ABSENT = {
    "torch_peer --form graph": "a CUDA graph needs a GPU",
    "jax_peer": "No module named 'jax'",
    "rung --arithmetic tf32": "TF32 needs a GPU",
}


@pytest.mark.skipif(backend.name == "gpu", reason="for the CPU")
@pytest.mark.parametrize("script", ABSENT)
def test_what_cannot_be_had_here_is_absent(script, monkeypatch):
    for name, value in without("jax").items():
        monkeypatch.setenv(name, value)
    assert ABSENT[script] in row_of(script, **SMALL)["absent"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "arguments are required"),
        ("race", "invalid choice: 'race'"),
        ("ladder --widths x", "--widths: invalid int value: 'x'"),
        ("ladder --only nobody", "no name contains any of .'nobody'.: published loader; publi"),
        ("phases", "those of a kernel on a GPU"),
        ("counters", "ncu counts on a GPU, and here is none"),
        ("matmuls", "the matmuls are timed on a GPU"),
        ("timeline", "kernels are traced on a GPU"),
        ("kernels", "kernels are counted on a GPU, and here is none"),
        ("elementwise", "the operations are timed on a GPU, and here is none"),
        ("fusion --quick", "fusion is timed on a GPU, and here is none"),
        ("kernels --widths 30", "unrecognized arguments: --widths 30"),
        ("fusion --only RELU_BIAS", "unrecognized arguments: --only RELU_BIAS"),
        ("published", "needs the full MNIST data set"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(command, message, capsys, monkeypatch):
    for measuring in (contest, fusion, profiler):
        monkeypatch.setattr(measuring, "backend", Namespace(name="cpu"))
    monkeypatch.setattr(readme, "find_mnist", lambda: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit):
        command_line.main(command.split())
    said = capsys.readouterr().err
    assert re.fullmatch(rf"usage: [^:]+: error: .*{message}.*\n", said), said


@pytest.mark.parametrize(
    ("on", "command", "written"),
    [
        ("gpu", "ladder", ["ladder", "ladder_part"]),
        ("gpu", "ladder --quick", ["ladder_quick"]),
        ("gpu", "ladder --widths 30", ["ladder_part"]),
        ("gpu", "ladder --only naive", ["ladder_part"]),
        ("cpu", "ladder", ["ladder_cpu"]),
    ],
)
def test_the_readme_is_written_by_a_whole_ladder_on_a_gpu_alone(
    on, command, written, folder, monkeypatch
):
    row = {"gpu": None, "check": {}} | dict.fromkeys(("host", "wall"), results.summary([1.25]))

    def race(entrants, rounds, **options):
        return (Namespace(entrant=entrant, row=row) for entrant in entrants)

    monkeypatch.setattr(ladder, "race", race)
    monkeypatch.setattr(ladder, "backend", Namespace(name=on))
    command_line.main(command.split())
    assert sorted(path.stem for path in folder.glob("*.json")) == sorted([*READ, *written])
    text = readme.README.read_text()
    in_readme = "| naive CuPy | **1.25** | **1.25** | **1.25** |\n" in text
    assert in_readme == ("ladder" in written)
    assert text.count("old") == 2 - in_readme


@pytest.mark.usefixtures("full_mnist")
def test_the_published_run_is_recorded_and_put_into_the_readme(capsys):
    command_line.main(["published"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| 0 | 0.683328 | 0.683328 | 0.683328 |"
    assert lines[-1] == "| correct | 9,131 of 9,984 | 9,131 of 9,984 | 9,131 of 9,984 |"
    assert list(results.load(f"published_run_{backend.name}")["networks"])[1] == "MnistNet"
    in_readme = "\n".join([readme.PUBLISHED, *lines, readme.END]) in readme.README.read_text()
    assert in_readme == (backend.name == "cpu")


@pytest.mark.parametrize("network", [MnistNetNaive, MnistNet])
def test_the_timeline_of_a_step_is_that_of_the_network_s_own_code(network):
    images, labels = (x[:5] for x in normalized(True))
    found = timeline.profile(network, images, labels, repeats=3)
    assert found["host_total"] == pytest.approx(sum(s["host_us"] for s in found["statements"]))
    operations = [statement["operation"] for statement in found["statements"]]
    assert operations[0] == "predictions = self.forward(x)"
    assert operations[-1].startswith("for parameter, gradient in zip(")
    assert "return sigmoid(before_sigmoid.T)" in operations
    assert ("RELU_AUX_BIAS" in str(operations)) == (network is MnistNet)


@pytest.mark.parametrize("form", ["plain", "fuse"] + ["kernel"] * (backend.name == "gpu"))
def test_each_form_of_an_operation_computes_what_the_plain_network_does(form):
    (z, t, n), (p, u, _), (d, rate, w), (x, b) = given = [*arguments(8, 5).values()]
    x[0] = -b[0]  # a sum of 0, where the mask is open
    expected = [(sigmoid(z), (sigmoid(z) - t) / n), [binary_cross_entropy(p, u)], [w - rate * d]]
    expected.append((backend.xp.maximum(x + b, 0), x + b >= 0))
    for function, takes, wanted in zip(C, given, expected):
        for ours, theirs in zip(outcome(forms(function)[form], takes), wanted, strict=True):
            np.testing.assert_allclose(ours, backend.to_numpy(theirs), rtol=1e-5, atol=1e-6)
