"""Launches the CUDA kernels beside this file: their grids, their scratch memory, their compilation.

Shapes and meanings are those of `tutorial_lib.kernels.in_numpy`, which computes the same.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib.backend import xp
from tutorial_lib.kernels import launches
from tutorial_lib.kernels.launches import BATCH, Launch

FOLDER = Path(__file__).parent
NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14  # of CUDA's CUfunction_attribute


def source(name: str) -> str:
    """The whole of what is compiled for the kernels of ``{name}.cu``."""
    return "".join(
        (FOLDER / file).read_text(encoding="utf-8")
        for file in ("ptx.cuh", "labels.cuh", f"{name}.cu")
    )


@functools.cache
def _module(name: str, **constants: int) -> Any:
    code = source(name)
    defines = [f"-D{constant}={value}" for constant, value in constants.items()]
    return xp.RawModule(code=code, options=("--std=c++17", *defines))


@functools.cache
def _kernel(name: str, function: str, **constants: int) -> Any:
    return _module(name, **constants).get_function(function)


def _prepared(launch: Launch, **constants: int) -> Any:
    """The compiled kernel, allowed the memory and the clusters of that launch."""
    kernel = _kernel(launch.kernel, launch.kernel, **dict(launch.constants), **constants)
    kernel.max_dynamic_shared_size_bytes = launch.dynamic
    if launch.cluster > 8:  # more than every GPU with clusters allows
        attribute = NON_PORTABLE_CLUSTER_SIZE_ALLOWED
        xp.cuda.driver.funcSetAttribute(kernel.kernel.ptr, attribute, 1)
    return kernel


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
    launch = launches.output_layer(hidden, n)
    grad_hidden = xp.empty_like(before_relu)
    partial = xp.empty((launch.clusters, 11, hidden), xp.float32)
    partial_small = xp.empty((launch.clusters, 11), xp.float32)
    arrays = before_relu, wo, bo, labels, grad_hidden, partial, partial_small
    arguments = *arrays, np.int32(n), np.int32(hidden)
    kernel = _prepared(launch)
    kernel((launch.blocks,), (launch.threads,), arguments, shared_mem=launch.dynamic)
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
    images: xp.ndarray, labels: xp.ndarray, parameters: tuple[xp.ndarray, ...], learning_rate: float
) -> xp.ndarray:
    """One launch for the whole epoch."""
    return _launch_epoch(images, labels, parameters, learning_rate)


def epoch_phases(
    images: xp.ndarray, labels: xp.ndarray, parameters: tuple[xp.ndarray, ...], learning_rate: float
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
    steps, launch = len(images) // BATCH, launches.epoch(len(parameters[0]))
    kernel = _prepared(launch, **({"PROFILE": 1} if profile else {})).kernel
    if images.data.ptr % 16:  # a view that begins between the 16 bytes that a thread fetches
        images = images.copy()
    losses = xp.empty((steps, launch.cluster), xp.float32)
    partial_logits = xp.empty((2, launch.clusters, BATCH, 10), xp.float32)
    arrived = xp.zeros(launch.cluster, xp.uint32)
    arrays = images, labels, *parameters, losses, partial_logits, arrived
    arguments = *arrays, np.int32(steps), np.float32(learning_rate), *profile
    grid, block = (launch.blocks,), (launch.threads,)
    # A cooperative launch fails, rather than hangs, where the blocks cannot all run at once.
    kernel(grid, block, arguments, launch.dynamic, enable_cooperative_groups=True)
    return losses.sum(axis=1)


def describe() -> tuple[str, tuple[int, int], int]:
    """The current GPU: name, compute capability, bytes of shared memory that a block may have."""
    device = xp.cuda.Device()
    name = xp.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    major, minor = device.compute_capability[:-1], device.compute_capability[-1]
    return name, (int(major), int(minor)), device.attributes["MaxSharedMemoryPerBlockOptin"]


def clusters_at_once(launch: Launch) -> int:
    """How many clusters of that launch the current GPU runs at the same time, by its own word."""
    from cuda.bindings import driver  # comes with nvmath-python; CuPy does not ask this

    config = driver.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = launch.blocks, 1, 1
    config.blockDimX, config.blockDimY, config.blockDimZ = launch.threads, 1, 1
    config.sharedMemBytes = launch.dynamic
    function = driver.CUfunction(_prepared(launch).kernel.ptr)
    error, count = driver.cuOccupancyMaxActiveClusters(function, config)
    if error == driver.CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE:
        return 0
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the driver does not say how many clusters run at once: {error.name}")
    return count
