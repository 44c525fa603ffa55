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
FILES = {
    "networks": "base.py epochs.py fused.py half.py inplace.py inputs.py plans.py",
    "benchmarks": "contest.py ladder.py rung.py torch_peer.py jax_peer.py",
    "kernels": "common.cuh cuda.py in_triton.py launches.py loss_and_gradient.cu round_to_half.cu",
}
SOURCES = *(f"{folder}/{x}" for folder, names in FILES.items() for x in names.split()), "graphs.py"
# In one round: two would take more than eight minutes.
run = partial(ladder.run, "arithmetics", FIELD, WIDTHS, None, SOURCES, 1)
