"""What does an arithmetic gain? The fastest forms of the step in each, at two widths."""

from functools import partial

from tutorial_lib.benchmarks import ladder
from tutorial_lib.benchmarks.contest import BFLOAT16

WIDTHS = (512, 8192)
NAMES = ("captured epoch", "own epilog", "half precision", "half precision, own epilog")
NAMES += ("torch.compile, one CUDA graph", "JAX scan, unrolled by 9")
FIELD = [
    entrant
    for entrant in ladder.FIELD
    if entrant.name in NAMES or entrant[::3] == ("PyTorch, one CUDA graph", BFLOAT16)
]
NETWORKS = ("base", "epochs", "fused", "half", "inplace", "inputs", "plans")
CONTEST = ("contest", "ladder", "rung", "torch_peer", "jax_peer")
KERNELS = ("common.cuh", "cuda.py", "in_triton.py", "launches.py", "loss_and_gradient.cu")
KERNELS += ("round_to_half.cu",)
SOURCES = (
    *(f"networks/{name}.py" for name in NETWORKS),
    *(f"benchmarks/{name}.py" for name in CONTEST),
    *(f"kernels/{name}" for name in KERNELS),
    "graphs.py",
)
# In one round: two would take more than eight minutes.
run = partial(ladder.run, "arithmetics", FIELD, WIDTHS, None, SOURCES, 1)
