"""How the kernels are launched: grids, memory and clusters, and so what they need of a GPU.

Only numbers, and each of them only here: `cuda` launches with them, `needs` compares with a GPU.
"""

from dataclasses import dataclass

INPUTS, OUTPUTS = 784, 10
BATCH = 256  # images of a step in epoch.cu, and threads of a block
MAX_NARROW = 512  # hidden units in epoch.cu; beyond, the weights and a batch do not fit at once
MULTIPROCESSORS = 132  # of an H100 or H200, each of which runs a block of wide_epoch.cu
SHARED = 227 * 1024  # bytes of shared memory that a block may have on a GPU of the Hopper family
PRODUCTS = {"tf32x3": 3, "tf32": 1}  # of TF32, for one product, by precision


@dataclass(frozen=True)
class Launch:
    """One launch of the kernel of that name: clusters of blocks, and the memory of a block."""

    kernel: str
    threads: int  # of a block
    clusters: int  # in all
    cluster: int = 1  # blocks of a cluster
    shared: int = 0  # bytes of shared memory that a block gets at its launch
    cooperative: bool = False  # whether the clusters wait for one another, so that all must run
    sizes: tuple[tuple[str, int], ...] = ()  # further constants of the kernel
    dtype: str = "float32"  # of the arrays for which it has a choice

    @property
    def at_once(self) -> int:
        """How many clusters must run at the same time."""
        return self.clusters if self.cooperative else 1

    @property
    def constants(self) -> dict[str, int | str]:
        """The names in capitals that the kernel is compiled with."""
        block = {"THREADS": self.threads, "CLUSTER": self.cluster, "SHARED_BYTES": self.shared}
        c = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}[self.dtype]
        block |= {"FLOAT": c, "HALF": int(self.dtype != "float32")}
        return {"INPUTS": INPUTS, "OUTPUTS": OUTPUTS, **block, **dict(self.sizes)}


def loss_and_gradient(dtype: str = "float32") -> Launch:
    """The launch of loss_and_gradient.cu for logits of that dtype."""
    return Launch("loss_and_gradient", threads=1024, clusters=1, dtype=dtype)


def round_to_half(count: int, dtype: str) -> Launch:
    """The launch of round_to_half.cu for so many times four numbers."""
    return Launch("round_to_half", threads=256, clusters=-(-count // 256), dtype=dtype)


def epoch(hidden: int, precision: str = "tf32x3", *, profile: bool = False) -> Launch:
    """The launch of epoch.cu for that many hidden units; with a profile, it counts its cycles.

    For more than `MAX_NARROW` units, that of wide_epoch.cu. `precision`: see `in_numpy`.
    """
    if hidden > MAX_NARROW:
        return wide_epoch(hidden, precision, profile=profile)
    units, cluster, features = cut(hidden)
    buffers = 2 if shared_bytes(units, cluster, features, 2) <= SHARED else 1
    shared = shared_bytes(units, cluster, features, buffers)
    groups = -(-hidden // units)
    sizes = ("BATCH", BATCH), ("HIDDEN", hidden), ("UNITS", units), ("FEATURES", features)
    sizes += ("GROUPS", groups), ("BUFFERS", buffers), ("PRODUCTS", PRODUCTS[precision])
    sizes += (("PROFILE", int(profile)),)
    return Launch("epoch", BATCH, groups, cluster, shared, cooperative=True, sizes=sizes)


def wide_epoch(hidden: int, precision: str = "tf32x3", *, profile: bool = False) -> Launch:
    """The launch of wide_epoch.cu for that many hidden units; see `epoch`."""
    units = -(-hidden // (16 * MULTIPROCESSORS)) * 16  # of a block
    blocks = -(-hidden // units)
    floats = units * (INPUTS + 2) + 12 * (units * (1 + BATCH // 64) + BATCH) + BATCH + 12
    floats += -(-BATCH // blocks) * OUTPUTS
    sizes = ("BATCH", BATCH), ("HIDDEN", hidden), ("UNITS", units), ("BLOCKS", blocks)
    sizes += ("PRODUCTS", PRODUCTS[precision]), ("PROFILE", int(profile))
    return Launch("wide_epoch", BATCH, blocks, 1, 4 * floats, cooperative=True, sizes=sizes)


def cut(hidden: int) -> tuple[int, int, int]:
    """How epoch.cu cuts the hidden layer: units of a cluster, its blocks, features of a block.

    A GPU of the Hopper family runs 15 clusters of 8 such blocks at once, or 7 of 16.
    """
    if hidden <= 56:
        return 8, 16, 56
    return (24, 16, 56) if hidden <= 144 else (40, 8, 104)


def shared_bytes(units: int, cluster: int, features: int, buffers: int) -> int:
    """The size of `Shared` in epoch.cu, which compiles with no other."""
    share = BATCH // cluster
    floats = (buffers * BATCH + units) * features + 2 * BATCH * units
    floats += ((cluster + 1) * OUTPUTS + share) * (units + 4) + share * 12
    return 4 * floats + 16
