"""Where ranks meet before, between and after collectives: torchrun's store, on the host.

Slow starters get JOIN_SECONDS here; the timeout of the collectives does not count.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    Raises Refused if torchrun did not start this process.
    """

    def __init__(self) -> None:
        try:
            names = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
            self.rank, self.size, self.local_rank, self.local_size = (
                int(os.environ[name]) for name in names
            )
        except KeyError as missing:
            raise Refused(
                f"{missing} is not set: start this with torchrun, as in "
                "torchrun --nproc-per-node 2 -m tutorial_lib.distributed"
            ) from None
        from torch import distributed

        limit = timedelta(seconds=JOIN_SECONDS)
        self.store, _, _ = next(distributed.rendezvous("env://", timeout=limit))
        self.store.set_timeout(limit)
        self._meetings = 0

    def wait_for_all(self) -> None:
        """Return once every rank has come here."""
        key = self._next_key()
        if self.store.add(f"{key}/count", 1) == self.size:
            self.store.set(key, "")
        with self.losing(JOIN_SECONDS):
            self.store.wait([key])

    def agree(self, work: Callable[[], Any]) -> Any:
        """What `work` returns on rank 0, as JSON carries it, on all; its Refused is raised on all.

        Only rank 0 does the work.
        """
        key = self._next_key()
        if self.rank == 0:
            try:
                answer = {"result": work()}
            except Refused as error:
                answer = {"refused": str(error)}
            self.store.set(key, json.dumps(answer))
        with self.losing(JOIN_SECONDS):
            answer = json.loads(self.store.get(key))
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["result"]

    def tell_once(self, message: str) -> None:
        """Rank 0 prints `message` to standard error; the others return when it has."""
        if self.rank == 0:
            print(message, file=sys.stderr, flush=True)
            self.store.set("told", "")
        else:
            self.store.wait(["told"], timedelta(seconds=10))

    @contextmanager
    def losing(self, seconds: float) -> Iterator[None]:
        """What torch raises inside the block, after waiting for `seconds`, becomes a RankLost."""
        try:
            yield
        except RuntimeError as error:
            cause = str(error).partition("\n")[0].rstrip(". ")
            raise RankLost(
                f"rank {self.rank} of {self.size}: another rank died, or kept this one waiting "
                f"for {seconds:g} s ({cause})"
            ) from error

    def _next_key(self) -> str:
        self._meetings += 1  # every rank comes to the same meetings in the same order
        return f"meeting/{self._meetings}"
