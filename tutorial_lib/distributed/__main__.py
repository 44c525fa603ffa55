"""The command line: `torchrun --nproc-per-node 2 -m tutorial_lib.distributed`."""

import argparse
import time
from pathlib import Path

from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, normalized
from tutorial_lib.distributed.arguments import count, positive
from tutorial_lib.distributed.networks import NETWORKS
from tutorial_lib.distributed.ranks import LONGEST, Ranks, run
from tutorial_lib.distributed.training import train
from tutorial_lib.training import test


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; argparse explains a wrong one."""
    parser = argparse.ArgumentParser(prog="tutorial_lib.distributed", description=__doc__)
    parser.add_argument("--net", choices=NETWORKS, default="fused")
    parser.add_argument("--hidden", type=count, default=30, metavar="UNITS")
    parser.add_argument(
        "--epochs", type=count, default=1, help="counted from the first, resumed too"
    )
    parser.add_argument("--batch", type=count, default=BATCH_SIZE, help="images of all ranks")
    parser.add_argument("--learning-rate", type=positive, default=0.1)
    parser.add_argument("--overlap", action="store_true", help="send the output layer's first")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="written after each epoch")
    parser.add_argument("--resume", action="store_true", help="go on from --checkpoint")
    parser.add_argument("--engine", choices=["nccl", "gloo"], help="NCCL on GPUs, gloo on CPUs")
    parser.add_argument(
        "--timeout",
        type=positive,
        default=60,
        metavar="SECONDS",
        help="that a rank may be waited for",
    )
    options = parser.parse_args(arguments)
    if options.timeout > LONGEST:
        parser.error(
            f"argument --timeout: must be at most {LONGEST:g} s, it is {options.timeout:g}"
        )
    if options.resume and not options.checkpoint:
        parser.error("--resume needs --checkpoint: the file to resume from")
    return options


def work(ranks: Ranks, options: argparse.Namespace) -> None:
    """Train and test, as one rank; rank 0 prints."""
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
        accuracy = test(model)  # on every rank: no rank waits for another
        if ranks.rank == 0:
            print(f"Accuracy: {accuracy:.4f}")
            print(f"Weights: equal on {ranks.size} rank{'s' * (ranks.size > 1)}, bit for bit")
            print(f"Time: {seconds:.2f} s, {ranks.engine}, {describe_dataset()}")


if __name__ == "__main__":
    options = parse()
    run(lambda ranks: work(ranks, options), engine=options.engine, timeout=options.timeout)
