"""Starts ranks on this host from Python, for the notebook, the tests and the benchmark."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def torchrun(ranks: int, module: str, *arguments: object, **options: Any) -> Any:
    """Run ``torchrun --standalone --nproc-per-node RANKS -m MODULE ARGUMENTS``, a thread per rank.

    `options` go to `subprocess.run`; returns its CompletedProcess, with text.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    command = [*launcher, "--standalone", "-m", module, *map(str, arguments)]
    root, environment = Path(__file__).parents[2], os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, text=True, cwd=root, env=environment, **options)
