"""The command line: `torchrun --nproc-per-node 2 -m tutorial_lib.distributed`."""

import argparse
import math
import time
from pathlib import Path
from typing import Any

from tutorial_lib.dataset import BATCH_SIZE, describe_dataset, normalized
from tutorial_lib.distributed.data_parallel import train
from tutorial_lib.distributed.ranks import Ranks, run
from tutorial_lib.networks import NETWORKS
from tutorial_lib.training import test


def parse(arguments: list[str] | None = None) -> dict[str, Any]:
    """The options by name; argparse explains a wrong one."""
    parser = argparse.ArgumentParser(prog="tutorial_lib.distributed", description=__doc__)
    add = parser.add_argument
    add("--net", choices=["fused", "naive"], default="fused")
    add("--hidden", type=int, default=30, metavar="UNITS")
    add("--epochs", type=int, default=1, help="counted from the first, resumed too")
    add("--batch", type=int, default=BATCH_SIZE, help="images of all ranks")
    add("--learning-rate", type=float, default=0.1)
    add("--overlap", action="store_true", help="send the output layer's first")
    add("--checkpoint", type=Path, metavar="PATH", help="written after each epoch")
    add("--resume", action="store_true", help="go on from --checkpoint")
    add("--engine", choices=["nccl", "gloo"], help="NCCL on GPUs, gloo on CPUs")
    add("--timeout", type=float, default=60, metavar="SECONDS", help="to wait for a rank")
    options = parser.parse_args(arguments)
    if min(options.hidden, options.epochs, options.batch) < 1:
        parser.error("--hidden, --epochs and --batch must be at least 1")
    if not (0 < options.learning_rate < math.inf and 0 < options.timeout < math.inf):
        parser.error("--learning-rate and --timeout must be finite and above 0")
    if options.resume and not options.checkpoint:
        parser.error("--resume needs --checkpoint: the file to resume from")
    return vars(options)


def work(ranks: Ranks, net: str, hidden: int, **settings: Any) -> None:
    """Train and test, as one rank; rank 0 prints."""
    if ranks.local_rank == 0:
        normalized(True)  # the first rank of a host downloads and checks the files
    ranks.gather()
    data = normalized(True)
    with NETWORKS[net](784, hidden, 10) as model:
        start = time.perf_counter()
        train(ranks, model, data, **settings)
        seconds = time.perf_counter() - start
        accuracy = test(model)  # on every rank: no rank waits for another
    if ranks.rank == 0:
        print(f"Accuracy: {accuracy:.4f}")
        print(f"Weights: equal on {ranks.size} rank{'s' * (ranks.size > 1)}, bit for bit")
        print(f"Time: {seconds:.2f} s, {ranks.engine}, {describe_dataset()}")


if __name__ == "__main__":
    options = parse()
    group = {"engine": options.pop("engine"), "timeout": options.pop("timeout")}
    run(lambda ranks: work(ranks, **options), **group)
