"""The command line: `torchrun --nproc-per-node 2 -m tutorial_lib.distributed`."""

import argparse
import time
from pathlib import Path

from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, normalized
from tutorial_lib.distributed.networks import NETWORKS
from tutorial_lib.distributed.ranks import Ranks, run
from tutorial_lib.distributed.rendezvous import Refused
from tutorial_lib.distributed.training import train
from tutorial_lib.training import test


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; argparse explains a wrong one."""
    parser = argparse.ArgumentParser(prog="tutorial_lib.distributed", description=__doc__)
    parser.add_argument("--net", choices=NETWORKS, default="fused")
    parser.add_argument("--hidden", type=int, default=30, metavar="UNITS")
    parser.add_argument("--epochs", type=int, default=1, help="counted from the first, resumed too")
    parser.add_argument("--batch", type=int, default=BATCH_SIZE, help="images of all ranks")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--overlap", action="store_true", help="send the output layer's first")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="written after each epoch")
    parser.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    parser.add_argument("--engine", choices=["nccl", "gloo"], help="NCCL on GPUs, gloo on CPUs")
    parser.add_argument(
        "--timeout",
        type=float,
        default=60,
        metavar="SECONDS",
        help="that a rank may be waited for",
    )
    return parser.parse_args(arguments)


def work(ranks: Ranks, options: argparse.Namespace) -> None:
    """Train and test, as one rank; rank 0 prints."""
    if options.hidden < 1:
        raise Refused(f"--hidden must be at least 1, it is {options.hidden}")
    if ranks.local_rank:
        ranks.wait_for_all()
    images, labels = normalized(True)  # the first rank of a host downloads and checks the files
    if not ranks.local_rank:
        ranks.wait_for_all()
    with NETWORKS[options.net](784, options.hidden, 10) as model:
        start = time.perf_counter()
        train(
            ranks,
            model,
            images,
            labels,
            epochs=options.epochs,
            batch=options.batch,
            learning_rate=options.learning_rate,
            overlap=options.overlap,
            checkpoint=options.checkpoint,
            resume=options.resume,
        )
        seconds = time.perf_counter() - start
        if ranks.rank == 0:
            print(f"Accuracy: {test(model):.4f}")
            print(f"Weights: equal on {ranks.size} rank{'s' * (ranks.size > 1)}, bit for bit")
            print(f"Time: {seconds:.2f} s, {ranks.engine}, {describe_dataset()}")


if __name__ == "__main__":
    options = parse()
    run(lambda ranks: work(ranks, options), engine=options.engine, timeout=options.timeout)
