"""GPU time apart from host time: work enqueued behind a kernel that spins.

While the kernel spins, the host gets ahead; when it ends, everything is in the queue, and the GPU
does it without once waiting for the host. The queue holds about a thousand launches: what is
measured has to stay below.
"""

import functools
from collections.abc import Callable
from typing import Any

from tutorial_lib.backend import xp

_SPIN = r"""
extern "C" __global__ void spin(const unsigned long long nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
}
"""
LONGEST = 400.0  # milliseconds


@functools.cache
def _kernel() -> Any:
    return xp.RawKernel(_SPIN, "spin")


def spin(milliseconds: float) -> None:
    """Enqueue a kernel that keeps the current stream busy for so long."""
    _kernel()((1,), (1,), (xp.uint64(1e6 * milliseconds),))


def behind_delay(enqueue: Callable[[], Any], host_ms: float, *, attempts: int = 5) -> Any:
    """What `enqueue` returns, once all of it was in the queue before any of it began; or None.

    `host_ms`: about how long `enqueue` takes; the delay starts at twice that and doubles. None if
    the host never got ahead: `enqueue` waits for the GPU, or fills the queue. In the end, the
    device has done all of it.
    """
    delay = 2 * host_ms + 0.2
    for _ in range(attempts):
        spun = xp.cuda.Event()
        spin(min(delay, LONGEST))
        spun.record()
        result = enqueue()
        ahead = not spun.done
        xp.cuda.Device().synchronize()
        if ahead:
            return result
        if delay > LONGEST:
            break
        delay *= 2
    return None


def gpu_milliseconds(enqueue: Callable[[], Any], host_ms: float) -> float | None:
    """How long the GPU takes for what `enqueue` enqueues on the current stream; None as above."""
    begin, end = xp.cuda.Event(), xp.cuda.Event()

    def timed() -> bool:
        begin.record()
        enqueue()
        end.record()
        return True

    return xp.cuda.get_elapsed_time(begin, end) if behind_delay(timed, host_ms) else None
