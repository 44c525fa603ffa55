"""When does fusion pay? Host and GPU time of a few steps, over width and batch size.

Launched one by one, `STEPS` steps fit into CUDA's queue, so that the host never waits for the GPU.
"""

from tutorial_lib.benchmarks import ladder

WIDTHS = (30, 128, 512, 2048, 8192)
BATCHES = (64, 256, 1024, 4096)
STEPS = 14  # of the largest batches, there are no more
NAMES = ("naive CuPy", "published loop", "update in the matmul", "captured epoch")
FIELD = [
    entrant._replace(name=f"{entrant.name}, batch {n}", script=f"{entrant.script} --batch {n}")
    for n in BATCHES
    for entrant in ladder.FIELD
    if entrant.name in NAMES and entrant.arithmetic == "float32"
]
