"""A CUDA graph without a GPU: work is recorded once, and replayed on the same memory.

While a stream captures, a GPU runs nothing; it writes down each launch with its addresses. So it is
here: a replay runs no Python of the work again, a temporary's memory is handed out anew as soon as
the work lets go of it, and `arrays` refuses what cannot be captured. Source: `Stream capture
<https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs>`_ and CuPy's memory pool.
"""

import contextlib
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np


class Stream:
    """A stream by its name; ``with`` makes it the current one, as in CuPy."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        _streams.append(self)

    def __exit__(self, *exception: object) -> None:
        _streams.pop()

    def record(self) -> frozenset[int]:
        """An event: all that the stream has been given so far."""
        return frozenset() if recording is None else recording.last[self.name]

    def wait_event(self, event: frozenset[int]) -> None:
        """What the stream is given from now on runs after `event`."""
        if recording is not None:
            recording.last[self.name] |= event


_streams = [Stream("main")]  # the current one is the last


def current_stream() -> Stream:
    """The stream that a launch goes to."""
    return _streams[-1]


class Node(NamedTuple):
    """One launch: what to do, on which stream, after which others (their numbers)."""

    launch: Callable[[], None]
    stream: str
    after: frozenset[int]


class Recording:
    """What a capture wrote down. `launch` does it once more, in an order that a GPU may choose.

    That order differs from one launch to the next: what may run beside something else runs now
    before it, now after it. A result that depends on the order is therefore seen to vary. `kind` is
    the type of the arrays that the capture makes.
    """

    def __init__(self, kind: type[np.ndarray]) -> None:
        self.kind = kind
        self.nodes: list[Node] = []
        # What the next launch on each stream runs after.
        self.last: dict[str, frozenset[int]] = defaultdict(frozenset)
        self._free: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
        self._launches = 0

    def add(self, launch: Callable[[], None]) -> None:
        """Write down one launch on the current stream."""
        stream = current_stream().name
        self.nodes.append(Node(launch, stream, self.last[stream]))
        self.last[stream] = frozenset([len(self.nodes) - 1])

    def end(self) -> None:
        """Raises RuntimeError unless the current stream waits for all that others were given."""
        joined = set(self.last[current_stream().name])
        todo = list(joined)
        while todo:
            new = self.nodes[todo.pop()].after - joined
            joined |= new
            todo += new
        if len(joined) < len(self.nodes):
            raise RuntimeError("cudaErrorStreamCaptureUnjoined: a branch was not joined")

    def launch(self) -> None:
        """Do all of it once more."""
        queues: dict[str, list[int]] = defaultdict(list)
        for i, node in enumerate(self.nodes):
            queues[node.stream].append(i)
        order = sorted(queues, reverse=bool(self._launches % 2))
        self._launches += 1
        done: set[int] = set()
        while any(queues.values()):
            ready = (s for s in order if queues[s] and self.nodes[queues[s][0]].after <= done)
            i = queues[next(ready)].pop(0)
            self.nodes[i].launch()
            done.add(i)

    def keep(self, result: np.ndarray) -> np.ndarray:
        """`result`, moved to memory of the graph's pool, as an array of the capture.

        The memory goes back to the pool when the array dies: what the same stream asks for next may
        get it, as from CuPy's pool.
        """
        key = current_stream().name, max(result.nbytes, 1)
        free = self._free[key]
        memory = free.pop() if free else np.ndarray(key[1], np.uint8)
        strides = result.strides if result.flags.forc else None  # those of a single column, too
        kept = np.ndarray(result.shape, result.dtype, memory, strides=strides).view(self.kind)
        plain(kept)[...] = result
        weakref.finalize(kept, free.append, memory).atexit = False
        return kept


recording: Recording | None = None  # the capture that is under way


@contextlib.contextmanager
def recorded_by(capture: Recording | None) -> Iterator[None]:
    """Inside the block, what is launched is written down by `capture`, or by none."""
    global recording
    before, recording = recording, capture
    try:
        yield
    finally:
        recording = before


def refuse(what: str, error: type[Exception] = RuntimeError) -> None:
    """Raise `error` if a capture is under way."""
    if recording is not None:
        raise error(f"{what} is not possible while a stream captures")


def launch(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``; during a capture, written down as one launch, too.

    `function` stands for one kernel, or one call of a library that can be captured. At a replay it
    is called again with the very arrays, and what it returns is written over what it returned.
    """
    capture, given = recording, (args, kwargs)
    args, kwargs = plain(args), plain(kwargs)
    if capture is None:
        return function(*args, **kwargs)

    def captured(x: np.ndarray) -> np.ndarray:
        if not any(np.may_share_memory(x, y) for y in _arrays((args, kwargs))):
            return capture.keep(x)
        view = x.view(capture.kind)
        view.owners = given  # which keep the memory from going back to the pool
        return view

    with recorded_by(None):
        result = _map(function(*args, **kwargs), captured, scalars=True)
    kept = plain(_arrays(result))

    def again() -> None:
        for old, new in zip(kept, _arrays(function(*args, **kwargs))):
            if not np.may_share_memory(old, new):
                old[...] = new

    capture.add(again)
    return result


def plain(x: Any) -> Any:
    """`x` with each array of a capture, also inside tuples, lists and dicts, as a NumPy array."""
    return _map(x, lambda y: y if type(y) is np.ndarray else y.view(np.ndarray))


def _map(x: Any, function: Callable[[Any], Any], *, scalars: bool = False) -> Any:
    if isinstance(x, (tuple, list)):
        return type(x)(_map(y, function, scalars=scalars) for y in x)
    if isinstance(x, dict):
        return {key: _map(y, function, scalars=scalars) for key, y in x.items()}
    if scalars and isinstance(x, np.generic):
        x = np.asarray(x)  # CuPy has no scalars
    return function(x) if isinstance(x, np.ndarray) else x


def _arrays(x: Any) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    _map(x, found.append, scalars=True)
    return found
