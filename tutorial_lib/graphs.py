"""Work recorded once and repeated by one call: a CUDA graph, or its stand-in without a GPU."""

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.reference import streams
from tutorial_lib.reference.arrays import record
from tutorial_lib.timing import measure


class CaptureError(RuntimeError):
    """The work does something that a stream cannot capture; the cause is attached."""


class CapturedWork:
    """`work`, captured: each `replay` launches the same kernels on the same memory.

    What `work` allocates comes from a memory pool of its own, which lives as long as the graph:
    from the shared pool it would be handed out again while the graph still writes to it. `work`
    runs twice in all: before it is captured, so that plans and libraries are ready, and after.
    Raises CaptureError for work that cannot be captured; any other error comes out as it is.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        if backend.name == "cpu":
            work()
            with explained():
                self.graph = record(work)
            return
        self.pool = xp.cuda.MemoryPool()
        backend.synchronize()  # the inputs are there before another stream reads them
        with stream_for("capture") as stream, xp.cuda.using_allocator(self.pool.malloc):
            work()
            stream.synchronize()
            with explained():
                self.graph = capture(stream, work)
            work()  # nvmath waits for its last call when freed: that must not be a captured one
            stream.synchronize()

    def replay(self) -> None:
        """Do the work once more, in the order of the current stream."""
        self.graph.launch()

    def free(self) -> None:
        """Give the graph's memory back at once, not when Python collects it; no replay after it."""
        self.graph = None
        if backend.name == "gpu":
            self.pool.free_all_blocks()


def capture(stream: Any, work: Callable[[], None]) -> Any:
    """The graph of what `work` gives to `stream`, which writes it down instead of running it."""
    stream.begin_capture()
    try:
        work()
    except BaseException:
        with contextlib.suppress(xp.cuda.runtime.CUDARuntimeError):  # it says only: invalidated
            stream.end_capture()
        raise
    return stream.end_capture()


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What cannot be captured becomes a CaptureError; no garbage is collected inside the block. A
    collection could free an object of CUDA's, which breaks the capture that is under way."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    except Exception as error:
        if "captur" not in f"{type(error).__name__} {error}".lower():
            raise
        raise CaptureError(
            f"this work cannot be captured ({error}). Plan before you capture: run the work once, "
            "so that its matmuls are planned and its kernels compiled. Leave out what waits for "
            "the GPU or reads a value on the host, and multiply by a planned Matmul, not by @"
        ) from error
    finally:
        if collecting:
            gc.enable()


def captured_time(work: Callable[[], Any], *, repeats: int = 20) -> float:
    """The seconds that one of `repeats` calls of `work` takes in a graph: the best of three."""

    def repeated() -> None:
        for _ in range(repeats):
            work()

    graph = CapturedWork(repeated)
    best = min(measure(graph.replay, repeats=3, warm_up=0).wall)
    graph.free()
    return best / repeats


class Branch:
    """The calls inside a ``with`` block may run beside those that follow it, up to `join`."""

    def __enter__(self) -> "Branch":
        current = xp.cuda.get_current_stream if backend.name == "gpu" else streams.current_stream
        self.main, self.side = current(), stream_for("side")
        self.side.wait_event(self.main.record())
        self.side.__enter__()  # not use(): a `with` inside, as nvmath has it, would undo that
        return self

    def __exit__(self, *exception: object) -> None:
        self.done = self.side.record()
        self.side.__exit__(*exception)

    def join(self) -> None:
        """What follows waits for what was inside."""
        self.main.wait_event(self.done)


@functools.cache
def stream_for(name: str) -> Any:
    """One stream for each purpose, never destroyed: a Matmul remembers the stream it ran on."""
    return xp.cuda.Stream(non_blocking=True) if backend.name == "gpu" else streams.Stream(name)
