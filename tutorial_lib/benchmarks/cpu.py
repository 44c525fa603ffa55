"""An epoch of the plain and the fused network on the CPU, against a bare NumPy loop."""

from tutorial_lib import backend
from tutorial_lib.benchmarks.contest import Absent
from tutorial_lib.benchmarks.ladder import Entrant, time_field

FIELD = (
    Entrant("bare NumPy loop", "peer", "numpy_loop"),
    Entrant("MnistNetNaive", "rung", "rung --network naive"),
    Entrant("MnistNet", "rung", "rung --network fused"),
)


def run(*, hidden: int = 30, repeats: int = 8) -> None:
    """Check, time, print, and write ``book/results/cpu_epoch.json``. Absent on a GPU backend."""
    if backend.name != "cpu":
        raise Absent("this benchmark is for the CPU: set TUTORIAL_BACKEND=cpu")
    time_field("cpu_epoch", FIELD, [hidden], repeats=repeats)
