"""Starts ranks on this host from Python: for the notebook, the tests and the benchmark."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE_ROOT = Path(__file__).parents[2]


def torchrun(
    ranks: int, module: str, *arguments: object, **options: Any
) -> subprocess.CompletedProcess[str]:
    """``torchrun --standalone --nproc-per-node RANKS -m MODULE ARGUMENTS``, run to its end.

    A free port is found, each rank computes with one thread, and the ranks import this very
    package. `options` go to `subprocess.run`: ``check=True`` raises CalledProcessError if a rank
    fails, ``capture_output=True`` keeps what was printed.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", str(ranks), "-m", module, *map(str, arguments)]
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(command, text=True, env=environment, **options)
