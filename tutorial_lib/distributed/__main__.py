"""The command line: `torchrun --nproc-per-node 2 -m tutorial_lib.distributed`."""

import argparse
from pathlib import Path
from typing import Any

from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, normalized
from tutorial_lib.distributed.ranks import Ranks, run
from tutorial_lib.distributed.trainer import PARALLEL, on_ranks, train
from tutorial_lib.networks import Graph, Loop, MnistNet, MnistNetInPlace, MnistNetNaive
from tutorial_lib.timing import measure
from tutorial_lib.training import test

NETS = {"naive": (MnistNetNaive, Loop), "fused": (MnistNet, Loop)}
NETS |= {"captured": (MnistNetInPlace, Graph)}


def main(arguments: list[str] | None = None) -> None:
    """Be one rank of a training; argparse explains a wrong option."""
    parser = argparse.ArgumentParser(prog="tutorial_lib.distributed", description=__doc__)
    add = parser.add_argument
    add("--net", choices=list(NETS), default="fused")
    add("--parallel", choices=list(PARALLEL), default="data", help="what is cut: batch or units")
    add("--hidden", type=int, default=30, metavar="UNITS")
    add("--epochs", type=int, default=1, help="counted from the first, resumed too")
    add("--batch", type=int, default=BATCH_SIZE, help="images of all ranks")
    add("--learning-rate", type=float, default=0.1)
    add("--checkpoint", type=Path, metavar="PATH", help="written after each epoch")
    add("--resume", action="store_true", help="go on from --checkpoint, if any")
    add("--engine", choices=["nccl", "gloo"], help="NCCL needs a GPU for each rank")
    add("--timeout", type=float, default=60.0, metavar="SECONDS", help="to wait for a rank")
    options = parser.parse_args(arguments)
    if options.epochs < 1 or not options.timeout > 0 or (options.resume and not options.checkpoint):
        parser.error("--epochs are at least 1, --timeout is above 0, --resume needs --checkpoint")
    able = [net for net in NETS if issubclass(NETS[net][0], tuple(PARALLEL[options.parallel]))]
    if options.net not in able:
        parser.error(f"--parallel {options.parallel} needs --net {' or '.join(able)}")
    group = {name: vars(options).pop(name) for name in ("engine", "timeout")}
    run(lambda ranks: work(ranks, **vars(options)), **group)


def work(ranks: Ranks, net: str, parallel: str, hidden: int, **settings: Any) -> None:
    """Train and test, as one rank; rank 0 prints."""
    ranks.gather(ranks.rank == 0 and len(normalized(True)))  # it downloads what is missing
    data = normalized(True)
    network, launch = NETS[net]
    with on_ranks(parallel, network, ranks, 784, hidden, 10, launch=launch) as model:
        times = measure(lambda: train(model, data, **settings), repeats=1, warm_up=0)
        ranks.place = "the test"  # on every rank
        accuracy = test(model)
        ranks.place = ""
    if ranks.rank == 0:
        print(f"Accuracy: {accuracy:.4f}")
        print(f"Weights: equal on {ranks.size} ranks, bit for bit")
        print(f"Time: {times.wall[0]:.2f} s, {ranks.engine}, {describe_dataset()}")


if __name__ == "__main__":
    main()
