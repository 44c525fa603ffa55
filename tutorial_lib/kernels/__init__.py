"""The hand-written kernels of the fast networks: CUDA on a GPU, their NumPy twins otherwise."""

from tutorial_lib import backend

if backend.name == "gpu":
    from tutorial_lib.kernels.cuda import (
        loss_and_gradient,
        output_layer,
        train_epoch,
        update_small,
    )
else:
    from tutorial_lib.reference.kernels import (
        loss_and_gradient,
        output_layer,
        train_epoch,
        update_small,
    )

__all__ = ["loss_and_gradient", "output_layer", "train_epoch", "update_small"]
