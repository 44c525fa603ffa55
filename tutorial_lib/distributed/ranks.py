"""A rank in its group: its device, its stream, its collectives, and the watch that ends it."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp

JOIN_SECONDS = 300  # for a rank to start, to import, to load the data
POLL = 0.1  # seconds between two looks of the watch


class RunRefused(Exception):
    """A setting, a file or weights with which no training can begin or go on."""


class Ranks:
    """This process among those that torchrun started: one of a group, inside a ``with`` block.

    `rank` counts from 0 to `size` - 1 over all hosts, `local_rank` on this one. `engine` is "nccl"
    or "gloo"; None takes NCCL on a GPU and gloo without. `place` is what a lost rank's error names.
    """

    def __init__(self, *, engine: str | None = None, timeout: float = 60.0) -> None:
        self.engine = engine or ("nccl" if backend.name == "gpu" else "gloo")
        self.timeout, self.place = timeout, "at the start"
        names = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
        numbers = [int(os.environ[name]) for name in names]
        self.rank, self.size, self.local_rank, self.local_size = numbers
        self._begun: list[str] = []  # the place of each collective
        self._inside = ExitStack()

    def __enter__(self) -> "Ranks":
        from torch import distributed

        gpus = xp.cuda.runtime.getDeviceCount() if backend.name == "gpu" else 0
        if self.engine == "nccl" and self.local_size > gpus:
            short = f"{self.local_size} ranks on this host, {gpus} GPUs"
            raise RunRefused(f"NCCL needs a GPU for each rank: {short}. Or take --engine gloo")
        if gpus:
            self._inside.enter_context(shared_stream(self.local_rank % gpus))
        if self.local_size == self.size and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one host: no network is needed
        limit = timedelta(seconds=max(JOIN_SECONDS, self.timeout + 5))  # the watch comes first
        self._store, *_ = next(distributed.rendezvous("env://", timeout=limit))
        group = {"rank": self.rank, "world_size": self.size, "timeout": limit}
        engines = "cpu:gloo,cuda:nccl" if self.engine == "nccl" else "gloo"
        stdout = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # gloo greets
        distributed.init_process_group(engines, store=self._store, **group)
        os.dup2(stdout, 1)
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        from torch import distributed

        if kind is None:  # otherwise the others may be gone, and there is nobody to part from
            distributed.destroy_process_group()
        self._inside.close()

    def begin_sum(self, tensor: Any) -> Any:
        """Begin the all-reduce: `tensor` becomes, on every rank and in place, the sum over them.

        Call ``.wait()`` of what this returns: the host waits on gloo, the stream on NCCL.
        """
        from torch import distributed

        self._begun.append(self.place)
        return distributed.all_reduce(tensor, async_op=True)

    def gather(self, what: Any = None) -> list[Any]:
        """What each rank gives, a Python object, once every rank has come here."""
        from torch import distributed

        self._begun.append(self.place)
        found = [None] * self.size
        distributed.all_gather_object(found, what)
        return found

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A block, begun and left by all together: no rank waits longer than `timeout` seconds.

        A thread sees to it: with NCCL the host may wait for the GPU, and that has no limit.
        """
        store, over = self._store.clone(), threading.Event()
        watch = threading.Thread(target=self._watch, args=(store, over), daemon=True)
        self._beat(store)
        self.gather()
        watch.start()
        try:
            yield
            self.gather()
        finally:
            over.set()
            watch.join()

    def _beat(self, store: Any) -> None:
        beat = f"{len(self._begun)} {os.getpid()} {time.monotonic()}"
        store.set(f"beat {self.rank}", beat)

    def _watch(self, store: Any, over: threading.Event) -> None:
        """Lost is who does not beat, or has begun fewer collectives than this rank, too long."""
        keys, last = [f"beat {rank}" for rank in range(self.size)], {}
        while not over.wait(POLL):
            self._beat(store)
            for rank, beat in enumerate(store.multi_get(keys)):
                begun, pid, tick = beat.split()
                sign = begun if int(begun) < len(self._begun) else tick
                if rank not in last or last[rank][0] != sign:
                    last[rank] = sign, time.monotonic()
                elif time.monotonic() - last[rank][1] > self.timeout:
                    if rank // self.local_size == self.rank // self.local_size:  # on this host
                        with suppress(OSError):  # torchrun cannot end a stopped process: wake it
                            os.kill(int(pid), signal.SIGCONT)
                    place = [*self._begun[int(begun) :], self.place][0]
                    lost = f"another rank died, or kept this one waiting for {self.timeout:g} s"
                    end(f"error: {place}: rank {self.rank} of {self.size}: {lost}\n")


@contextmanager
def shared_stream(gpu: int) -> Iterator[None]:
    """A block in which one new stream of `gpu` is the current one of CuPy, nvmath and torch.

    A collective begins after the kernels that wrote its operand; its readers come after it.
    """
    import torch

    xp.cuda.Device(gpu).use()  # before anything is allocated
    torch.cuda.set_device(gpu)
    xp.cuda.Device().synchronize()  # what the default streams began is done
    with (
        xp.cuda.Stream(non_blocking=True) as stream,  # nvmath takes CuPy's
        torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)),
    ):
        yield


def end(message: str) -> None:
    """End this process at once, with an error: without waiting for a lock or a broken group."""
    os.write(2, message.encode())
    os._exit(1)


def run(work: Callable[[Ranks], None], *, engine: str | None, timeout: float) -> None:
    """Do `work` as one rank of the group; what goes wrong ends this process with a message.

    torchrun sees a rank end with an error, ends the others, and reports which one was first.
    """
    if "RANK" not in os.environ:
        command = "torchrun --nproc-per-node 2 -m tutorial_lib.distributed"
        end(f"error: RANK is not set: start this with torchrun, as in {command}\n")
    ranks = Ranks(engine=engine, timeout=timeout)
    try:
        with ranks:
            work(ranks)
    except BaseException as error:
        message = f"{error}" if isinstance(error, RunRefused) else traceback.format_exc()
        if ranks.rank:  # rank 0 speaks for all: torchrun ends the others meanwhile
            time.sleep(min(5, timeout / 2))
        end(f"error: {message}\n")
