"""The companion package of the book: one network: plain, fused, and fast."""

from tutorial_lib.backend import Matmul, MatmulEpilog, xp
from tutorial_lib.dataset import BATCH_SIZE, get_loader
from tutorial_lib.doctor import describe_backend
from tutorial_lib.functions import binary_cross_entropy, one_hot, sigmoid
from tutorial_lib.networks.base import MnistNetBase
from tutorial_lib.networks.fused import MnistNet
from tutorial_lib.networks.naive import MnistNetNaive
from tutorial_lib.show import show
from tutorial_lib.training import test, train


def plot_predictions(model: MnistNetBase, num_samples: int = 10) -> None:
    """`plotting.plot_predictions`, which imports matplotlib only when it is called."""
    from tutorial_lib import plotting

    plotting.plot_predictions(model, num_samples)
