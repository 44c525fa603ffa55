"""The benchmarks: nobody is timed unchecked, nobody ends the run of all, nothing is dropped."""

import argparse
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tutorial_lib import MnistNet, MnistNetNaive, backend, results
from tutorial_lib.benchmarks import __main__ as command_line
from tutorial_lib.benchmarks import (
    contest,
    counters,
    ladder,
    phases,
    published,
    readme,
    sweep,
    timeline,
    torch_peer,
)
from tutorial_lib.benchmarks.contest import FLOAT32, TF32, Mismatch, Problem
from tutorial_lib.benchmarks.ladder import Entrant, row_of, time_field
from tutorial_lib.dataset import normalized
from tutorial_lib.tests.imports import without

SMALL = {"hidden": 8, "steps": 12, "repeats": 2}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Records go to a folder of their own, with those that are read; a README beside them."""
    for name in ("published_h200", "first_look_h200"):
        (tmp_path / f"{name}.json").write_text((results.RESULTS / f"{name}.json").read_text())
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    text = f"{readme.BEGIN}\nold\n{readme.END}\n{published.BEGIN}\nold\n{readme.END}\n"
    (tmp_path / "README.md").write_text(text)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    return tmp_path


@pytest.fixture
def faults(monkeypatch):
    """The scripts that are run are those of the tests."""
    monkeypatch.setattr(ladder, "__package__", "tutorial_lib.tests")


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize(
    ("fault", "what", "reason"),
    [
        ("import", "absent", "ModuleNotFoundError: No module named 'no_such_framework'"),
        ("crash", "failed", "ended by SIGABRT"),
        ("quit", "failed", "the driver is gone"),
        ("silent", "failed", "printed no row but ''"),
        ("later", "failed", "RuntimeError: launch failed"),
        ("rate", "failed", "Mismatch: first ten losses differ by up to .*, more than 5e-06"),
        ("tf32", "failed", "Mismatch: first ten losses differ by up to .*, more than 5e-06"),
        ("nan", "failed", "Mismatch: first ten losses differ by up to nan, more than 5e-06"),
        ("short", "failed", r"Mismatch: returns losses of shape \(11,\), not \(12,\)"),
        ("frozen", "failed", "Mismatch: no longer learns after 2 epochs"),
    ],
)
def test_every_fault_ends_as_a_row_with_its_reason(fault, what, reason):
    row = row_of(f"faulty --fault {fault}", **SMALL)
    assert list(row) == [what]
    assert re.fullmatch(reason, row[what])


@pytest.mark.usefixtures("faults")
def test_one_that_hangs_is_ended():
    assert row_of("faulty --fault hang", limit=2, **SMALL) == {"failed": "took more than 2 s"}


@pytest.mark.usefixtures("faults", "full_mnist")
def test_the_published_epoch_has_to_learn_what_was_published():
    assert row_of("faulty", repeats=1)["check"]["correct"] == 9131
    row = row_of("faulty --fault unwritten", repeats=1)
    assert re.search(r"gets \d+ test images right, not 9131 ± 2", row["failed"])


@pytest.mark.usefixtures("faults")
def test_a_field_is_timed_in_two_rounds_and_the_rest_runs_on(capsys):
    field = [
        Entrant("good", "rung", "faulty --steps 12"),
        Entrant("bad", "peer", "faulty --steps 12 --fault crash"),
        Entrant("narrow", "rung", "faulty --steps 12", widest=7),
    ]
    record = time_field("some", field, [8], repeats=2)
    assert results.load("some") == record
    good, bad, narrow = (contestant["widths"] for contestant in record["contestants"])
    assert len(good["8"]["wall"]["samples"]) == 4
    assert good["8"]["check"]["losses"] == 0
    assert (bad, narrow) == ({"8": {"failed": "ended by SIGABRT"}}, {})
    printed = capsys.readouterr().out
    assert re.findall(r"^    8 (\w+), float32: ", printed, re.M) == ["good", "bad", "good"]
    assert "| bad | failed | – |" in printed


def check(width, arithmetic, losses, expected, *, is_published=False):
    problem = SimpleNamespace(hidden=width, arithmetic=arithmetic, is_published=is_published)
    return contest.check(problem, expected, losses, MnistNetNaive(784, width, 10).parameters)


@pytest.mark.parametrize(
    ("width", "arithmetic", "batch", "bound"),
    [
        # The first ten tell the arithmetic; 0 and 9 are the first and the last of them.
        *((width, FLOAT32, batch, 5e-6) for width in (30, 64) for batch in (0, 9)),
        *((width, TF32, batch, 1e-3) for width in (30, 64) for batch in (0, 10)),
        # From the eleventh on, where units cross zero, wide networks may differ more.
        *((64, FLOAT32, batch, 1e-4) for batch in (10, 233)),
        (30, FLOAT32, 10, 1e-5),
    ],
)
def test_one_loss_off_by_more_than_its_bound_is_refused(width, arithmetic, batch, bound):
    expected = np.linspace(0.5, 0.1, 234)
    losses = expected.copy()
    losses[batch] -= 0.98 * bound
    found = check(width, arithmetic, losses, expected)
    assert found["losses"] == pytest.approx(0.98 * bound, rel=1e-2)
    losses[batch] = expected[batch] + 1.02 * bound
    with pytest.raises(Mismatch, match="losses differ by up to"):
        check(width, arithmetic, losses, expected)


@pytest.mark.parametrize(("arithmetic", "off"), [(FLOAT32, 2), (TF32, 10)])
def test_the_published_losses_and_answers_are_met(arithmetic, off, monkeypatch):
    losses = np.full(234, 0.1)
    for batch, loss in results.load("published_h200")["losses"].items():
        losses[int(batch)] = loss
    given = 30, arithmetic, losses, losses
    for correct in (9131 - off, 9131 + off):
        monkeypatch.setattr(contest, "test", lambda model, n=correct: n / 9984)
        assert check(*given, is_published=True)["correct"] == correct
    monkeypatch.setattr(contest, "test", lambda model: (9131 + off + 1) / 9984)
    with pytest.raises(Mismatch, match=f" right, not 9131 ± {off}$"):
        check(*given, is_published=True)
    losses[220] += 1.1 * contest.NARROW[arithmetic]
    with pytest.raises(Mismatch, match="published losses differ"):
        check(*given, is_published=True)


@pytest.mark.usefixtures("full_mnist")
def test_only_the_whole_epoch_at_width_30_is_the_published_problem():
    assert Problem(30, FLOAT32).is_published
    assert not Problem(31, FLOAT32).is_published
    assert not Problem(30, FLOAT32, steps=233).is_published


@pytest.mark.parametrize("script", ["rung --network merged", "numpy_loop", "torch_peer"])
def test_contestants_agree_with_the_plain_network(script):
    row = row_of(script, hidden=30, batch=64, steps=12, repeats=2)
    assert row["check"]["losses"] < 1e-6, row
    assert len(row["wall"]["samples"]) == 2
    assert row["wall"]["median"] >= row["host"]["median"] > 0
    assert (row["gpu"] is None) == (backend.name == "cpu")


@pytest.mark.parametrize("form", ["graph", "compiled"])
def test_the_steps_that_are_captured_on_a_gpu_compute_the_same(form, monkeypatch):
    """Without the capture, and without the compiler."""
    monkeypatch.setattr("torch.compile", lambda function, **options: function)
    monkeypatch.setattr(torch_peer, "captured", lambda epoch, weights: epoch)
    problem, naive = Problem(30, FLOAT32, 64, 12), MnistNetNaive(784, 30, 10)
    epoch, parameters = torch_peer.peer(problem, argparse.Namespace(form=form))
    pairs = [(epoch(), problem.train(naive)), *zip(parameters(), naive.parameters)]
    for ours, theirs in pairs:
        assert abs(contest.fetch(ours) - contest.fetch(theirs)).max() < 1e-6


@pytest.mark.skipif(backend.name == "gpu", reason="for the CPU")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("torch_peer --form graph", "a CUDA graph needs a GPU"),
        ("jax_peer", "No module named 'jax'"),
        ("rung --arithmetic tf32", "TF32 needs a GPU"),
    ],
)
def test_what_cannot_be_had_here_is_absent(script, reason, monkeypatch):
    for name, value in without("jax").items():
        monkeypatch.setenv(name, value)
    assert reason in row_of(script, **SMALL)["absent"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "arguments are required"),
        ("race", "invalid choice: 'race'"),
        ("cpu --repeats 0", "--repeats: '0' is not a whole number of at least 1"),
        ("cpu --widths 30", "unrecognized arguments"),
        ("ladder --widths x", "--widths: 'x' is not a whole number"),
        ("ladder --only naive nosuch", "no name contains 'nosuch'; .*: published loader, float32;"),
        ("peers --only captured", "no name contains 'captured'; the names are: published loop"),
        ("sweep --only nosuch", "no name contains 'nosuch'; the names are: published loop"),
        ("phases", "those of a kernel on a GPU"),
        ("counters", "ncu is not on the PATH"),
        ("published", "needs the full MNIST data set"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(command, message, capsys, monkeypatch):
    monkeypatch.setattr(phases, "backend", SimpleNamespace(name="cpu"))
    monkeypatch.setattr(published, "find_mnist", lambda: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as exit_:
        command_line.main(command.split())
    assert exit_.value.code == 2
    usage, _, said = capsys.readouterr().err.partition(": error: ")
    assert usage.startswith("usage: ")
    assert re.search(message, said)
    assert said.count("\n") == 1


def test_the_module_is_a_command_with_help():
    command = [sys.executable, "-m", "tutorial_lib.benchmarks", "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^    (\w+)  ", printed, re.M)
    names = "cpu, published, record, ladder, peers, sweep, timeline, phases, counters"
    assert listed == names.split(", ")


@pytest.mark.parametrize(
    ("on", "command", "written"),
    [
        ("gpu", "ladder", {"ladder_part", "ladder"}),
        ("gpu", "ladder --quick", {"ladder_quick"}),
        ("gpu", "ladder --widths 30", {"ladder_part"}),
        ("gpu", "ladder --only naive", {"ladder_part"}),
        ("gpu", "peers", {"peers_part", "peers"}),
        ("cpu", "ladder", {"ladder_cpu"}),
    ],
)
def test_the_readme_is_written_by_a_whole_ladder_on_a_gpu_alone(
    on, command, written, folder, monkeypatch
):
    row = {"gpu": None, "check": {}} | dict.fromkeys(("host", "wall"), results.summary([1.25]))
    monkeypatch.setattr(ladder, "row_of", lambda script, **options: dict(row))
    monkeypatch.setattr(ladder, "backend", SimpleNamespace(name=on))
    before = {path.stem for path in folder.glob("*.json")}
    command_line.main(command.split())
    assert {path.stem for path in folder.glob("*.json")} - before == written
    text = (folder / "README.md").read_text()
    in_readme = "| naive CuPy | **1.25** | **1.25** | **1.25** | – | – | – |" in text
    assert in_readme == ("ladder" in written)
    assert text.count("old") == 2 - in_readme


@pytest.mark.skipif(backend.name == "gpu", reason="for the CPU")
def test_an_epoch_on_the_cpu_beside_bare_numpy():
    command_line.main(["cpu", "--hidden", "8", "--repeats", "1"])
    for contestant in results.load("cpu_epoch")["contestants"]:
        assert len(contestant["widths"]["8"]["wall"]["samples"]) == 2, contestant


@pytest.mark.usefixtures("full_mnist")
def test_the_published_run_is_recorded_and_put_into_the_readme(folder, capsys):
    command_line.main(["published"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| 0 | 0.683328 | 0.683328 | 0.683328 |"
    assert lines[-1] == "| correct | 9131 of 9,984 | 9131 of 9,984 | 9131 of 9,984 |"
    assert list(results.load(f"published_run_{backend.name}")["networks"])[1] == "MnistNet"
    in_readme = "\n".join([published.BEGIN, *lines, readme.END]) in readme.README.read_text()
    assert in_readme == (backend.name == "cpu")


def test_the_sweep_has_a_row_for_each_case(monkeypatch):
    monkeypatch.setattr(sweep, "BATCHES", (64,))
    command_line.main(["sweep", "--quick", "--widths", "8", "--only", "naive", "loop"])
    cases = results.load("sweep_cpu" if backend.name == "cpu" else "sweep_part")["cases"]
    assert [case["network"] for case in cases] == ["published loop", "naive CuPy"]
    for case in cases:
        assert (case["width"], case["batch"], len(case["wall"]["samples"])) == (8, 64, 5), case


@pytest.mark.parametrize("network", [MnistNetNaive, MnistNet])
def test_the_timeline_of_a_step_is_that_of_the_network_s_own_code(network):
    images, labels = (x[:5] for x in normalized(True))
    found = timeline.profile(network, images, labels, repeats=3)
    statements = found["statements"]
    assert {statement["part"] for statement in statements} == set(timeline.PARTS)
    assert found["host_total"] == pytest.approx(sum(s["host_us"] for s in statements))
    operations = [statement["operation"] for statement in statements]
    assert "return sigmoid(before_sigmoid.T)" in operations
    assert ("RELU_AUX_BIAS" in str(operations)) == (network is MnistNet)


def test_counters_are_read_from_what_ncu_prints():
    values = ["1,234", "1", "2", "3", "168", "1,040"]
    lines = [["ID", "Kernel Name", *counters.METRICS.values()], ["", "", "ns", *"%%%", "", ""]]
    lines.append(["0", "gemm<float, 4>(Params)", *values])
    printed = "\n".join(json.dumps(line, separators=(",", ":"))[1:-1] for line in lines)
    found = counters.parse(f"==PROF== Connected to process 7\n{printed}")
    assert found == [["gemm<float, 4>", *values]]
