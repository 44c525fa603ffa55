"""The benchmark harness: nobody is timed unchecked, nobody ends the run, nothing is dropped."""

import itertools
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tutorial_lib import MnistNetNaive, backend, results, xp
from tutorial_lib.benchmarks import __main__ as command_line
from tutorial_lib.benchmarks import (
    checks,
    counters,
    delay,
    guard,
    ladder,
    record,
    steps,
    sweep,
    table,
    timeline,
    timing,
)
from tutorial_lib.benchmarks.contestant import FLOAT32, TF32, Absent, Entry, Problem, chosen
from tutorial_lib.benchmarks.peers import PEERS, torch_graph
from tutorial_lib.benchmarks.peers.torch_eager import TorchContestant
from tutorial_lib.benchmarks.rungs import LOOPS, PUBLISHED, RUNGS, Rung
from tutorial_lib.benchmarks.statements import marked

STEPS = 8
NAIVE = LOOPS[1]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Records go to a folder of their own, with the published one; a README beside them."""
    published = results.RESULTS / "published_h200.json"
    (tmp_path / published.name).write_text(published.read_text())
    for module in (results, record):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def data():
    """Eight batches and a bit, to be learned: the label is the brightest of ten pixels."""
    images = np.random.default_rng(0).standard_normal((256 * STEPS + 7, 784)).astype(np.float32)
    return xp.asarray(images), xp.asarray(images[:, :10].argmax(axis=1))


@pytest.fixture(scope="module")
def problem(data):
    return Problem(30, *data)


@pytest.fixture(scope="module")
def expected(problem):
    return checks.naive_losses(problem)


def agree(contestant, problem, expected):
    for _ in range(2):  # the second time after a reset
        report = checks.check(contestant, FLOAT32, problem, expected)
        assert report["losses"] < 1e-5
    return contestant


@pytest.mark.parametrize("entry", [*LOOPS, *RUNGS, *PEERS], ids=lambda e: e.key)
def test_contestants_agree_with_the_naive_network_or_say_why_they_are_absent(
    entry, problem, expected
):
    contestant, outcome = guard.admit(entry, problem, expected)
    if contestant is None:
        assert backend.name == "cpu" or "ImportError" in outcome["absent"]
        reasons = ("need a GPU", "needs a GPU", "No module named")
        assert any(reason in outcome["absent"] for reason in reasons), outcome
        assert entry not in LOOPS
        return
    agree(contestant, problem, expected)
    plain = NAIVE.make(problem, FLOAT32)
    plain.epoch()
    for ours, theirs in zip(contestant.parameters(), plain.parameters()):
        assert ours.shape == theirs.shape
        assert abs(ours - theirs).max() < (1e-5 if entry.arithmetic == FLOAT32 else 1e-3)
    first = contestant.losses()
    contestant.epoch()  # trains on
    assert contestant.losses().mean() < first.mean()
    contestant.close()


@pytest.mark.parametrize("entry", [*LOOPS, *RUNGS, *PEERS], ids=lambda e: e.key)
def test_every_contestant_takes_the_batch_size_of_the_problem(entry, data):
    problem = Problem(8, *(x[:519] for x in data), batch_size=64)
    contestant, outcome = guard.admit(entry, problem, checks.naive_losses(problem))
    reasons = r"needs? a GPU|No module named|written for batches of 256"
    if contestant is None and re.search(reasons, str(outcome)) and entry not in LOOPS:
        return
    assert contestant is not None, outcome
    assert contestant.losses().shape == (8,)
    contestant.close()


def test_pytorch_eager_takes_part_everywhere(problem, expected):
    entry = next(e for e in PEERS if e.name == "PyTorch eager")
    agree(entry.make(problem, FLOAT32), problem, expected).close()


@pytest.mark.parametrize("cls", [torch_graph.TorchGraph, torch_graph.TorchCompiled])
def test_the_steps_that_are_captured_on_a_gpu_compute_the_same(cls, problem, expected, monkeypatch):
    """Without the capture, and without the compiler."""
    monkeypatch.setattr("torch.compile", lambda function, **options: function)
    contestant = cls.__new__(cls)
    TorchContestant.__init__(contestant, problem, FLOAT32)
    contestant.step = contestant.make_step()
    contestant.epoch = lambda: contestant.run(steps=problem.steps)
    agree(contestant, problem, expected)


def test_torch_s_precision_is_put_back(problem):
    import torch

    contestant = TorchContestant(problem, FLOAT32)
    contestant.arithmetic = TF32
    before = torch.get_float32_matmul_precision()
    with contestant.precision():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def test_every_name_is_there_once():
    keys = [entry.key for entry in ladder.FIELD]
    assert len(keys) == len(set(keys))
    assert {e.kind for e in PEERS + LOOPS} == {"peer"}
    assert {e.kind for e in RUNGS + PUBLISHED} == {"rung"}


def test_the_published_loader_wants_width_30_and_its_own_data(problem, data):
    with pytest.raises(Absent, match="not a part"):
        PUBLISHED[0].make(problem, FLOAT32)
    with pytest.raises(Absent, match="width 30"):
        PUBLISHED[0].make(Problem(512, *data), FLOAT32)


def test_an_absent_framework_is_reported(problem, expected, monkeypatch):
    for framework in ("jax", "torch"):
        monkeypatch.setitem(sys.modules, framework, None)
    for entry in PEERS:
        if entry.arithmetic == FLOAT32:
            contestant, outcome = guard.admit(entry, problem, expected)
            assert contestant is None
            assert "ModuleNotFoundError" in outcome["absent"]


class Wrong(Rung):
    """The naive network with a fault; counts its epochs."""

    epochs = 0

    def __init__(self, problem, arithmetic, *, fault):
        super().__init__(problem, arithmetic, network="naive")
        self.fault = fault
        if fault == "constructor":
            raise RuntimeError("no plan")
        if fault == "rate":
            self.problem = Problem(
                problem.num_hidden, problem.images, problem.labels, learning_rate=0.1001
            )

    def epoch(self):
        type(self).epochs += 1
        if self.fault == "raises" or (self.fault == "later" and Wrong.epochs > 2):
            raise RuntimeError("launch failed")
        super().epoch()

    def losses(self):
        losses = super().losses()
        if self.fault == "nan":
            losses[3] = np.nan
        elif self.fault == "short":
            losses = losses[:-1]
        elif self.fault == "one":
            losses[-1] += 2e-5
        elif self.fault == "tf32":
            losses[:10] += 2e-5
        return losses

    def reset(self):
        super().reset()
        if self.fault == "weights":
            self.model.bias_output += 1e-3


def wrong(fault):
    Wrong.epochs = 0
    return Entry(fault, "rung", FLOAT32, lambda p, a: Wrong(p, a, fault=fault))


@pytest.mark.parametrize("fault", ["nan", "short", "one", "tf32", "weights", "rate"])
def test_wrong_losses_are_refused_before_timing(fault, data, capsys):
    found = ladder.run(widths=[30], quick=True, field=[wrong(fault), NAIVE], data=data)
    outcome = found["contestants"][0]["widths"]["30"]
    assert "differ" in outcome["failed"] or "shape" in outcome["failed"]
    assert Wrong.epochs == 1
    assert "wall" in found["contestants"][1]["widths"]["30"]
    assert f"{fault}, float32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "message"),
    [("constructor", "no plan"), ("raises", "launch failed"), ("later", "launch failed")],
)
def test_a_failing_contestant_does_not_end_the_run(fault, message, data, capsys):
    found = ladder.run(widths=[30], quick=True, field=[wrong(fault), NAIVE], data=data)
    outcomes = [c["widths"]["30"] for c in found["contestants"]]
    assert outcomes[0]["failed"] == f"RuntimeError: {message}"
    assert len(outcomes[1]["wall"]["samples"]) == ladder.QUICK
    assert f"| {fault} | failed |" in capsys.readouterr().out


def test_an_error_is_recorded_on_one_line_and_no_longer_than_a_line_should_be():
    assert guard.reason(ValueError("two\n  lines")) == "ValueError: two lines"
    assert guard.reason(Absent("not here")) == "not here"
    assert guard.reason(checks.Refused("differs")) == "differs"
    assert guard.reason(RuntimeError("x" * 1000)) == f"RuntimeError: {'x' * 300}"


def test_the_right_one_passes_at_a_width_without_published_losses(data):
    entry = wrong("")
    contestant, outcome = guard.admit(
        entry, Problem(8, *data), checks.naive_losses(Problem(8, *data))
    )
    assert outcome["check"]["losses"] == 0
    assert contestant is not None


@pytest.mark.usefixtures("full_mnist")
def test_accuracy_is_part_of_the_check(monkeypatch, problem):
    assert checks.correct([np.array(w) for w in problem.weights]) < 5000
    monkeypatch.setattr(checks, "_is_published", lambda problem: True)
    monkeypatch.setattr(checks, "_hold", lambda *arguments: None)
    contestant = NAIVE.make(problem, FLOAT32)
    long = np.zeros(234)
    monkeypatch.setattr(contestant, "losses", lambda: long)
    with pytest.raises(checks.Refused, match="test images right, not 9131"):
        checks.check(contestant, FLOAT32, problem, long)


def test_on_a_cpu_no_record_is_called_ladder(data, folder, monkeypatch):
    readme = folder / "README.md"
    readme.write_text(f"{table.BEGIN}\nold\n{table.END}\n")
    monkeypatch.setattr(table, "README", readme)
    ladder.run(widths=[8], quick=True, field=[NAIVE], data=data)
    written = {path.name for path in folder.glob("*.json")} - {"published_h200.json"}
    assert written == ({"ladder_cpu.json"} if backend.name == "cpu" else {"ladder_part.json"})
    assert "old" in readme.read_text()


def test_only_the_same_run_is_resumed(data):
    with pytest.raises(Absent, match=r"nothing to resume: no record 'ladder_.*there are: "):
        ladder.run(widths=[8], field=[NAIVE], data=data, resume=True)
    ladder.run(widths=[8], quick=True, field=[NAIVE], data=data)
    with pytest.raises(Absent, match="its repeats differ from this run's: 5, now 15"):
        ladder.run(widths=[8], field=[NAIVE], data=data, resume=True)
    other = tuple(x[:256] for x in data)
    with pytest.raises(Absent, match="its steps differ from this run's: 8, now 1"):
        ladder.run(widths=[8], quick=True, field=[NAIVE], data=other, resume=True)


def test_a_run_goes_on_where_it_ended(data, folder):
    ended = wrong("raises")
    name = "ladder_cpu" if backend.name == "cpu" else "ladder_part"
    first = ladder.run(widths=[8], quick=True, field=[NAIVE, ended], data=data)
    first["done"] = []
    first["contestants"][1]["widths"]["8"] = {"failed": guard.UNFINISHED}
    record.write(name, [], first)
    Wrong.epochs = 0
    again = ladder.run(widths=[8, 9], quick=True, field=[NAIVE, ended], data=data, resume=True)
    assert again["contestants"][1]["widths"]["8"] == {"failed": guard.UNFINISHED}
    assert Wrong.epochs == 1  # at width 9
    assert again["done"] == [8, 9]
    assert set(again["contestants"][0]["widths"]) == {"8", "9"}
    before = again["contestants"][0]["widths"]
    last = ladder.run(widths=[8, 9], quick=True, field=[NAIVE, ended], data=data, resume=True)
    assert last["contestants"][0]["widths"] == before  # all done: nothing runs


def test_the_record_says_who_runs_while_it_runs(data, folder, monkeypatch):
    """So that a process that dies leaves the name of the contestant it died of."""
    seen = {}

    class Looks(Rung):
        def epoch(self):
            super().epoch()
            path = next(p for p in folder.glob("ladder_*.json"))
            seen.setdefault("failed", results.load(path.stem)["contestants"][0]["widths"]["8"])

    entry = Entry("looks", "rung", FLOAT32, lambda p, a: Looks(p, a, network="naive"))
    ladder.run(widths=[8], quick=True, field=[entry], data=data)
    assert seen["failed"] == {"failed": guard.UNFINISHED}


def test_a_hanging_contestant_is_left_behind(monkeypatch):
    import threading

    rung = threading.Event()
    monkeypatch.setattr(guard, "PATIENCE", 0.01)
    with guard.patience(rung.set):
        assert rung.wait(5)
    monkeypatch.setattr(guard, "PATIENCE", 60)
    late = threading.Event()
    with guard.patience(late.set), guard.patience(None):
        pass
    assert not late.wait(0.05)


def test_one_that_hangs_while_it_is_timed_is_left_behind(data, folder, monkeypatch):
    import threading

    restarted = threading.Event()

    class Hangs(Rung):
        calls = 0

        def epoch(self):
            super().epoch()
            Hangs.calls += 1
            if Hangs.calls == 3:
                monkeypatch.setattr(guard, "PATIENCE", 0.01)
            elif Hangs.calls == 4:
                assert restarted.wait(5)
                monkeypatch.setattr(guard, "PATIENCE", 60)

    seen = []

    def restart():
        path = next(p for p in folder.glob("ladder_*.json"))
        seen.append(results.load(path.stem)["contestants"][0]["widths"]["8"])
        restarted.set()

    entry = Entry("hangs", "rung", FLOAT32, lambda p, a: Hangs(p, a, network="naive"))
    ladder.run(widths=[8], quick=True, field=[entry], data=data, restart=restart)
    assert seen == [{"failed": guard.UNFINISHED}]


def test_a_lost_gpu_is_noticed_and_a_new_process_goes_on(monkeypatch):
    def broken():
        raise RuntimeError("cudaErrorIllegalAddress")

    guard.require_device("healthy")
    cuda = SimpleNamespace(Device=lambda: SimpleNamespace(synchronize=broken))
    monkeypatch.setattr(guard, "backend", SimpleNamespace(name="gpu"))
    monkeypatch.setattr(guard, "xp", SimpleNamespace(cuda=cuda))
    with pytest.raises(guard.DeviceLost, match="after one kernel: RuntimeError: cudaErr"):
        guard.require_device("one kernel")
    started = []
    monkeypatch.setattr(ladder, "run", lambda *a, **k: guard.require_device("one kernel"))
    monkeypatch.setattr("os.execv", lambda program, arguments: started.append(arguments))
    command_line.main(["ladder", "--quick", "--widths", "30"])
    assert started[0][1:] == [
        *("-m", "tutorial_lib.benchmarks", "ladder", "--quick", "--widths", "30", "--resume")
    ]
    command_line.main(started[0][3:])
    assert started[1] == started[0]


def test_only_and_its_refusal(data):
    found = ladder.run(widths=[8], quick=True, only=["naive"], field=LOOPS, data=data)
    assert [c["name"] for c in found["contestants"]] == ["naive CuPy"]
    with pytest.raises(Absent, match=r"no name contains 'deep'; the names are: .*naive CuPy, "):
        ladder.run(only=["naive", "deep"], data=data)
    assert chosen(["ab", "bc", "cd"], ["d", "a"]) == ["ab", "cd"]
    assert chosen(["ab", "bc"], []) == ["ab", "bc"]


def test_peers_are_run_alone(data):
    found = ladder.run("peers", widths=[8], quick=True, field=[*LOOPS, wrong("nan")], data=data)
    assert {c["kind"] for c in found["contestants"]} == {"peer"}


def test_rounds_in_random_order():
    order = timing.orders({"a": 3, "b": 3, "slow": 1}, shuffle=lambda field: field.reverse())
    assert order == ["slow", "b", "a", "b", "a", "b", "a"]
    assert timing.orders({}) == []
    drawn = {tuple(timing.orders(dict.fromkeys("abcd", 1))) for _ in range(50)}
    assert len(drawn) > 1


def test_a_sample_starts_from_the_initial_weights_and_warm_up_is_not_counted(problem):
    calls = []

    class Spy(Rung):
        def epoch(self):
            assert (self.parameters()[0] == problem.weights[0]).all()
            calls.append(self)
            super().epoch()

    spy = Spy(problem, FLOAT32, network="naive")
    times = timing.measure({"spy": spy}, {"spy": 3}, warm_up=2, failed=print)
    assert len(calls) == 5
    assert len(times["spy"]["wall"]["samples"]) == 3
    assert times["spy"]["wall"]["median"] >= times["spy"]["host"]["median"] > 0
    assert (times["spy"]["gpu"] is None) == (backend.name == "cpu")


def test_the_clocks_of_an_epoch():
    """On a clock of our own: the epoch takes two seconds to enqueue, and three more to end."""

    class Clocked:
        now, on_default_stream = 100.0, False

        def reset(self):
            self.now += 50

        def epoch(self):
            self.now += 2

        def wait(self):
            self.now += 3

    contestant = Clocked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: contestant.now))
        assert timing.one_epoch(contestant) == {"host": 2000, "wall": 5000, "gpu": None}


def test_one_that_fails_is_out_and_a_slow_one_is_not_warmed_up():
    class Counted:
        slow, on_default_stream, fails, epochs = False, False, 0, 0

        def reset(self):
            pass

        wait = reset

        def epoch(self):
            self.epochs += 1
            if self.epochs == self.fails:
                raise RuntimeError("lost")

    field = {name: Counted() for name in ("good", "slow", "bad", "worse")}
    field["slow"].slow, field["bad"].fails, field["worse"].fails = True, 3, 1
    out = []
    times = timing.measure(
        field, dict.fromkeys(field, 4), failed=lambda key, error: out.append((key, str(error)))
    )
    assert out == [("worse", "lost"), ("bad", "lost")]
    assert {key: len(times[key]["wall"]["samples"]) for key in times} == {"good": 4, "slow": 4}
    epochs = {name: contestant.epochs for name, contestant in field.items()}
    assert epochs == {"good": 5, "slow": 4, "bad": 3, "worse": 1}


def test_a_median_and_its_quartiles():
    assert record.summary([5.0, 1.0, 3.0, 2.0, 4.0]) == {
        "median": 3.0,
        "quartiles": [1.5, 4.5],
        "samples": [5.0, 1.0, 3.0, 2.0, 4.0],
    }
    assert timing.rounded([1.0, 2.0])["quartiles"] == [0.75, 2.25]
    assert timing.rounded([5.0, 1.0, 3.0, 2.0, 4.0])["quartiles"] == [1.5, 4.5]
    even = timing.rounded([4.00049, 1.0, 2.00049, 3.0])
    assert even == {"median": 2.5, "quartiles": [1.25, 3.75], "samples": [4.0, 1.0, 2.0, 3.0]}
    third = timing.rounded([1.001, 1.002, 1.004, 1.005])
    assert (third["median"], third["quartiles"]) == (1.003, [1.001, 1.005])


def test_summaries_have_four_digits_and_take_one_sample():
    summary = timing.rounded([1.23456, 2.34567, 1234.56])
    assert summary["samples"] == [1.235, 2.346, 1235.0]
    assert summary["median"] == 2.346
    low, high = summary["quartiles"]
    assert low <= 2.346 <= high
    assert timing.rounded([7.0])["median"] == 7.0
    assert timing.rounded([7.0])["samples"] == [7.0]
    samples = [{"host": 1.0, "wall": 2.0, "gpu": None}] * 2
    assert timing.summaries(samples)["gpu"] is None


def fake_record():
    def outcome(median):
        return {"wall": {"median": median}}

    return {
        "machine": "one H200",
        "date": "2030-01-02",
        "versions": {"python": "3.12", "cupy-cuda13x": "14.2", "numpy": "2.5"},
        "widths": [30, 8192],
        "repeats": 15,
        "steps": 234,
        "contestants": [
            {"name": "naive", "arithmetic": FLOAT32, "widths": {"30": outcome(191.2)}},
            {
                "name": "ours",
                "arithmetic": FLOAT32,
                "widths": {"30": outcome(2.345), "8192": {"failed": "a | b"}},
            },
            {"name": "ours", "arithmetic": TF32, "widths": {"30": {"absent": "not here"}}},
            {"name": "theirs", "arithmetic": TF32, "widths": {"30": outcome(12.34)}},
        ],
    }


def test_the_record_table():
    lines = table.table(fake_record()).splitlines()
    assert lines == [
        "| ms per epoch | 30 float32 | 8192 float32 | 30 tf32 | 8192 tf32 |",
        "| :-- | --: | --: | --: | --: |",
        "| naive | 191 | – | – | – |",
        "| ours | **2.35** | failed | – | – |",
        "| theirs | – | – | **12.3** | – |",
    ]
    notes = table.notes(fake_record())
    assert "median of 15 epochs of 234 steps" in notes
    slow = fake_record()
    slow["contestants"][0]["widths"]["30"]["wall"]["samples"] = [191.2, 191.2]
    assert "median of 15 epochs (naive: 2) of 234 steps" in table.notes(slow)
    slow["contestants"][0]["widths"]["30"]["wall"]["samples"] = [191.2]
    assert "median of 15 epochs (naive: 1) of 234 steps" in table.notes(slow)
    slow["contestants"][0]["widths"]["30"]["wall"]["samples"] = [191.2] * 15
    slow["contestants"] = slow["contestants"][:1]
    assert "median of 15 epochs of 234 steps" in table.notes(slow)
    assert table.notes(slow).endswith("2030-01-02.")  # nobody is absent, nobody failed
    assert "one H200; Python 3.12, CuPy 14.2; 2030-01-02." in notes
    assert "Absent: ours at 30 tf32 (not here)." in notes
    assert "Failed: ours at 8192 float32 (a / b)." in notes


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        *((1234.5, "1,234"), (100, "100"), (99.94, "99.9"), (10, "10.0")),
        *((9.994, "9.99"), (0.011, "0.01")),
    ],
)
def test_times_have_about_three_digits(milliseconds, text):
    found = fake_record()
    found["contestants"] = found["contestants"][:1]
    found["contestants"][0]["widths"]["30"]["wall"]["median"] = milliseconds
    assert f"| naive | **{text}** | –" in table.table(found)


def test_the_table_of_the_first_look_marks_what_was_measured_earlier():
    look = fake_record() | {"statistic": "x", "what": "A look", "not_measured": ["a", "b"]}
    look["contestants"][0]["widths"]["30"]["measured"] = "earlier"
    look["contestants"][1]["widths"]["30"]["measured"] = "now"
    lines = table.table(look).splitlines()
    assert lines[2] == "| naive | 191* | – | – | – |"
    assert lines[3] == "| ours | **2.35** | failed | – | – |"
    assert table.notes(look) == (
        "A look. Median of the runs, 234 steps an epoch; one H200; Python 3.12, CuPy 14.2; "
        "2030-01-02. With a star: measured earlier, in another run. Not measured yet: a, b."
    )


def test_a_missing_half_of_the_markers_is_noticed():
    for text in (f"{table.BEGIN}\nx", f"x\n{table.END}"):
        with pytest.raises(ValueError, match="lacks the marker"):
            table.with_record(text, fake_record())


def test_the_machine_of_a_record(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Fast, 2 GHz\nmodel name\t: Other\n")
    monkeypatch.setattr(record, "Path", lambda path: cpuinfo)
    monkeypatch.setattr(record.os, "cpu_count", lambda: 3)
    assert record.machine() == "Fast, 2 GHz, 3 cores"
    for gone in (cpuinfo.write_text, lambda text: cpuinfo.unlink()):
        gone("flags : x")
        monkeypatch.setattr(record.platform, "processor", lambda: "arm")
        assert record.machine() == "arm, 3 cores"


def test_the_table_goes_between_its_markers_and_nowhere_else(folder):
    readme = f"# A\n<!-- other -->\nx\n<!-- end -->\n{table.BEGIN}\nold\n{table.END}\nrest\n"
    once = table.with_record(readme, fake_record())
    assert "old" not in once
    assert once.startswith("# A\n<!-- other -->\nx\n<!-- end -->\n")
    assert once.endswith("<!-- end -->\nrest\n")
    assert table.with_record(once, fake_record()) == once
    with pytest.raises(ValueError, match="lacks the marker"):
        table.with_record("# A", fake_record())
    table.with_record(table.README.read_text(), fake_record())  # the README has the markers
    (folder / "other.md").write_text(readme)
    table.update_readme(fake_record(), folder / "other.md")
    assert (folder / "other.md").read_text() == once


def test_records_are_compact_and_whole(folder):
    content = {"what": "x", "samples": [1.5, 2e-05, -3], "names": ["a 1", "b"], "empty": []}
    path = record.write("compact", ["numpy"], content)
    assert '"samples": [1.5, 2e-05, -3]' in path.read_text()
    loaded = results.load("compact")
    assert {key: loaded[key] for key in content} == content
    assert not list(folder.glob("*.tmp"))
    assert record.installed(["numpy", "no-such-package"]) == ["numpy"]
    assert record.device()


def test_the_sweep_keeps_host_wall_and_gpu_apart(data):
    found = sweep.run(
        widths=[8], batches=[64, 1024, 4096], quick=True, only=["naive", "fused"], data=data
    )
    cases = {(c["network"], c["batch"]): c for c in found["cases"]}
    assert len(cases) == 6
    for (_, batch), case in cases.items():
        if batch == 4096:
            assert "do not fill a batch" in case["absent"]
            continue
        assert case["steps"] == {64: 16, 1024: 2}[batch]
        assert case["wall"]["median"] >= case["host"]["median"] > 0
        assert (case["gpu"] is None) == (backend.name == "cpu")


def test_the_sweep_takes_each_network_or_says_why_not(data):
    found = sweep.run(widths=[8], batches=[256], quick=True, data=data)
    assert [case["network"] for case in found["cases"]] == list(steps.NETWORKS)
    for case in found["cases"]:
        assert case["steps"] == STEPS
        assert "wall" in case or "No module named" in case["absent"], case


def test_the_sweep_s_steps_are_the_book_s(data):
    problem = Problem(8, *data)
    ours = steps.Steps(problem, FLOAT32, network="fused")
    plain = NAIVE.make(problem, FLOAT32)
    ours.epoch()
    plain.epoch()
    for a, b in zip(ours.parameters(), plain.parameters()):
        assert abs(a - b).max() < 1e-6
    ours.close()


def test_marked_code_computes_the_same(data):
    images = data[0][:5]
    labels = []
    model, plain = MnistNetNaive(784, 30, 10), MnistNetNaive(784, 30, 10)
    forward = marked(MnistNetNaive.forward, "forward", labels.append)
    assert (forward(model, images) == plain.forward(images)).all()
    assert labels[0] == "forward: x = self._check_images(x)"
    assert labels[-1] == "forward: return sigmoid(before_sigmoid.T)"
    assert len(labels) == 6


def test_the_timeline_of_a_step(data, monkeypatch):
    monkeypatch.setattr(timeline, "normalized", lambda train: data)
    found = timeline.run(quick=True)
    for network in ("MnistNetNaive", "MnistNet"):
        statements = found["networks"][network]["statements"]
        assert [s["part"] for s in statements[-5:]] == ["backward", *["update"] * 4]
        assert {s["part"] for s in statements} == {"forward", "loss", "backward", "update"}
        ends = [s["host"] for s in statements]
        assert all(a[1] == b[0] and a[0] <= a[1] for a, b in itertools.pairwise(ends))
        assert any("mm.execute()" in s["operation"] for s in statements) == (network == "MnistNet")
        assert ("gpu" in statements[0]) == (backend.name == "gpu")


@pytest.mark.parametrize(
    ("needed", "spun", "result"),
    [(1, [2.2], 1), (5, [2.2, 4.4, 8.8], 3), (1e9, [2.2, 4.4, 8.8, 17.6, 35.2], None)],
)
def test_the_delay_grows_until_the_host_is_ahead(needed, spun, result, monkeypatch):
    """The pretended host gets ahead of a delay of at least `needed` milliseconds."""
    delays, runs = [], []

    class Event:
        done = property(lambda self: delays[-1] < needed)

        def record(self):
            pass

    def enqueue():
        runs.append(1)
        return len(runs)

    cuda = SimpleNamespace(
        Event=Event,
        Device=lambda: SimpleNamespace(synchronize=lambda: None),
        get_elapsed_time=lambda a, b: 1.5,
    )
    monkeypatch.setattr(delay, "xp", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(delay, "spin", delays.append)
    assert delay.behind_delay(enqueue, 1.0) == result
    assert delays == spun
    assert delay.gpu_milliseconds(enqueue, 1.0) == (None if result is None else 1.5)


NCU = """==PROF== Connected to process 7
"ID","Kernel Name","Block Size","{metrics}"
"","","","{units}"
"0","void gemm<float, 4>(Params)","(128, 1, 1)","{first}"
"1","epoch","(256, 1, 1)","{second}"
"""


def ncu_output(unit):
    metrics = list(counters.METRICS.values())
    return NCU.format(
        metrics='","'.join(metrics),
        units='","'.join([unit] + ["%"] * (len(metrics) - 1)),
        first='","'.join(["1,234.5", "1", "2", "3", "4", "5", "6"]),
        second='","'.join(["2", "10", "20", "30", "40", "168", "1,040"]),
    )


def test_counters_are_read_from_ncu():
    first, second = counters.parse(ncu_output("usecond"))
    assert (first["kernel"], first["microseconds"]) == ("void gemm<float, 4>", 1234.5)
    assert (second["kernel"], second["blocks"], second["registers of a thread"]) == (
        "epoch",
        1040,
        168,
    )
    assert counters.parse(ncu_output("nsecond"))[0]["microseconds"] == 1.234
    with pytest.raises(Absent, match="no table"):
        counters.parse("==ERROR== the profiler could not be loaded")
    with pytest.raises(Absent, match="no table"):
        counters.parse('"ID","Kernel Name"')


@pytest.mark.parametrize("output", [{"stderr": "may not read", "stdout": "x"}, {"stdout": "may"}])
def test_a_failing_profiler_says_why(output, monkeypatch):
    done = SimpleNamespace(**{"returncode": 1, "stderr": "", "stdout": ""} | output)
    monkeypatch.setattr(counters.subprocess, "run", lambda *a, **k: done)
    with pytest.raises(Absent, match="ncu failed: may"):
        counters.profile("one kernel", 30)
    done.returncode, done.stdout = 0, ncu_output("ms")
    assert counters.profile("one kernel", 30)[1]["microseconds"] == 2000
