"""Many contestants built side by side, then timed one at a time while all others wait.

Those that tune themselves on the GPU are built one by one, after the others. Rounds of opposite
order even out what changes with time. One that hangs, crashes, or takes its GPU context down with
it ends as failed, with the reason; the rest runs on.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tutorial_lib import results
from tutorial_lib.benchmarks.contest import CLOCKS, ROW
from tutorial_lib.benchmarks.field import Entrant

AT_ONCE = 16  # processes that set up or build
BUILD, TURN = 150, 60  # seconds at most
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # of the GPU's memory
SIDE_BY_SIDE = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}


class Contestant:
    """An entrant in a process of its own: `row` has what it found so far, or why it is out."""

    def __init__(self, entrant: Entrant, **options: Any) -> None:
        self.entrant, self.row = entrant, {}
        self.name = f"{options['hidden']:5} {entrant.name}, {entrant.arithmetic}"
        self.said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        name, *own = entrant.script.split()
        given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        command = [sys.executable, "-m", f"{__package__}.{name}", *given]
        command += ["--arithmetic", entrant.arithmetic, *own]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env=SHARED | ({} if entrant.alone else SIDE_BY_SIDE) | os.environ,
        )
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        """Collect the rows that the process prints; the last says how it ended."""
        last = ""
        for line in self.process.stdout:
            if line.startswith(ROW):
                self.said.put(json.loads(line.removeprefix(ROW)))
            last = line.strip() or last
        self.said.put({"failed": f"status {self.process.wait()}: {last[:300]}"})

    @property
    def out(self) -> bool:
        """Whether it is absent or has failed."""
        return not self.row.keys().isdisjoint(("absent", "failed"))

    def go_on(self, limit: float) -> None:
        """Let it do its next part, within so many seconds, and say what came of it."""
        if self.out:
            return
        start = time.monotonic()
        with contextlib.suppress(OSError):  # it has ended, and `listen` says how
            print(file=self.process.stdin, flush=True)
        try:
            row = self.said.get(timeout=limit)
        except queue.Empty:
            row = {"failed": f"took more than {limit:g} s"}
        for clock in CLOCKS:
            if row.get(clock) and clock in self.row:
                samples = self.row[clock]["samples"] + row[clock]["samples"]
                row[clock] = results.summary(samples)
        self.row |= row
        if self.out:
            self.process.kill()
            self.row = row
        said = row.get("absent") or row.get("failed") or "checked" * ("check" in row) or "set up"
        said = f"{row['wall']['median']:g} ms" if "wall" in row else said
        print(f"{self.name}: {said}, {time.monotonic() - start:.1f} s\n", end="", flush=True)

    def end(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def begin(entrant: Entrant, **options: Any) -> Contestant:
    """A contestant that has set up, and been built and checked, too, unless it must be alone."""
    contestant = Contestant(entrant, **options)
    for _ in range(1 if entrant.alone else 2):
        contestant.go_on(BUILD)
    return contestant


def race(entrants: Sequence[Entrant], rounds: int, **options: Any) -> Iterator[Contestant]:
    """Build all, then time them in so many rounds; each is yielded when its row has changed."""
    contestants = []
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for contestant in pool.map(partial(begin, **options), entrants):
                contestants.append(contestant)
                yield contestant
        parts = [([c for c in contestants if c.entrant.alone], BUILD)]
        parts += [(contestants[:: (-1) ** i], TURN) for i in range(rounds)]
        for those, limit in parts:
            for contestant in those:
                contestant.go_on(limit)
                yield contestant
    finally:
        for contestant in contestants:
            contestant.end()
