"""The networks of the book as contestants: `python -m tutorial_lib.benchmarks.rung --help`."""

from argparse import Namespace
from typing import Any

from tutorial_lib import networks
from tutorial_lib.backend import MatmulComputeType, xp
from tutorial_lib.benchmarks.contest import HALF, LEARNING_RATE, TF32, Epoch, Problem, main
from tutorial_lib.dataset import per_image_loader


def rung(problem: Problem, options: Namespace) -> Epoch:
    """A network by its name in `NETWORKS`, trained by its ``epoch`` over images on the device.

    `plans` names a class of `networks.plans`; "own" keeps the network's own. With `images`
    "loaded", as published: torch's DataLoader prepares them in every epoch.
    """
    given = {} if options.plans == "own" else {"plans": getattr(networks, options.plans)}
    if problem.arithmetic == TF32:
        given["compute_type"] = MatmulComputeType.COMPUTE_32F_FAST_TF32
    if problem.arithmetic in HALF:
        given["dtype"] = problem.arithmetic
    model = problem.model = networks.NETWORKS[options.network](784, problem.hidden, 10, **given)
    if options.images == "resident":
        images = problem.images.astype(getattr(model, "dtype", xp.float32), copy=False)
        return lambda: problem.train(model, images)

    problem.model = None  # an epoch takes ten seconds: it is checked by its losses alone

    def loaded() -> Any:
        losses = xp.empty(problem.steps, xp.float32)
        for i, (x, labels) in enumerate(per_image_loader(train=True)):
            model.step(x, labels, losses[i : i + 1], LEARNING_RATE)
        return losses

    return loaded


if __name__ == "__main__":
    plans = "own", "Plans", "UncheckedPlans", "OwnEpilogPlans"
    names, images = list(networks.NETWORKS), ("resident", "loaded")
    main(rung, network=names, images=images, plans=plans)
