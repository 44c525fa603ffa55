"""The network of the book, written several times over with one interface."""

from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.captured import MnistNetCaptured
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.inplace import MnistNetInPlace
from tutorial_lib.networks.merged import MnistNetMerged
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.networks.one_kernel import MnistNetOneKernel
from tutorial_lib.networks.tuned import MnistNetTuned
from tutorial_lib.networks.unchecked import MnistNetUnchecked

NETWORKS: dict[str, type[MnistNetBase]] = {
    "naive": MnistNetNaive,
    "fused": MnistNet,
    "unchecked": MnistNetUnchecked,
    "inplace": MnistNetInPlace,
    "captured": MnistNetCaptured,
    "tuned": MnistNetTuned,
    "merged": MnistNetMerged,
    "one-kernel": MnistNetOneKernel,
}

__all__ = [
    "NETWORKS",
    "MnistNet",
    "MnistNetBase",
    "MnistNetCaptured",
    "MnistNetInPlace",
    "MnistNetMerged",
    "MnistNetNaive",
    "MnistNetOneKernel",
    "MnistNetTuned",
    "MnistNetUnchecked",
]
