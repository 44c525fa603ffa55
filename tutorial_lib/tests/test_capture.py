"""Captured work and branches: what they ask of CUDA, on streams that only keep a log."""

import contextlib
from types import SimpleNamespace

import pytest

from tutorial_lib import capture


class Stream:
    """A stream as CuPy has it: ``with`` keeps a stack, and `use` does not enter that stack."""

    def __init__(self, device, non_blocking=True):
        self.device = device

    def __enter__(self):
        self.device.stack.append(self)
        self.device.current = self

    def __exit__(self, *exception):
        self.device.stack.pop()
        self.device.current = self.device.stack[-1]

    def use(self):
        self.device.current = self

    def record(self):
        return self, len(self.device.log)

    def wait_event(self, event):
        self.device.log.append(("wait", self, event))

    def synchronize(self):
        self.device.log.append(("synchronize", self))

    def begin_capture(self):
        self.device.log.append(("begin", self))

    def end_capture(self):
        self.device.log.append(("end", self))
        return SimpleNamespace(launch=lambda: self.device.log.append(("launch",)))


class Device:
    """What `capture` uses of ``cupy.cuda``, with a log of what was asked, and on which stream."""

    def __init__(self):
        self.log, self.allocator = [], "shared"
        self.current = Stream(self)
        self.stack = [self.current]

    def launch(self, name):
        self.log.append((name, self.current, self.allocator))

    @contextlib.contextmanager
    def using_allocator(self, allocator):
        before, self.allocator = self.allocator, allocator
        yield
        self.allocator = before


@pytest.fixture
def device(monkeypatch):
    device = Device()
    cuda = SimpleNamespace(
        Stream=lambda non_blocking: Stream(device),
        get_current_stream=lambda: device.current,
        MemoryPool=lambda: SimpleNamespace(malloc="its own"),
        using_allocator=device.using_allocator,
        Device=lambda: SimpleNamespace(synchronize=lambda: device.log.append(("all",))),
    )
    monkeypatch.setattr(capture, "xp", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(capture, "backend", SimpleNamespace(name="gpu"))
    capture._stream.cache_clear()
    yield device
    capture._stream.cache_clear()


def like_nvmath(device):
    """A call that enters the current stream once more, as nvmath's do."""
    with device.current:
        device.launch("matmul")


def test_all_of_a_branch_runs_on_its_stream_even_after_a_matmul(device):
    main = device.current
    device.launch("before")
    with capture.Branch() as branch:
        like_nvmath(device)
        device.launch("after the matmul")
    device.launch("beside")
    branch.join()
    device.launch("joined")
    streams = {entry[0]: entry[1] for entry in device.log if entry[0] != "wait"}
    side = streams["matmul"]
    assert side is not main
    assert streams == {
        "before": main,
        "matmul": side,
        "after the matmul": side,
        "beside": main,
        "joined": main,
    }
    assert device.stack == [main]


def test_a_branch_waits_for_what_came_before_and_join_for_the_branch(device):
    main = device.current
    device.launch("before")
    with capture.Branch() as branch:
        device.launch("inside")
    device.launch("beside")
    branch.join()
    names = [entry[0] for entry in device.log]
    assert names == ["before", "wait", "inside", "beside", "wait"]
    side = device.log[2][1]
    assert device.log[1] == ("wait", side, (main, 1))  # for what main had been given by then
    assert device.log[4] == ("wait", main, (side, 3))  # for what side had, "inside" included


def test_work_is_captured_between_two_plain_runs_from_a_pool_of_its_own(device):
    graph = capture.CapturedWork(lambda: device.launch("work"))
    names = [entry[0] for entry in device.log]
    assert names == ["all", "work", "synchronize", "begin", "work", "end", "work", "synchronize"]
    work = [entry for entry in device.log if entry[0] == "work"]
    assert {entry[2] for entry in work} == {"its own"}
    assert len({entry[1] for entry in work}) == 1
    assert device.allocator == "shared"
    graph.replay()
    assert device.log[-1] == ("launch",)


def test_a_capture_that_fails_is_ended(device):
    runs = []

    def fails_when_captured():
        runs.append(1)
        if len(runs) == 2:
            raise NotImplementedError("cannot be captured")

    with pytest.raises(NotImplementedError):
        capture.CapturedWork(fails_when_captured)
    assert [entry[0] for entry in device.log][-2:] == ["begin", "end"]
    assert len(device.stack) == 1


def test_captured_time_is_that_of_one_call(device):
    assert 0 <= capture.captured_time(lambda: device.launch("work"), repeats=5) < 1
    assert [entry[0] for entry in device.log].count("work") == 3 * 5
    assert [entry[0] for entry in device.log].count("launch") == 3


def test_without_a_gpu_work_is_a_plain_call(monkeypatch):
    monkeypatch.setattr(capture, "backend", SimpleNamespace(name="cpu"))
    runs = []
    graph = capture.CapturedWork(lambda: runs.append(1))
    assert not runs
    graph.replay()
    assert runs == [1]
    with capture.Branch() as branch:
        runs.append(2)
    branch.join()
    assert runs == [1, 2]
