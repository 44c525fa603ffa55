"""The command lines of the benchmarks: what they run, what they refuse."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tutorial_lib import backend, results
from tutorial_lib.benchmarks import __main__ as benchmarks
from tutorial_lib.benchmarks import (
    checks,
    counters,
    cpu,
    ladder,
    phases,
    published,
    record,
    sweep,
    table,
    timeline,
)
from tutorial_lib.dataset import DatasetError


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Records go to a folder of their own, with those that are read; a README beside them."""
    for name in ("published_h200", "first_look_h200"):
        (tmp_path / f"{name}.json").write_text((results.RESULTS / f"{name}.json").read_text())
    for module in (results, record):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"{table.BEGIN}\nold\n{table.END}\n{published.BEGIN}\nold\n{table.END}\n")
    for module in (table, published):
        monkeypatch.setattr(module, "README", readme)
    return tmp_path


def refused(main, arguments, capsys):
    """The one sentence with which a command ends that cannot be run."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    usage, _, message = capsys.readouterr().err.partition(": error: ")
    assert usage.startswith("usage: ")
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "arguments are required: .*cpu,published,record,ladder"),
        ("race", "invalid choice: 'race'"),
        ("cpu --repeats 0", "--repeats: '0' is not a whole number of at least 2"),
        ("cpu --repeats 1", "--repeats: '1' is not a whole number of at least 2"),
        ("cpu --hidden 0", "--hidden: '0' is not a whole number of at least 1"),
        ("cpu --widths 30", "unrecognized arguments"),
        ("ladder --widths x", "--widths: 'x' is not a whole number"),
        ("ladder --widths", "--widths: expected at least one"),
        ("peers --widths 30 0", "--widths: '0' is not a whole number of at least 1"),
        ("sweep --widths=-3", "--widths: '-3' is not a whole number of at least 1"),
        ("phases --widths 1.5", "--widths: '1.5' is not a whole number"),
        ("phases --widths 30 513", "at most 512 hidden units, not 513"),
        ("counters --widths 0", "--widths: '0' is not a whole number of at least 1"),
        ("counters --quick", "unrecognized arguments: --quick"),
        ("timeline --widths 30", "unrecognized arguments: --widths 30"),
        ("ladder --only naive nosuch", "no name contains 'nosuch'; .*: published loader, float32;"),
        ("peers --only captured", "no name contains 'captured'; the names are: published loop"),
        ("sweep --only nosuch", "no name contains 'nosuch'; the names are: naive CuPy; published"),
        ("ladder --resume", "nothing to resume: no record 'ladder"),
        ("peers --resume --quick", "nothing to resume: no record 'peers"),
        ("published extra", "unrecognized arguments: extra"),
        ("record --quick", "unrecognized arguments: --quick"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(command, message, capsys):
    assert re.search(message, refused(benchmarks.main, command.split(), capsys))


@pytest.mark.parametrize("module", ["benchmarks", "outputs"])
def test_a_module_hands_on_its_arguments(module):
    command = [sys.executable, "-m", f"tutorial_lib.{module}", "nosuch", "ladder"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "nosuch" in done.stderr.splitlines()[-1]


def test_what_is_not_on_this_machine_is_said(capsys, monkeypatch):
    for module, what in ((phases, "a kernel on a GPU"), (counters, "counters are those of a GPU")):
        monkeypatch.setattr(module, "backend", SimpleNamespace(name="cpu"))
        name = module.__name__.rpartition(".")[2]
        assert what in refused(benchmarks.main, [name], capsys)
    for module in (counters, cpu):
        monkeypatch.setattr(module, "backend", SimpleNamespace(name="gpu"))
    monkeypatch.setenv("PATH", "")
    assert "ncu is not on the PATH" in refused(benchmarks.main, ["counters"], capsys)
    assert "set TUTORIAL_BACKEND=cpu" in refused(benchmarks.main, ["cpu"], capsys)


def test_the_published_run_wants_the_full_data_set(capsys, monkeypatch):
    def damaged():
        raise DatasetError("the file is damaged")

    for find_mnist, message in ((lambda: None, "full MNIST"), (damaged, "the file is damaged")):
        monkeypatch.setattr(published, "find_mnist", find_mnist)
        assert message in refused(benchmarks.main, ["published"], capsys)


@pytest.mark.parametrize(
    ("command", "module", "options"),
    [
        ("cpu", cpu, {"num_hidden": 30, "repeats": 15}),
        ("cpu --hidden 1 --repeats 2", cpu, {"num_hidden": 1, "repeats": 2}),
        ("published", published, {}),
        ("sweep", sweep, {"quick": False, "only": (), "widths": sweep.WIDTHS}),
        (
            "sweep --quick --only a b --widths 1 22",
            sweep,
            {"quick": True, "only": ["a", "b"], "widths": [1, 22]},
        ),
        ("timeline", timeline, {"quick": False}),
        ("phases --quick", phases, {"quick": True, "widths": phases.WIDTHS}),
        ("counters", counters, {"widths": counters.WIDTHS}),
    ],
)
def test_a_command_runs_its_benchmark(command, module, options, monkeypatch):
    called = []
    monkeypatch.setattr(module, "run", lambda **given: called.append(given))
    benchmarks.main(command.split())
    assert called == [options]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["ladder", "peers"])
def test_a_run_that_hangs_goes_on_in_a_new_process(name, resume, monkeypatch):
    called, started = [], []
    monkeypatch.setattr(ladder, "run", lambda *names, **options: called.append((names, options)))
    monkeypatch.setattr("os.execv", lambda program, arguments: started.append(arguments[3:]))
    benchmarks.main([name, *["--resume"] * resume])
    ((names, options),) = called
    options.pop("restart")()
    assert names == (name,)
    assert options == {"resume": resume, "widths": ladder.WIDTHS, "quick": False, "only": ()}
    assert started == [[name, "--resume"]]


def test_the_record_s_table_is_written_anew(folder):
    benchmarks.main(["record"])
    readme = (folder / "README.md").read_text()
    assert table.table(results.ladder()) in readme
    assert readme.count("old") == 1


def test_the_published_run_is_printed_recorded_and_put_into_the_readme(folder, monkeypatch, capsys):
    monkeypatch.setattr(published, "find_mnist", lambda: folder)

    def train(model):
        assert (model.num_inputs, model.num_outputs) == (784, 10)
        return [model.num_hidden + i for i in range(234)]

    monkeypatch.setattr(published, "train", train)
    monkeypatch.setattr(published, "test", lambda model: 9130 / 9984)
    benchmarks.main(["published"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "| batch | published | `MnistNetNaive` | `MnistNet` |",
        "| --: | --: | --: | --: |",
        "| 0 | 0.683328 | 30.000000 | 30.000000 |",
    ]
    theirs = results.load("published_h200")["losses"]["220"]
    assert lines[13:15] == [
        f"| 220 | {theirs:.6f} | 250.000000 | 250.000000 |",
        "| correct | 9131 of 9,984 | 9130 of 9,984 | 9130 of 9,984 |",
    ]
    networks = results.load(f"published_run_{backend.name}")["networks"]
    assert networks["MnistNet"]["correct"] == 9130
    assert networks["MnistNetNaive"]["losses"] == {str(i): 30 + i for i in range(0, 234, 20)}
    readme = (folder / "README.md").read_text()
    expected = "\n".join(lines[:15]) if backend.name == "cpu" else "old"
    assert f"{published.BEGIN}\n{expected}\n{table.END}" in readme
    assert readme.startswith(f"{table.BEGIN}\nold\n")


@pytest.mark.skipif(backend.name == "gpu", reason="for the CPU")
def test_an_epoch_on_the_cpu_beside_bare_numpy(capsys):
    benchmarks.main(["cpu", "--hidden", "8", "--repeats", "2"])
    found = results.load("cpu_epoch")
    assert found["hidden"] == 8
    assert found["worst_loss_difference"] < 1e-5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("One epoch, hidden width 8, ")
    for line, (name, times) in zip(lines[1:], found["times"].items()):
        assert len(times["samples"]) == 2
        assert 1 < min(times["samples"]) <= times["median"] <= max(times["samples"]) < 1e5
        assert line.startswith(f"{name:16} {times['median']:8.1f} ms  (")
    assert lines[1].startswith("bare NumPy loop")
    assert lines[1].endswith("1.00 x bare")


def test_nothing_is_timed_beside_other_losses(monkeypatch, folder):
    monkeypatch.setattr(cpu, "backend", SimpleNamespace(name="cpu"))
    monkeypatch.setattr(cpu, "bare_epoch", lambda num_hidden: [0.5] * 20)
    losses = {"MnistNetNaive": 0.5, "MnistNet": 0.5 + 2e-5}
    monkeypatch.setattr(cpu, "network_epoch", lambda net, width: [losses[net.__name__]] * 20)
    with pytest.raises(checks.Refused, match="first ten losses differ by up to 2"):
        cpu.run(num_hidden=64, repeats=2)
    assert not (folder / "cpu_epoch.json").exists()


def test_the_records_that_there_are(folder):
    assert results.ladder()["date"] == results.load("first_look_h200")["date"]
    (folder / "ladder.json").write_text('{"whole": true}')
    assert results.ladder() == {"whole": True}
    with pytest.raises(FileNotFoundError, match=r"no record 'x'; there are: \['first_look_h200', "):
        results.load("x")
