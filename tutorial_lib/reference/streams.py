"""A CUDA graph without a GPU: work is recorded once, and replayed on the same memory.

Each launch is written down with its addresses. A replay runs no Python of the work again, and a
temporary's memory is handed out anew as soon as the work lets go of it. Source: `Stream capture
<https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs>`_ and CuPy's memory pool.
"""

import weakref
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

Event = Counter[str]  # how many launches of each stream come before


class Stream:
    """A stream by its name; ``with`` makes it the current one, as in CuPy."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        _streams.append(self)

    def __exit__(self, *exception: object) -> None:
        _streams.pop()

    def record(self) -> Event:
        """An event: all that the stream has been given so far."""
        return Counter() if recording is None else Counter(recording.last[self.name])

    def wait_event(self, event: Event) -> None:
        """What the stream is given from now on runs after `event`."""
        if recording is not None:
            recording.last[self.name] |= event


_streams = [Stream("main")]  # the current one is the last


def current_stream() -> Stream:
    """The stream that a launch goes to."""
    return _streams[-1]


class Recording:
    """What a capture wrote down; `kind` is the type of the arrays that it makes. What may run in
    parallel is launched in an order that alternates, so that a race shows."""

    def __init__(self, kind: type[np.ndarray]) -> None:
        self.kind = kind
        self.ended = False  # well: a capture that fails leaves no graph, and no events
        self.queues: dict[str, list[tuple[Callable, Event]]] = defaultdict(list)  # what, after what
        self.last: dict[str, Event] = defaultdict(Counter)  # what its next launch runs after
        self.given: Event = Counter()  # all launches
        self._free: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
        self._launches = 0

    def add(self, launch: Callable[[], None]) -> None:
        """Write down one launch on the current stream."""
        name = current_stream().name
        self.queues[name].append((launch, Counter(self.last[name])))
        self.given[name] += 1
        self.last[name][name] += 1

    def launch(self) -> None:
        """Do all of it once more."""
        order = sorted(self.queues, reverse=bool(self._launches % 2))
        self._launches += 1
        done: Event = Counter()
        while done != self.given:
            heads = ((s, *self.queues[s][done[s]]) for s in order if done[s] < self.given[s])
            stream, launch = next((s, launch) for s, launch, after in heads if after <= done)
            launch()
            done[stream] += 1

    def keep(self, result: np.ndarray) -> np.ndarray:
        """`result` in memory of the graph's pool, which hands it out again when the array dies."""
        key = current_stream().name, max(result.nbytes, 1)
        free = self._free[key]
        memory = free.pop() if free else np.ndarray(key[1], np.uint8)
        dense = result if result.flags.forc else np.empty_like(result)  # a single column, too
        kept = np.ndarray(result.shape, result.dtype, memory, strides=dense.strides).view(self.kind)
        plain(kept)[...] = result
        weakref.finalize(kept, free.append, memory).atexit = False
        return kept


recording: Recording | None = None  # the capture that is under way


def refuse(what: str, error: type[Exception] = RuntimeError) -> None:
    """Raise `error` if a capture is under way."""
    if recording is not None:
        raise error(f"{what} is not possible while a stream captures")


def launch(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``; during a capture, written down as one launch, too. A replay
    calls it again with the same arrays and writes over what it returned."""
    global recording
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

    recording = None  # what the function launches itself is part of this launch
    try:
        result = _map(function(*args, **kwargs), captured, scalars=True)
    finally:
        recording = capture
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
