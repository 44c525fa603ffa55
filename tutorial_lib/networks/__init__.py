"""The network of the book, written several times over with one interface.

A network is three choices: what a step computes (its class), how its matmuls are planned
(`networks.plans`), how an epoch is launched (`networks.epochs`, and the one kernel). `NETWORKS` has
the combinations of the book by name; any other is as easy: ``MnistNetHalf(784, 30, 10,
launch=Loop)`` is the network in half precision without its graph.
"""

from collections.abc import Callable
from functools import partial

from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.epochs import Graph, Loop
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.half import MnistNetHalf
from tutorial_lib.networks.inplace import MnistNetInPlace
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.networks.one_kernel import MnistNetOneKernel, MnistNetTwin
from tutorial_lib.networks.plans import MeasuredPlans, OwnEpilogPlans, Plans, UncheckedPlans

MnistNetUnchecked = partial(MnistNet, plans=UncheckedPlans, launch=Loop)
MnistNetCaptured = partial(MnistNetInPlace, plans=UncheckedPlans, launch=Graph)
MnistNetOwnEpilog = partial(MnistNetInPlace, plans=OwnEpilogPlans, launch=Graph)

NETWORKS: dict[str, Callable[..., MnistNetBase]] = {
    "naive": MnistNetNaive,
    "fused": partial(MnistNet, plans=Plans, launch=Loop),
    "unchecked": MnistNetUnchecked,
    "inplace": partial(MnistNetInPlace, plans=UncheckedPlans, launch=Loop),
    "captured": MnistNetCaptured,
    "own-epilog": MnistNetOwnEpilog,
    "one-kernel": MnistNetOneKernel,
    "half": MnistNetHalf,
}
