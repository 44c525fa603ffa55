"""The command line: `python -m tutorial_lib.benchmarks ladder`, and its other commands."""

import argparse
from collections.abc import Sequence
from inspect import signature

from tutorial_lib.benchmarks import (
    choices,
    counters,
    eight_bits,
    elementwise,
    errors,
    fusion,
    ladder,
    matmuls,
    own_epilog,
    profiler,
    readme,
    timeline,
)
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.dataset import DatasetError

COMMANDS = {
    "published": (readme.run_published, "the published run, beside the published numbers"),
    "record": (ladder.put, "the README's table of the ladder, from its record"),
    "ladder": (ladder.run, "every rung and every peer, checked, then timed one at a time"),
    "choices": (choices.run, "finer choices of a captured step, alone and together"),
    "kernels": (profiler.run, "the kernels that one call launches, for every epilog"),
    "fusion": (fusion.run, "fused against unfused, over sizes and arithmetics"),
    "own": (own_epilog.run, "the book's own kernels against cuBLASLt's"),
    "fp8": (eight_bits.run, "training in FP8, its products, and what they need"),
    "elementwise": (elementwise.run, "operations that are no matmul: plain, fused, as kernels"),
    "errors": (errors.run, "the gradients' errors, of the one kernel and of cuBLAS"),
    "timeline": (timeline.run, "a step on the host and on the GPU, over widths and batches"),
    "phases": (timeline.run_phases, "the one kernel, phase by phase"),
    "matmuls": (matmuls.run, "the five matmuls, as cuBLASLt cuts them"),
    "counters": (counters.run, "hardware counters of each kernel, by ncu"),
}
OPTIONS = {
    "widths": {"type": int, "nargs": "+", "help": "hidden units"},
    "only": {"nargs": "+", "help": "parts of names"},
    "quick": {"action": "store_true", "help": "fewer repeats, or fewer cases"},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run its command; what cannot be run is explained by argparse."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, (run, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, argument_default=argparse.SUPPRESS)
        command.set_defaults(run=run)
        for option in OPTIONS.keys() & signature(run).parameters.keys():
            command.add_argument(f"--{option}", **OPTIONS[option])
    given = vars(parser.parse_args(arguments))
    try:
        given.pop("run")(**given)
    except (Absent, DatasetError, FileNotFoundError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
