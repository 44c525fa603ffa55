"""A rank in its group: its device, its stream, its collectives, and the watch that ends it."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp

JOIN_SECONDS = 300.0  # for a rank to start, to import, to load the data
POLL = 0.1  # seconds between two looks of the watch


class RunRefused(Exception):
    """Something that every rank finds wrong at the same point; rank 0 says it for all."""


class Ranks:
    """This process among those that torchrun started: one of a group, inside a ``with`` block.

    `rank` counts from 0 to `size` - 1 over all hosts, `local_rank` on this one. `engine` is "nccl"
    or "gloo"; None takes NCCL on a GPU and gloo without. `place` is what a lost rank's error names.
    """

    def __init__(self, *, engine: str | None = None, timeout: float = 60.0) -> None:
        self.engine = engine or ("nccl" if backend.name == "gpu" else "gloo")
        self.timeout, self.place = timeout, "at the start"
        names = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
        self.rank, self.size, self.local_rank, self.local_size = (
            int(os.environ[name]) for name in names
        )
        self._begun: list[str] = []  # the place of each collective
        self._inside = ExitStack()

    def __enter__(self) -> "Ranks":
        from torch import distributed

        gpus = xp.cuda.runtime.getDeviceCount() if backend.name == "gpu" else 0
        if self.engine == "nccl" and self.local_size > gpus:
            short = f"{self.local_size} ranks on this host, {gpus} GPUs"
            raise RunRefused(f"NCCL needs a GPU for each rank: {short}. Or take --engine gloo")
        if gpus:
            self.share_stream(self.local_rank % gpus)
        if self.local_size == self.size:
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

    def share_stream(self, gpu: int) -> None:
        """Make a new stream on `gpu` the current one of CuPy, nvmath (as CuPy) and torch.

        A collective begins after the kernels that wrote its operand; its readers come after it.
        """
        import torch

        xp.cuda.Device(gpu).use()  # before anything is allocated
        torch.cuda.set_device(gpu)
        xp.cuda.Device().synchronize()  # what the default streams began is done
        stream = self._inside.enter_context(xp.cuda.Stream(non_blocking=True))
        self._inside.enter_context(torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)))

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

    def agree(self, work: Callable[[], Any]) -> Any:
        """What `work` returns on rank 0, which alone does it, on all; its RunRefused, too."""
        answer = None
        if self.rank == 0:
            try:
                answer = work()
            except RunRefused as error:
                answer = error
        answer = self.gather(answer)[0]
        if isinstance(answer, RunRefused):
            raise answer
        return answer

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A block, begun once all have come, in which no rank waits longer than `timeout` seconds.

        A thread sees to it: with NCCL the host may wait for the GPU, and that has no limit.
        """
        store, over = self._store.clone(), threading.Event()
        self._beat(store)
        self.gather()
        watch = threading.Thread(target=self._watch, args=(store, over), daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()

    def _beat(self, store: Any) -> list[list[bytes]]:
        """Tell the others how far this rank is; returns how far each has come."""
        beat = f"{len(self._begun)} {os.getpid()} {time.monotonic()}"
        store.set(f"beat {self.rank}", beat)
        return [beat.split() for beat in store.multi_get([f"beat {r}" for r in range(self.size)])]

    def _watch(self, store: Any, over: threading.Event) -> None:
        """Lost is who does not beat, or has begun fewer collectives than this rank, too long."""
        last: dict[int, tuple[Any, float]] = {}
        while not over.wait(POLL):
            for rank, (begun, pid, tick) in enumerate(self._beat(store)):
                sign = begun if int(begun) < len(self._begun) else tick
                if rank not in last or last[rank][0] != sign:
                    last[rank] = sign, time.monotonic()
                elif time.monotonic() - last[rank][1] > self.timeout:
                    place = [*self._begun[int(begun) :], self.place][0]
                    if rank // self.local_size == self.rank // self.local_size:  # on this host
                        with suppress(OSError):  # torchrun cannot end a stopped process: wake it
                            os.kill(int(pid), signal.SIGCONT)
                    lost = f"another rank died, or kept this one waiting for {self.timeout:g} s"
                    end(f"error: {place}: rank {self.rank} of {self.size}: {lost}\n")


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
    except RunRefused as error:
        time.sleep(10 * (ranks.rank > 0))  # until rank 0 has said it, and torchrun ends this one
        end(f"error: {error}\n")
    except BaseException:
        place = f"{ranks.place}: rank {ranks.rank} of {ranks.size}"
        end(f"{traceback.format_exc()}error: {place} failed, see above\n")
