"""How ranks are started, and a rank in its group: its stream, its collectives, its watch."""

import faulthandler
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import Array, xp
from tutorial_lib.reference import streams


class Ranks:
    """This process among those of its group: `rank` counts from 0 to `size` - 1.

    In training, `place` says where. A collective begun there ends the process if it is not done
    after `timeout` seconds: another rank is lost.
    """

    def __init__(self, engine: str, timeout: float) -> None:
        self.engine, self.timeout, self.place = engine, timeout, ""
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._begun: deque = deque(maxlen=1000)  # further ahead of the GPU than a host gets
        host = socket.gethostname()
        self._pids = [pid for name, pid in self.gather((host, os.getpid())) if name == host]
        threading.Thread(target=self._watch, daemon=True).start()

    def sum(self, *arrays: Array, mean: bool = False) -> None:
        """Each array becomes the sum of all ranks' at its place, or their mean: dense, float32.

        In the order of CuPy's current stream; a graph can capture it, with NCCL.
        """
        streams.launch(self._sum, arrays, mean)

    def _sum(self, arrays: tuple[Array, ...], mean: bool) -> None:
        import torch

        mean_in_nccl = mean and self.engine == "nccl"
        with same_stream() as captures:
            dense = (x if x.flags.c_contiguous else x.T for x in arrays)
            tensors = [torch.from_dlpack(x).view(-1) for x in dense]  # the same memory
            works = self._begin(tensors, "AVG" if mean_in_nccl else "SUM", not captures)
            for work in () if captures else works:  # captured, it has yet to begin
                self._begun.append((time.monotonic(), self.place, work.is_completed))
                work.wait()
        if mean and not mean_in_nccl:
            for x in arrays:
                x /= self.size

    def _begin(self, tensors: list, operation: str, is_async: bool) -> list:
        """What is begun: one collective for all tensors with NCCL, one for each with gloo."""
        from torch import distributed

        operation = getattr(distributed.ReduceOp, operation)
        if self.engine == "gloo":
            return [distributed.all_reduce(x, operation, async_op=True) for x in tensors]
        options = distributed.AllreduceCoalescedOptions()
        options.reduceOp, options.asyncOp = operation, is_async
        return [distributed.group.WORLD.allreduce_coalesced(tensors, options)]

    def gather(self, what: Any = None) -> list[Any]:
        """What each rank gives, a Python object, once every rank has come here."""
        from torch import distributed

        found, over = [None] * self.size, threading.Event()
        self._begun.append((time.monotonic(), self.place, over.is_set))
        distributed.all_gather_object(found, what)
        over.set()
        return found

    def _watch(self) -> None:
        """A thread, because with NCCL the host may wait for the GPU, and that has no limit."""
        while True:
            faulthandler.dump_traceback_later(self.timeout + 5, exit=True)  # if a call keeps Python
            time.sleep(0.1)
            for start, place, is_done in self._begun.copy():
                if place and time.monotonic() - start > self.timeout and not is_done():
                    lost = f"another rank died, or kept this one waiting for {self.timeout:g} s"
                    for pid in self._pids:  # torchrun cannot end a stopped process
                        with suppress(OSError, AttributeError):  # gone, or Windows
                            os.kill(pid, signal.SIGCONT)
                    end(f"{place}: rank {self.rank} of {self.size}: {lost}")


def torchrun(ranks: int, module: str, *arguments: object, restarts: int = 0, **options: Any) -> Any:
    """Run ``torchrun --standalone --nproc-per-node RANKS -m MODULE ARGUMENTS``, a thread per rank.
    When a rank is lost, all begin again, up to `restarts` times. `options` go to `subprocess.run`;
    returns its CompletedProcess, with text."""
    flags = f"--standalone --nproc-per-node={ranks} --max-restarts={restarts} -m {module}"
    command = [sys.executable, "-m", "torch.distributed.run", *flags.split(), *map(str, arguments)]
    root, environment = Path(__file__).parents[2], os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, text=True, cwd=root, env=environment, **options)


@contextmanager
def same_stream() -> Iterator[bool]:
    """A block in which torch's current stream is CuPy's; says whether that is being captured."""
    import torch

    if backend.name == "cpu":
        yield False
        return
    stream = xp.cuda.get_current_stream()
    with torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)):
        yield stream.is_capturing()


@contextmanager
def gpu_of_its_own(gpu: int) -> Iterator[None]:
    """A block in which CuPy and torch use that GPU, and CuPy a stream that waits for no other."""
    import torch

    xp.cuda.Device(gpu).use()  # before anything is allocated
    torch.cuda.set_device(gpu)
    with xp.cuda.Stream(non_blocking=True):  # nvmath takes CuPy's
        yield


def end(message: str) -> None:
    """End this process at once, with an error: without waiting for a lock or a broken group."""
    os.write(2, f"error: {message}\n".encode())
    os._exit(1)


def run(work: Callable[[Ranks], None], engine: str | None = None, timeout: float = 60.0) -> None:
    """Do `work` as one of the ranks that torchrun started; what goes wrong ends this process.

    torchrun then ends the others, and reports which one was first. `engine` is "nccl" or "gloo";
    None takes NCCL if each rank of this host can have a GPU.
    """
    from torch import distributed

    gpus = xp.cuda.runtime.getDeviceCount() if backend.name == "gpu" else 0
    local, here = (int(os.environ.get(f"LOCAL_{name}", 1)) for name in ("RANK", "WORLD_SIZE"))
    engine = engine or ("nccl" if here <= gpus else "gloo")
    engines = "cpu:gloo,cuda:nccl" if engine == "nccl" else engine  # objects travel on the CPU
    stdout = os.dup(1)
    try:
        if engine == "nccl" and here > gpus:
            raise ValueError(f"NCCL needs a GPU for each rank: {here} ranks here, {gpus} GPUs")
        with gpu_of_its_own(local % gpus) if gpus else nullcontext():
            os.dup2(2, 1)  # gloo greets
            limit = timedelta(seconds=timeout + 300)  # a slow start; later the watch comes first
            store, rank, size = next(distributed.rendezvous("env://", timeout=limit))
            # torchrun's restart keeps the store, and in it the addresses of the ranks before.
            store = distributed.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
            distributed.init_process_group(engines, None, limit, size, rank, store)
            os.dup2(stdout, 1)
            work(Ranks(engine, timeout))
            distributed.destroy_process_group()
    except BaseException as error:
        if os.environ.get("RANK", "0") != "0":  # rank 0 speaks; torchrun ends the others meanwhile
            time.sleep(5)
        end(f"{error}" if isinstance(error, ValueError) else traceback.format_exc())
