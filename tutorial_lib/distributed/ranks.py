"""A rank in its group: its device, its one stream, its collectives, and how it ends."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.distributed.rendezvous import JOIN_SECONDS, RankLost, Refused, Rendezvous
from tutorial_lib.distributed.watch import Watch, end

LONGEST = 86_400.0  # seconds
TORCH_LATER = 5.0  # seconds that torch's own limit leaves to ours


class Ranks(Rendezvous):
    """One of a group of ranks, inside a ``with`` block, with the collectives of torch.distributed.

    `engine` is "nccl" or "gloo"; None takes NCCL on the GPU backend and gloo without. `timeout` is
    for how many seconds a rank may keep the others waiting in a collective. Where the host does not
    wait in the collective, as with NCCL, a `Watch` sees to it, and ends this process.

    On a GPU the block runs on **one stream**, a non-blocking one that is the current stream of
    CuPy, of nvmath (which follows CuPy) and of torch alike. A collective of torch waits for the
    current stream and makes the current stream wait for it. So it begins after the kernels that
    wrote its operand, and what reads the result begins after it, with no synchronization to forget.
    """

    def __init__(self, *, engine: str | None = None, timeout: float = 60.0) -> None:
        if not 0 < timeout <= LONGEST:  # nan is neither
            raise Refused(f"--timeout must be above 0 and at most {LONGEST:g} s, it is {timeout:g}")
        super().__init__()
        self.engine = engine or ("nccl" if backend.name == "gpu" else "gloo")
        self.timeout = timeout
        self._inside = ExitStack()
        self._watch = Watch(self._end_lost, self._use_device)
        self._device: int | None = None
        self.pids: list[int] = []  # of the ranks on this host

    def __enter__(self) -> "Ranks":
        import torch

        options: dict[str, Any] = {}
        if backend.name == "gpu":
            self._device = self._pick_device(xp.cuda.runtime.getDeviceCount())
            xp.cuda.Device(self._device).use()  # before anything is allocated
            self._use_device()
            if self.engine == "nccl":
                options["device_id"] = torch.device("cuda", self._device)
        elif self.engine == "nccl":
            raise Refused(f"NCCL needs GPUs, and there are none here: {backend.reason}")
        if self.local_size == self.size and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one host: no network is needed
        # After NCCL's limit torch waits four times as long, by default a minute, for a dump.
        os.environ.setdefault("TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "250")
        self.store.set(f"pid/{self.rank}", str(os.getpid()))
        self.wait_for_all()
        first = self.rank - self.local_rank
        here = range(first, first + self.local_size)
        self.pids = [int(self.store.get(f"pid/{rank}")) for rank in here]
        self._watch.start()
        torchs_limit = self.timeout + TORCH_LATER
        joining = self._watch.limited(self.place, JOIN_SECONDS)
        with _silent_stdout(), joining, self.losing(torchs_limit):  # gloo greets
            torch.distributed.init_process_group(
                self.engine,
                store=torch.distributed.PrefixStore("group", self.store),
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=torchs_limit),
                **options,
            )
        if backend.name == "gpu":
            self._share_stream()
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        from torch import distributed

        if kind is None:  # otherwise the others may be gone, and there is nobody to part from
            if backend.name == "gpu":
                with self._watch.limited(self.place, self.timeout):
                    xp.cuda.Device().synchronize()
            self._watch.settle()
            with self._watch.limited(self.place, self.timeout):
                distributed.destroy_process_group()
        self._watch.stop()
        self._inside.close()

    def _use_device(self) -> None:
        if self._device is not None:
            import torch

            torch.cuda.set_device(self._device)

    def _end_lost(self, place: str, seconds: float) -> None:
        """End this process from the watch's thread; the main thread may be stuck in a C call."""
        end(f"error: {self.loss(seconds, place)}\n", self.pids)

    def _share_stream(self) -> None:
        import torch

        xp.cuda.Device().synchronize()  # what the default streams began is done
        stream = self._inside.enter_context(xp.cuda.Stream(non_blocking=True))
        self._inside.enter_context(torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)))

    def _pick_device(self, gpus: int) -> int:
        if self.engine == "nccl" and self.local_size > gpus:
            raise Refused(
                f"{self.local_size} ranks on this host, but {gpus} GPU{'s' * (gpus != 1)}: start "
                f"at most {gpus} here, or let ranks share a GPU with --engine gloo"
            )
        return self.local_rank % gpus

    def sum(self, tensor: Any, *, wait: bool = True) -> Any:
        """The all-reduce: `tensor` becomes, on every rank and in place, the sum over the ranks.

        With ``wait=False`` it has only begun: pass what this returns to `finish`. Raises RankLost.
        """
        from torch import distributed

        travelling = self._begin(distributed.all_reduce, tensor)
        return self.finish(travelling) if wait else travelling

    def finish(self, travelling: Any) -> None:
        """Wait for an all-reduce: the host on gloo, the stream on NCCL. Raises RankLost."""
        with self.losing(self.timeout):
            travelling.wait()

    def broadcast(self, tensor: Any) -> None:
        """`tensor` becomes, in place, that of rank 0. Raises RankLost."""
        from torch import distributed

        self.finish(self._begin(distributed.broadcast, tensor, src=0))

    def _begin(self, collective: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        begun: list[Any] = []  # empty as long as the call itself keeps the host
        self._watch.expect(
            self.place, self.timeout, lambda: bool(begun) and begun[0].is_completed()
        )
        with self.losing(self.timeout):
            begun.append(collective(*arguments, async_op=True, **options))
        return begun[0]


@contextmanager
def _silent_stdout() -> Iterator[None]:
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def run(work: Callable[[Ranks], None], *, engine: str | None, timeout: float) -> None:
    """Do `work` as one rank of the group; what goes wrong ends this process with a message.

    torchrun sees a rank end with an error, ends the others, and reports which one was first.
    """
    try:
        ranks = Ranks(engine=engine, timeout=timeout)
    except (Refused, RankLost) as error:
        sys.exit(f"error: {error}")
    try:
        with ranks:
            work(ranks)
        return
    except Refused as error:
        ranks.tell_once(f"error: {error}")
    except RankLost as error:
        end(f"error: {error}\n", ranks.pids)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    end()
