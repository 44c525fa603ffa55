"""The companion package of the book: one network: plain, fused, and fast."""

from typing import Any

from tutorial_lib.backend import Matmul, MatmulEpilog, xp
from tutorial_lib.dataset import BATCH_SIZE, get_loader
from tutorial_lib.doctor import describe_backend
from tutorial_lib.functions import binary_cross_entropy, one_hot, sigmoid
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.show import show
from tutorial_lib.training import test, train

__all__ = [
    "BATCH_SIZE",
    "Matmul",
    "MatmulEpilog",
    "MnistNet",
    "MnistNetBase",
    "MnistNetNaive",
    "binary_cross_entropy",
    "describe_backend",
    "get_loader",
    "one_hot",
    "plot_predictions",
    "show",
    "sigmoid",
    "test",
    "train",
    "xp",
]


def __getattr__(name: str) -> Any:
    if name == "plot_predictions":  # matplotlib is imported by those who plot
        from tutorial_lib.plotting import plot_predictions

        return plot_predictions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
