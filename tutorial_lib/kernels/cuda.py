"""Launches the CUDA kernels beside this file: their grids, their scratch memory, their compilation.

Shapes and meanings are those of `tutorial_lib.reference.kernels`, which computes the same.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib.backend import xp

FOLDER = Path(__file__).parent
IMAGES, CLUSTER = 16, 8  # of a cluster in output_layer.cu
BATCH = 256  # of epoch.cu
NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14  # of CUDA's CUfunction_attribute


@functools.cache
def _module(name: str, **constants: int) -> Any:
    code = "".join((FOLDER / file).read_text() for file in ("ptx.cuh", "labels.cuh", f"{name}.cu"))
    defines = [f"-D{constant}={value}" for constant, value in constants.items()]
    return xp.RawModule(code=code, options=("--std=c++17", *defines))


@functools.cache
def _kernel(name: str, function: str, **constants: int) -> Any:
    return _module(name, **constants).get_function(function)


def loss_and_gradient(
    logits: xp.ndarray, labels: xp.ndarray, gradient: xp.ndarray, loss: xp.ndarray
) -> None:
    """One launch for probabilities, loss and gradient."""
    arguments = logits, labels, gradient, loss, np.int32(len(logits))
    _kernel("loss", "loss_and_gradient")((1,), (1024,), arguments)


def output_layer(
    before_relu: xp.ndarray, wo: xp.ndarray, bo: xp.ndarray, labels: xp.ndarray
) -> tuple[xp.ndarray, tuple[xp.ndarray, xp.ndarray]]:
    """One launch for all that a step does at the output layer."""
    n, hidden = before_relu.shape
    clusters = -(-n // IMAGES)
    slice_ = -(-hidden // (32 * CLUSTER)) * 32
    grad_hidden = xp.empty_like(before_relu)
    partial = xp.empty((clusters, 11, hidden), xp.float32)
    partial_small = xp.empty((clusters, 11), xp.float32)
    shared = 4 * (10 + IMAGES) * (slice_ + 2)
    arrays = before_relu, wo, bo, labels, grad_hidden, partial, partial_small
    arguments = *arrays, np.int32(n), np.int32(hidden)
    kernel = _kernel("output_layer", "output_layer")
    kernel.max_dynamic_shared_size_bytes = shared
    kernel((clusters * CLUSTER,), (512,), arguments, shared_mem=shared)
    return grad_hidden, (partial, partial_small)


def update_small(
    sums: tuple[xp.ndarray, xp.ndarray],
    wo: xp.ndarray,
    bh: xp.ndarray,
    bo: xp.ndarray,
    loss: xp.ndarray,
    learning_rate: float,
) -> None:
    """One launch for the three small parameters."""
    partial, partial_small = sums
    clusters, rows, hidden = partial.shape
    arrays = partial, partial_small, wo, bh, bo, loss
    arguments = *arrays, np.int32(clusters), np.int32(hidden), np.float32(learning_rate)
    _kernel("output_layer", "update_small")((-(-rows * hidden // 256),), (256,), arguments)


def train_epoch(
    images: xp.ndarray,
    labels: xp.ndarray,
    parameters: tuple[xp.ndarray, ...],
    learning_rate: float,
) -> xp.ndarray:
    """One launch for the whole epoch."""
    return _launch_epoch(images, labels, parameters, learning_rate)


def epoch_phases(
    images: xp.ndarray,
    labels: xp.ndarray,
    parameters: tuple[xp.ndarray, ...],
    learning_rate: float,
) -> list[float]:
    """`train_epoch`, measured from within: clock cycles of a step by phase, in block 0."""
    cycles = xp.zeros(12, xp.int64)
    _launch_epoch(images, labels, parameters, learning_rate, cycles)
    return (cycles / (len(images) // BATCH)).tolist()


def _launch_epoch(
    images: xp.ndarray,
    labels: xp.ndarray,
    parameters: tuple[xp.ndarray, ...],
    learning_rate: float,
    *profile: xp.ndarray,
) -> xp.ndarray:
    hidden, steps = len(parameters[0]), len(images) // BATCH
    units, cluster, features = cut(hidden)
    groups = -(-hidden // units)
    shared = shared_bytes(units, cluster, features)
    constants = {"HIDDEN": hidden, "UNITS": units, "CLUSTER": cluster, "FEATURES": features}
    if profile:
        constants["PROFILE"] = 1
    kernel = _kernel("epoch", "epoch", **constants)
    kernel.max_dynamic_shared_size_bytes = shared
    if cluster > 8:  # more than every GPU with clusters allows
        attribute = NON_PORTABLE_CLUSTER_SIZE_ALLOWED
        xp.cuda.driver.funcSetAttribute(kernel.kernel.ptr, attribute, 1)
    if images.data.ptr % 16:  # a view that begins between the 16 bytes that a thread fetches
        images = images.copy()
    losses = xp.empty((steps, cluster), xp.float32)
    partial_logits = xp.empty((2, groups, BATCH, 10), xp.float32)
    arrived = xp.zeros(cluster, xp.uint32)
    # A cooperative launch fails, rather than hangs, where the blocks cannot all run at once.
    arrays = images, labels, *parameters, losses, partial_logits, arrived
    arguments = *arrays, np.int32(steps), np.float32(learning_rate), *profile
    launch = kernel.kernel
    launch((groups * cluster,), (256,), arguments, shared, enable_cooperative_groups=True)
    return losses.sum(axis=1)


def cut(hidden: int) -> tuple[int, int, int]:
    """How epoch.cu cuts the hidden layer: units of a cluster, its blocks, features of a block.

    A narrow network has blocks to spare: a larger cluster gives each of them less to do. An H200
    runs 15 clusters of 8 such blocks at once, or 7 of 16.
    """
    return (32, 16, 56) if hidden <= 128 else (40, 8, 104)


def shared_bytes(units: int, cluster: int, features: int) -> int:
    """The size of `Shared` in epoch.cu."""
    share = BATCH // cluster
    floats = (BATCH + units) * (features + 4) + units * (2 * BATCH + 16)
    floats += (2 * units + 1) * (share + 1) + 10 * (units + 4) + share * 12
    floats += 10 * (units + 1) + 256 // units * units + share * 10 + units + 10
    return 4 * floats
