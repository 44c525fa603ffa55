"""Whether a GPU can run an epoch in one kernel; the other kernels run wherever CUDA does."""

from collections.abc import Callable
from dataclasses import dataclass

from tutorial_lib import backend
from tutorial_lib.backend import xp
from tutorial_lib.kernels import cuda, launches
from tutorial_lib.kernels.launches import Launch

CAPABILITY = 9, 0  # of Hopper, the first GPUs with clusters


@dataclass(frozen=True)
class Device:
    """What a GPU says of itself."""

    name: str
    capability: tuple[int, int]  # compute capability
    shared: int  # bytes of shared memory that a block may have
    clusters: Callable[[Launch], int]  # how many clusters of a launch it runs at once


def this_device() -> Device | None:
    """The current GPU; None on the CPU backend."""
    if backend.name == "cpu":
        return None
    device = xp.cuda.Device()
    name = xp.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    shared = device.attributes["MaxSharedMemoryPerBlockOptin"]
    return Device(name, divmod(int(device.compute_capability), 10), shared, cuda.clusters_at_once)


def needs(hidden: int) -> tuple[str, str, str]:
    """What a GPU must have for that many hidden units: compute capability, memory, clusters."""
    launch = launches.epoch(hidden)
    clusters = f"cluster{'s' * (launch.at_once > 1)} of {launch.cluster} blocks"
    return (
        "of compute capability {}.{} or higher".format(*CAPABILITY),
        f"with {-(-launch.shared // 1024)} KB of shared memory in a block",
        f"that runs {launch.at_once} {clusters if launch.cluster > 1 else 'blocks'} at once",
    )


def problem(hidden: int, device: Device | None = None) -> str:
    """What keeps the kernel from running on the device, by default the current GPU; the remedy. In
    one sentence; empty if nothing does, as on the CPU backend, where its NumPy twin computes."""
    device = device or this_device()
    if device is None:
        return ""
    launch, (capability, memory, clusters) = launches.epoch(hidden), needs(hidden)
    if device.capability < CAPABILITY:
        need, found = capability, "is of {}.{}".format(*device.capability)
    elif device.shared < launch.shared:
        need, found = memory, f"has {device.shared // 1024} KB"
    elif (count := device.clusters(launch)) < launch.at_once:
        need, found = clusters, f"runs {count}"
    else:
        return ""
    wish = f"MnistNetOneKernel with {hidden:,} hidden units needs a GPU {need}"
    return f"{wish}; this one, {device.name}, {found}: take MnistNetCaptured"


def require(hidden: int) -> None:
    """Raises RuntimeError, with the sentence of `problem`, where this GPU cannot run the kernel."""
    if text := problem(hidden):
        raise RuntimeError(text)
