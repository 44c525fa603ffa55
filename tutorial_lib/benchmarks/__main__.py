"""The command line: `python -m tutorial_lib.benchmarks ladder`, and its other commands."""

import argparse
import os
import sys

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


def main(arguments: list[str]) -> None:
    """Parse the command line and run its command."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("cpu", help="an epoch of each network against a bare NumPy loop")
    command.add_argument("--hidden", type=int, default=30, metavar="UNITS")
    command.add_argument("--repeats", type=int, default=15, help="timed epochs of each contestant")
    commands.add_parser("published", help="the published run, beside the published numbers")
    commands.add_parser("record", help="the README's record table, anew from the record")
    for name, widths, what in (
        ("ladder", ladder.WIDTHS, "every rung and every peer, checked and timed"),
        ("peers", ladder.WIDTHS, "the peers alone"),
        ("sweep", sweep.WIDTHS, "host and GPU time of a step over width and batch size"),
        ("timeline", None, "one step, statement by statement"),
        ("phases", phases.WIDTHS, "the one kernel, phase by phase"),
        ("counters", counters.WIDTHS, "hardware counters of each kernel, by ncu"),
    ):
        command = commands.add_parser(name, help=what)
        if name != "counters":
            command.add_argument("--quick", action="store_true", help="fewer repeats")
        if widths:
            command.add_argument("--widths", type=int, nargs="+", default=widths, metavar="UNITS")
        if name in ("ladder", "peers", "sweep"):
            command.add_argument("--only", nargs="+", default=(), metavar="NAME")
        if name in ("ladder", "peers"):
            command.add_argument("--resume", action="store_true", help="go on with an ended run")
    options = vars(parser.parse_args(arguments))
    name = options.pop("command")
    if name == "cpu":
        cpu.run(num_hidden=options["hidden"], repeats=options["repeats"])
    elif name == "published":
        published.run()
    elif name == "record":
        table.update_readme(results.ladder())
    elif name == "sweep":
        sweep.run(**options)
    elif name == "counters":
        counters.run(**options)
    elif name == "phases":
        phases.run(**options)
    elif name == "timeline":
        timeline.run(**options)
    else:
        again = [*arguments, *([] if options["resume"] else ["--resume"])]
        try:
            ladder.run(name, **options, restart=lambda: _restart(again))
        except guard.DeviceLost as error:
            print(f"The GPU is lost to this process, {error}. A new process goes on.")
            _restart(again)


def _restart(arguments: list[str]) -> None:
    """Go on in a new process in place of this one, which also frees a GPU that hangs."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tutorial_lib.benchmarks", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
