"""Compiles the CUDA kernels beside this file; each is launched by its numbers in `launches`."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib.backend import Array, xp
from tutorial_lib.kernels import launches
from tutorial_lib.kernels.launches import BATCH, OUTPUTS, Launch

FOLDER = Path(__file__).parent


def source(kernel: str) -> str:
    """The whole of what is compiled for the kernel of that name."""
    parts = sorted(FOLDER.glob(f"{kernel}_*.cuh"))
    files = FOLDER / "ptx.cuh", FOLDER / "common.cuh", *parts, FOLDER / f"{kernel}.cu"
    return "".join(file.read_text(encoding="utf-8") for file in files)


@functools.cache
def compiled(launch: Launch, device: int) -> Any:
    """The kernel for that launch on the current GPU, `device`: a function belongs to one GPU."""
    constants = (f"-D{name}={value}" for name, value in launch.constants.items())
    module = xp.RawModule(code=source(launch.kernel), options=("--std=c++17", *constants))
    kernel = module.get_function(launch.kernel)
    if launch.shared:
        kernel.max_dynamic_shared_size_bytes = launch.shared
    if launch.cluster > 8:  # CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, which is 14
        xp.cuda.driver.funcSetAttribute(kernel.kernel.ptr, 14, 1)
    return kernel.kernel


def run(launch: Launch, *arguments: Any) -> None:
    """Launch the kernel with its arguments: arrays and NumPy scalars."""
    kernel = compiled(launch, xp.cuda.Device().id)
    size = (launch.clusters * launch.cluster,), (launch.threads,)
    # A cooperative launch fails, rather than hangs, where the blocks cannot all run at once.
    kernel(*size, arguments, launch.shared, enable_cooperative_groups=launch.cooperative)


def loss_and_gradient(logits: Array, *others: Array) -> None:
    """One launch of one block."""
    launch = launches.loss_and_gradient(logits.dtype.name)
    run(launch, logits, *others, np.int32(len(logits)))


loss_in_half = loss_and_gradient


def round_to_half(masters: Array, copies: Array) -> None:
    """One launch of a thread for each four numbers."""
    count = len(masters)
    run(launches.round_to_half(count, copies.dtype.name), masters, copies, np.int32(count))


def train_epoch(
    images: Array,
    labels: Array,
    parameters: Sequence[Array],
    learning_rate: float,
    precision: str = "tf32x3",
    cycles: Array | None = None,
) -> Array:
    """One launch for the whole epoch; `cycles` (10,), if given, counts those of each phase."""
    hidden, steps = len(parameters[0]), len(images) // BATCH
    launch = launches.epoch(hidden, precision, profile=cycles is not None)
    if images.data.ptr % 16:  # a view that begins between the 16 bytes that a thread fetches
        images = images.copy()
    wide = launch.kernel == "wide_epoch"
    parts = launch.clusters if wide else launch.cluster * 5  # of each loss: from each of 5 warps
    losses = xp.empty((steps, parts), xp.float32)
    numbers = (launch.clusters + 1,) if wide else (2, launch.clusters)
    exchange = xp.zeros((*numbers, BATCH, OUTPUTS), xp.float32)
    arrays = images, labels, *parameters, losses, exchange
    cycles = np.intp(0) if cycles is None else cycles  # no address
    run(launch, *arrays, np.int32(steps), np.float32(learning_rate), cycles)
    return losses.sum(axis=1)


def epoch_phases(images: Array, *arguments: Any) -> dict[str, float]:
    """`train_epoch`, measured from within: clock cycles of a step by phase, in block 0."""
    kernel = launches.epoch(len(arguments[1][0])).kernel
    (names,) = re.findall(r"enum class Phase {([^}]*)}", source(kernel))
    phases = [name.strip().replace("_", " ") for name in names.split(",")]
    cycles = xp.zeros(len(phases), xp.int64)
    train_epoch(images, *arguments, cycles=cycles)
    return dict(zip(phases, (cycles / (len(images) // BATCH)).tolist()))


def clusters_at_once(launch: Launch) -> int:
    """How many clusters of that launch the current GPU runs at the same time, by its own word."""
    kernel = compiled(launch, xp.cuda.Device().id).ptr
    if launch.cluster == 1:  # blocks, of which the driver says how many one multiprocessor runs
        numbers = launch.threads, launch.shared
        count = xp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel, *numbers)
        return count * xp.cuda.Device().attributes["MultiProcessorCount"]
    from cuda.bindings import driver  # comes with nvmath-python; CuPy does not ask this

    config = driver.CUlaunchConfig()
    config.gridDimX, config.blockDimX = launch.clusters * launch.cluster, launch.threads
    config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1
    config.sharedMemBytes = launch.shared
    error, count = driver.cuOccupancyMaxActiveClusters(driver.CUfunction(kernel), config)
    if error == driver.CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE:
        return 0
    xp.cuda.driver.check_status(int(error))  # raises CUDADriverError
    return count
