"""Starts ranks on this host from Python, for the notebook, the tests and the benchmark."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def torchrun(ranks: int, module: str, *arguments: object, **options: Any) -> Any:
    """``torchrun --standalone --nproc-per-node RANKS -m MODULE ARGUMENTS``, run to its end.

    The ranks, one thread each, import this very package. `options` go to `subprocess.run`, whose
    CompletedProcess, with text, is returned: ``check=True`` raises CalledProcessError if one fails.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, f"--nproc-per-node={ranks}", "-m", module, *map(str, arguments)]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(command, text=True, env=environment, **options)
