"""How the large kernels are launched: grids, memory and clusters, and so what they need of a GPU.

Only numbers: `tutorial_lib.kernels.cuda` launches by them, `tutorial_lib.kernels.needs` compares
them with a GPU.
"""

from dataclasses import dataclass

BATCH = 256  # of epoch.cu
IMAGES, CLUSTER = 16, 8  # of a cluster in output_layer.cu


@dataclass(frozen=True)
class Launch:
    """One launch of the kernel of that name: clusters of blocks, and the memory of a block."""

    kernel: str
    threads: int  # of a block
    cluster: int  # blocks of a cluster
    clusters: int  # in all
    at_once: int  # clusters that must run at the same time, because they wait for one another
    dynamic: int  # bytes of shared memory that a block gets at its launch
    static: int = 0  # bytes of shared memory that the kernel's code declares
    constants: tuple[tuple[str, int], ...] = ()  # that it is compiled with
    capability: tuple[int, int] = (9, 0)  # the first GPUs with clusters are Hopper's

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.clusters * self.cluster

    @property
    def shared(self) -> int:
        """All bytes of shared memory that a block takes."""
        return self.static + self.dynamic


def output_layer(hidden: int, n: int = BATCH) -> Launch:
    """The launch of output_layer.cu for n images and that many hidden units."""
    slice_ = -(-hidden // (32 * CLUSTER)) * 32  # hidden units of a block
    dynamic = 4 * (10 + IMAGES) * (slice_ + 2)
    static = 4 * (8 + 1 + 1) * 10 * IMAGES + 16 * 3 * IMAGES
    return Launch("output_layer", 512, CLUSTER, -(-n // IMAGES), 1, dynamic, static)


def epoch(hidden: int) -> Launch:
    """The launch of epoch.cu for that many hidden units."""
    units, cluster, features = cut(hidden)
    groups = -(-hidden // units)
    constants = {"HIDDEN": hidden, "UNITS": units, "CLUSTER": cluster, "FEATURES": features}
    dynamic = shared_bytes(units, cluster, features)
    compiled_with = tuple(constants.items())
    return Launch("epoch", 256, cluster, groups, groups, dynamic, constants=compiled_with)


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
