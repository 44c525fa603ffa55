"""The command line: `python -m tutorial_lib doctor` and `python -m tutorial_lib train`."""

import argparse
import math

from tutorial_lib import describe_backend, get_loader, test, train
from tutorial_lib.doctor import report
from tutorial_lib.networks import NETWORKS
from tutorial_lib.timing import measure


def main(arguments: list[str] | None = None) -> None:
    """Run one command; argparse explains a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m tutorial_lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what was found, what is missing, how to get it")
    training = commands.add_parser("train", help="train a network on MNIST and test it")
    training.add_argument("--net", choices=list(NETWORKS), default="fused")
    training.add_argument("--hidden", type=int, default=30, metavar="UNITS")
    training.add_argument("--epochs", type=int, default=1)
    training.add_argument("--learning-rate", type=float, default=0.1)
    options = parser.parse_args(arguments)
    if options.command == "doctor":
        print(report())
        return
    if options.epochs < 1 or not 0 < options.learning_rate < math.inf:
        parser.error("--epochs must be at least 1, --learning-rate finite and above 0")
    try:
        with NETWORKS[options.net](784, options.hidden, 10) as model:
            print(describe_backend())
            next(get_loader(train=True))  # so that no file is read in the time of training
            settings = {"epochs": options.epochs, "learning_rate": options.learning_rate}
            times = measure(lambda: train(model, **settings), repeats=1, warm_up=0)
            print(f"Accuracy: {test(model):.4f}")
    except (ValueError, RuntimeError) as error:  # a width, a GPU or files that cannot be used
        parser.error(f"--net {options.net} --hidden {options.hidden}: {error}")
    print(f"Time: {times.wall[0]:.2f} s for {options.epochs} epoch{'s' * (options.epochs > 1)}")


if __name__ == "__main__":
    main()
