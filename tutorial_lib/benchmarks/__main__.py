"""The command line: `python -m tutorial_lib.benchmarks ladder`, and its other commands."""

import argparse
import functools
import os
import sys
from typing import Any

from tutorial_lib import results
from tutorial_lib.benchmarks import (
    counters,
    cpu,
    guard,
    ladder,
    phases,
    published,
    sweep,
    table,
    timeline,
)
from tutorial_lib.benchmarks.contestant import Absent
from tutorial_lib.dataset import DatasetError


def main(arguments: list[str]) -> None:
    """Parse the command line and run its command; what cannot be run is explained by argparse."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("cpu", help="an epoch of each network against a bare NumPy loop")
    command.set_defaults(run=cpu.run)
    command.add_argument("--hidden", dest="num_hidden", type=_count, default=30, metavar="UNITS")
    command.add_argument(
        "--repeats",
        type=functools.partial(_count, minimum=2),
        default=15,
        help="timed epochs of each contestant",
    )
    command = commands.add_parser(
        "published", help="the published run, beside the published numbers"
    )
    command.set_defaults(run=published.run)
    command = commands.add_parser("record", help="the README's record table, anew from the record")
    command.set_defaults(run=lambda: table.update_readme(results.ladder()))
    for name, run, widths, what in (
        ("ladder", _ladder, ladder.WIDTHS, "every rung and every peer, checked and timed"),
        ("peers", _ladder, ladder.WIDTHS, "the peers alone"),
        ("sweep", sweep.run, sweep.WIDTHS, "host and GPU time of a step over width and batch size"),
        ("timeline", timeline.run, None, "one step, statement by statement"),
        ("phases", phases.run, phases.WIDTHS, "the one kernel, phase by phase"),
        ("counters", counters.run, counters.WIDTHS, "hardware counters of each kernel, by ncu"),
    ):
        command = commands.add_parser(name, help=what)
        if run is _ladder:
            run = functools.partial(_ladder, name, arguments)
            command.add_argument("--resume", action="store_true", help="go on with an ended run")
        command.set_defaults(run=run)
        if name != "counters":
            command.add_argument("--quick", action="store_true", help="fewer repeats")
        if widths:
            command.add_argument(
                "--widths", type=_count, nargs="+", default=widths, metavar="UNITS"
            )
        if name in ("ladder", "peers", "sweep"):
            command.add_argument("--only", nargs="+", default=(), metavar="NAME")
    options = vars(parser.parse_args(arguments))
    try:
        options.pop("run")(**options)
    except (Absent, DatasetError) as error:
        parser.error(str(error))


def _count(text: str, minimum: int = 1) -> int:
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {minimum}")
    return int(text)


def _ladder(name: str, arguments: list[str], *, resume: bool, **options: Any) -> None:
    again = [*arguments, *([] if resume else ["--resume"])]
    try:
        ladder.run(name, resume=resume, **options, restart=lambda: _restart(again))
    except guard.DeviceLost as error:
        print(f"The GPU is lost to this process, {error}. A new process goes on.")
        _restart(again)


def _restart(arguments: list[str]) -> None:
    """Go on in a new process in place of this one, which also frees a GPU that hangs."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tutorial_lib.benchmarks", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
