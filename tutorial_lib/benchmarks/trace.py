"""When does each kernel of a call run? Launches and kernels on one clock, by CUPTI."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tutorial_lib import backend
from tutorial_lib.benchmarks.contest import need_gpu
from tutorial_lib.benchmarks.profiler import listed

CALL = "the call that is traced"
LAUNCHES, WORK = ("cuda_runtime", "cuda_driver"), ("kernel", "gpu_memset", "gpu_memcpy")


def traced(work: Callable[[], Any]) -> dict[str, Any]:
    """The second of two calls of `work`, as `read` says; the profiler slows the host."""
    need_gpu("kernels are traced")
    from torch.profiler import ProfilerActivity, profile, record_function

    both = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=both, acc_events=True) as seen:
        work()
        backend.synchronize()
        with record_function(CALL):
            work()
        backend.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        seen.export_chrome_trace(str(path))
        return read(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])


def read(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """From a trace in Chrome's format: microseconds of the call on the host, and its kernels.

    Of each: name, microseconds, blocks, threads of a block, and when it was launched and began to
    run, in microseconds after the call began.
    """
    spans = [event for event in events if event.get("ph") == "X"]
    (call,) = (e for e in spans if (e["name"], e["cat"]) == (CALL, "user_annotation"))

    def since(event: dict[str, Any]) -> float:
        return round(event["ts"] - call["ts"], 2)

    launched = {e["args"].get("correlation"): since(e) for e in spans if e["cat"] in LAUNCHES}
    found = sorted((e for e in spans if e["cat"] in WORK and since(e) > 0), key=since)
    kernels = listed([(event["name"], round(event["dur"], 2)) for event in found])
    for row, event in zip(kernels, found):
        its = event["args"]
        row |= {"grid": its.get("grid"), "block": its.get("block"), "start": since(event)}
        row["launched"] = launched.get(its.get("correlation"))
    return {"host_us": round(call["dur"], 2), "kernels": kernels}
