"""The command line: `python -m tutorial_lib.benchmarks ladder`, and its other commands."""

import argparse
import functools
from collections.abc import Sequence

from tutorial_lib.benchmarks import counters, cpu, ladder, phases, published, sweep, timeline
from tutorial_lib.benchmarks.contest import Absent, positive
from tutorial_lib.dataset import DatasetError

OPTIONS = {
    "widths": {"type": positive, "nargs": "+", "help": "hidden units"},
    "only": {"nargs": "+", "help": "parts of names"},
    "quick": {"action": "store_true", "help": "fewer repeats"},
    "hidden": {"type": positive, "help": "hidden units"},
    "repeats": {"type": positive, "help": "timed epochs of each contestant in each of two rounds"},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run its command; what cannot be run is explained by argparse."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, run, options, what in (
        ("cpu", cpu.run, "hidden repeats", "an epoch of each network against a bare NumPy loop"),
        ("published", published.run, "", "the published run, beside the published numbers"),
        ("record", ladder.put, "", "the README's table of the ladder, from its record"),
        (
            "ladder",
            functools.partial(ladder.run, "ladder"),
            "widths only quick",
            "every rung and peer",
        ),
        ("peers", functools.partial(ladder.run, "peers"), "widths only quick", "the peers alone"),
        ("sweep", sweep.run, "widths only quick", "a step over width and batch size"),
        ("timeline", timeline.run, "", "one step, statement by statement"),
        ("phases", phases.run, "widths", "the one kernel, phase by phase"),
        ("counters", counters.run, "widths", "hardware counters of each kernel, by ncu"),
    ):
        command = commands.add_parser(name, help=what, argument_default=argparse.SUPPRESS)
        command.set_defaults(run=run)
        for option in options.split():
            command.add_argument(f"--{option}", **OPTIONS[option])
    given = vars(parser.parse_args(arguments))
    try:
        given.pop("run")(**given)
    except (Absent, DatasetError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
