"""Work that is recorded once and repeated by one call: a CUDA graph, or a plain call without one.

Source: `CUDA graphs <https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs>`_ and
CuPy's ``Stream.begin_capture``.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp


class CapturedWork:
    """`work`, captured: each `replay` launches the same kernels on the same memory.

    What `work` allocates comes from a memory pool of its own, which lives as long as the graph:
    from the shared pool it would be handed out again while the graph still writes to it. On a GPU
    `work` runs once before it is captured, so that plans and libraries are ready, and once after.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        if backend.name == "cpu":
            return
        self._pool = xp.cuda.MemoryPool()
        stream = _stream("capture")
        xp.cuda.Device().synchronize()  # the inputs are there before another stream reads them
        with stream, xp.cuda.using_allocator(self._pool.malloc):
            work()
            stream.synchronize()
            stream.begin_capture()
            try:
                work()
            finally:
                self._graph = stream.end_capture()
            work()  # nvmath waits for its last call when freed: that must not be a captured one
            stream.synchronize()

    def replay(self) -> None:
        """Do the work once more, in the order of the current stream."""
        if backend.name == "cpu":
            self._work()
        else:
            self._graph.launch()


def captured_time(work: Callable[[], Any], *, repeats: int = 20) -> float:
    """The seconds that one of `repeats` calls of `work` takes in a graph: the best of three."""

    def repeated() -> None:
        for _ in range(repeats):
            work()

    graph, times = CapturedWork(repeated), []
    for _ in range(3):
        start = time.perf_counter()
        graph.replay()
        if backend.name == "gpu":
            xp.cuda.get_current_stream().synchronize()
        times.append((time.perf_counter() - start) / repeats)
    return min(times)


class Branch:
    """The calls inside a ``with`` block may run beside those that follow it, up to `join`."""

    def __enter__(self) -> "Branch":
        if backend.name == "gpu":
            self._main, self._side = xp.cuda.get_current_stream(), _stream("side")
            self._side.wait_event(self._main.record())
            self._side.__enter__()  # not use(): a `with` inside, as nvmath has it, would undo that
        return self

    def __exit__(self, *exception: object) -> None:
        if backend.name == "gpu":
            self._done = self._side.record()
            self._side.__exit__(*exception)

    def join(self) -> None:
        """What follows waits for what was inside."""
        if backend.name == "gpu":
            self._main.wait_event(self._done)


@functools.cache
def _stream(name: str) -> Any:
    """One stream for each purpose, never destroyed: a Matmul remembers the stream it ran on."""
    return xp.cuda.Stream(non_blocking=True)
