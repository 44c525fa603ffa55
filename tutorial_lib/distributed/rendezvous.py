"""Where ranks meet before, between and after collectives: torchrun's store, on the host.

Slow starters get JOIN_SECONDS here; the timeout of the collectives does not count.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

JOIN_SECONDS = 300  # to start, to import, to load the data


class Refused(RuntimeError):
    """Something that every rank finds wrong at the same point; rank 0 says it for all."""


class RankLost(RuntimeError):
    """Another rank died, or kept this one waiting for too long."""


class Rendezvous:
    """This process among those that torchrun started.

    `rank` counts from 0 to `size` - 1 over all hosts, `local_rank` to `local_size` - 1 on this one.
    `place`, such as "epoch 2, batch 3", is what a RankLost names. Raises Refused if torchrun did
    not start this process or its numbers cannot be right, RankLost if the others do not come.
    """

    def __init__(self) -> None:
        self.place = "at the start"
        self.rank, self.size, self.local_rank, self.local_size = _numbers()
        from torch import distributed

        limit = timedelta(seconds=JOIN_SECONDS)
        with self.losing(JOIN_SECONDS):
            self.store, _, _ = next(distributed.rendezvous("env://", timeout=limit))
        self.store.set_timeout(limit)
        self._meetings = 0

    def wait_for_all(self, seconds: float = JOIN_SECONDS) -> None:
        """Return once every rank has come here. Raises RankLost after `seconds`."""
        key = self._next_key()
        if self.store.add(f"{key}/count", 1) == self.size:
            self.store.set(key, "")
        self._wait(key, seconds)

    def agree(self, work: Callable[[], Any], seconds: float = JOIN_SECONDS) -> Any:
        """What `work` returns on rank 0, as JSON carries it, on all; its Refused is raised on all.

        Only rank 0 does the work. On the others RankLost is raised after `seconds`.
        """
        key = self._next_key()
        if self.rank == 0:
            try:
                answer = {"result": work()}
            except Refused as error:
                answer = {"refused": str(error)}
            self.store.set(key, json.dumps(answer))
        self._wait(key, seconds)
        answer = json.loads(self.store.get(key))
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["result"]

    def tell_once(self, message: str) -> None:
        """Rank 0 prints `message` to standard error; the others return when it has.

        A rank that is alone with its message prints it after 10 seconds.
        """
        if self.rank:
            with suppress(RuntimeError):
                self.store.wait(["told"], timedelta(seconds=10))
                return
        print(message, file=sys.stderr, flush=True)
        if self.rank == 0:
            self.store.set("told", "")

    @contextmanager
    def losing(self, seconds: float) -> Iterator[None]:
        """What torch raises inside the block, after waiting for `seconds`, becomes a RankLost."""
        try:
            yield
        except RuntimeError as error:
            cause = str(error).partition("\n")[0].rstrip(". ")
            raise RankLost(f"{self.loss(seconds, self.place)} ({cause})") from error

    def loss(self, seconds: float, place: str) -> str:
        """What to say when this rank has waited at `place` for `seconds`."""
        return (
            f"{place}: rank {self.rank} of {self.size}: another rank died, or kept this one "
            f"waiting for {seconds:g} s"
        )

    def _wait(self, key: str, seconds: float) -> None:
        with self.losing(seconds):
            self.store.wait([key], timedelta(seconds=seconds))

    def _next_key(self) -> str:
        self._meetings += 1  # every rank comes to the same meetings in the same order
        return f"meeting/{self._meetings}"


def _numbers() -> list[int]:
    """Rank, size, local rank, local size, as torchrun sets them. Raises Refused."""
    start = (
        "start this with torchrun, as in torchrun --nproc-per-node 2 -m tutorial_lib.distributed"
    )
    names = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"
    for name in (*names, "MASTER_ADDR"):
        if not os.environ.get(name):
            raise Refused(f"{name} is not set: {start}")
    numbers = []
    for name in names:
        try:
            numbers.append(int(os.environ[name]))
        except ValueError:
            raise Refused(f"{name} is {os.environ[name]!r}, not a number: {start}") from None
    rank, size, local_rank, local_size, port = numbers
    if not (0 <= local_rank <= rank < size and local_rank < local_size <= size):
        values = ", ".join(f"{name}={value}" for name, value in zip(names[:4], numbers))
        raise Refused(
            f"{values} cannot be: ranks count from 0 to the size - 1, and those of this host are "
            f"among all: {start}"
        )
    if not 0 <= port < 2**16:
        raise Refused(f"MASTER_PORT is {port}, not a port: {start}")
    return numbers[:4]
