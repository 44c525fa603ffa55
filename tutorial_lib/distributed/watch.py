"""A clock beside each rank, in a thread of its own: it ends a rank that waits for too long.

An all-reduce of NCCL returns to the host at once. If another rank never joins it, the host is stuck
when it next waits for the GPU, and that wait has no limit. But other Python threads go on running.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

POLL = 0.1  # seconds between two looks


class Watch:
    """Calls `lost` once something has been waited for longer than its limit.

    `lost` gets the place at which the wait began, a text, and the limit in seconds. The thread runs
    from `start` to `stop`; `prepare` is the first thing that it does.
    """

    def __init__(
        self, lost: Callable[[str, float], None], prepare: Callable[[], None] = lambda: None
    ) -> None:
        self._lost, self._prepare = lost, prepare
        self._awaited: deque[tuple[Callable[[], bool], str, float]] = deque()
        self._over: deque[Any] = deque()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        """Begin to look, every POLL seconds."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, whatever is still waited for."""
        self._stopped.set()
        self._thread.join()

    def expect(self, place: str, limit: float, is_over: Callable[[], bool]) -> None:
        """What began at `place` should be over within `limit` seconds; the thread asks `is_over`.

        What is expected is over in the order in which it began.
        """
        # Let go of here, in the caller's thread: the end of a collective of NCCL destroys CUDA
        # events, which may block, with Python's lock held, while the caller is stuck in a launch.
        self._over.clear()
        self._awaited.append((is_over, place, limit))

    @contextmanager
    def limited(self, place: str, limit: float) -> Iterator[None]:
        """The block, which waits for other ranks at `place`, should be over within `limit`."""
        over = threading.Event()
        self.expect(place, limit, over.is_set)
        try:
            yield
        finally:
            over.set()

    def settle(self) -> None:
        """Return once nothing is waited for: then nothing that was expected is asked any more."""
        while self._awaited:
            time.sleep(POLL)

    def _look(self) -> None:
        self._prepare()
        oldest, since = None, 0.0
        while not self._stopped.wait(POLL):
            while self._awaited and self._awaited[0][0]():
                self._over.append(self._awaited.popleft())
            first = self._awaited[0] if self._awaited else None
            if first is not oldest:  # so each has its whole limit, from when it became the oldest
                oldest, since = first, time.monotonic()
            elif first and time.monotonic() - since > first[2]:
                self._lost(*first[1:])
                return


def end(message: str = "", pids: Iterable[int] = ()) -> NoReturn:
    """End this process at once, with an error.

    The processes `pids` are woken, if they are stopped (SIGSTOP), so that torchrun can end them.
    Nothing here waits for a lock or for a thread of a broken group, as sys.exit and print may.
    """
    os.write(2, message.encode())
    for pid in pids if hasattr(signal, "SIGCONT") else ():
        with suppress(OSError):
            os.kill(pid, signal.SIGCONT)
    os._exit(1)
