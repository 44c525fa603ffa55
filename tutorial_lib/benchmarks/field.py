"""Who takes part in the ladder: the rungs of the book, and the peers that they have to beat."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tutorial_lib import kernels
from tutorial_lib.benchmarks.contest import ARITHMETICS, BFLOAT16, FLOAT32, HALF, TF32

WIDTHS = (30, 512, 8192)


class Entrant(NamedTuple):
    """A line of the field: a name, "rung" or "peer", a script of this folder with its options.

    `alone`: it chooses kernels by timing them, and must be built while the GPU is idle otherwise.
    """

    name: str
    kind: str
    script: str
    arithmetic: str = FLOAT32
    widest: int | None = None  # hidden units
    narrowest: int = 1
    alone: bool = False


def _in(arithmetics: Sequence[str], *line: str, narrowest: int = 1, alone: bool = False) -> list:
    starts = {a: 512 if a in HALF else narrowest for a in arithmetics}
    return [Entrant(*line, a, None, start, alone) for a, start in starts.items()]


BOTH = FLOAT32, TF32
LOOP = "--repeats 3"  # a round; each takes tenths of a second, and hardly depends on the arithmetic
LOADER = "rung --network fused --images loaded --repeats 1"  # ten seconds
OWN_HALF = "rung --network half --plans OwnEpilogPlans"
TUNED = "torch_peer --form autotuned"  # at 30 units its TF32 is too far off: by 1.4e-3
TRIPLE = "jax_peer --unroll 9 --float32 TF32_TF32_F32_X3"
FIELD = (
    Entrant("published loader", "rung", LOADER, widest=30),
    Entrant("published loop", "peer", f"rung --network fused {LOOP}"),
    Entrant("naive CuPy", "peer", f"rung --network naive {LOOP}"),
    Entrant("unchecked resets", "rung", f"rung --network unchecked {LOOP}"),
    Entrant("update in the matmul", "rung", f"rung --network inplace {LOOP}"),
    *_in(BOTH, "captured epoch", "rung", "rung --network captured"),
    Entrant("own epilog, 3xTF32", "rung", "rung --network own-epilog", narrowest=512),
    Entrant("own epilog", "rung", "rung --network own-epilog", TF32, narrowest=512),
    Entrant("one kernel, 3xTF32", "rung", "rung --network one-kernel"),
    Entrant("one kernel", "rung", "rung --network one-kernel", TF32),
    *_in(HALF, "half precision", "rung", "rung --network half"),
    *_in([BFLOAT16], "half precision, own epilog", "rung", OWN_HALF),
    Entrant("PyTorch eager", "peer", f"torch_peer --form eager {LOOP}"),
    *_in((*BOTH, BFLOAT16), "PyTorch, one CUDA graph", "peer", "torch_peer --form graph"),
    *_in(BOTH, "PyTorch, _addmm_activation", "peer", "torch_peer --form activation"),
    *_in(ARITHMETICS, "torch.compile, one CUDA graph", "peer", "torch_peer --form compiled"),
    *_in(BOTH, "torch.compile, max-autotune", "peer", TUNED, narrowest=512, alone=True),
    *_in(BOTH, "JAX scan", "peer", "jax_peer --unroll 1", alone=True),
    *_in(ARITHMETICS, "JAX scan, unrolled by 9", "peer", "jax_peer --unroll 9", alone=True),
    Entrant("JAX scan, unrolled by 9, 3xTF32", "peer", TRIPLE, alone=True),
)


def _kernels(*names: str) -> str:
    """What is compiled for these kernels, and what launches them."""
    folder, files = Path(kernels.__file__).parent, ["cuda.py", "launches.py"]
    for name in ("ptx", "common", *names):
        files += sorted(p.name for p in folder.glob("*.cu*") if p.stem.startswith(name))
    return " ".join(f"kernels/{name}" for name in files)


NETWORK = "networks/base.py networks/epochs.py networks/inputs.py networks/plans.py"
FUSED = "networks/fused.py functions.py"
IN_PLACE = f"{FUSED} networks/inplace.py {_kernels('loss_and_gradient')}"
TRITON = "kernels/in_triton.py"
SOURCES = {  # what the times of a contestant depend on, by the words of its script
    "rung": f"benchmarks/rung.py {NETWORK}",
    "naive": "networks/naive.py functions.py",
    "fused": FUSED,
    "unchecked": FUSED,
    "inplace": IN_PLACE,
    "captured": f"graphs.py {IN_PLACE}",
    "own-epilog": f"graphs.py {IN_PLACE} {TRITON}",
    "one-kernel": f"networks/one_kernel.py {_kernels('epoch', 'wide_epoch')}",
    "half": f"graphs.py networks/half.py {_kernels('loss_and_gradient', 'round_to_half')}",
    "OwnEpilogPlans": TRITON,
    **{peer: f"benchmarks/{peer}.py" for peer in ("torch_peer", "jax_peer")},
}


def sources(entrant: Entrant) -> list[str]:
    """The files of this package that the times of an entrant depend on."""
    words = ["benchmarks/contest.py", "benchmarks/turns.py", "timing.py"]
    words += [name for word in entrant.script.split() for name in SOURCES.get(word, "").split()]
    return list(dict.fromkeys(words))
