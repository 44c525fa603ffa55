"""The command line: `python -m tutorial_lib.benchmarks cpu` and `published`."""

import argparse

from tutorial_lib.benchmarks import cpu, published

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib.benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("cpu", help="an epoch of each network against a bare NumPy loop")
    command.add_argument("--hidden", type=int, default=30, metavar="UNITS")
    command.add_argument("--repeats", type=int, default=15, help="timed epochs of each contestant")
    commands.add_parser("published", help="the published run, beside the published numbers")
    options = parser.parse_args()
    if options.command == "cpu":
        cpu.run(num_hidden=options.hidden, repeats=options.repeats)
    else:
        published.run()
