"""What a run needs to go on after its last finished epoch, in one file of plain arrays."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed.rendezvous import Refused
from tutorial_lib.networks.base import PARAMETERS, MnistNetBase

Settings = Mapping[str, "str | float"]


def save(path: Path, model: MnistNetBase, losses: list[float], epoch: int, run: Settings) -> None:
    """Write the parameters, the losses so far, and the number of finished epochs, atomically.

    `run` is what must be the same when the run goes on. Whoever reads `path`, and whenever this
    process dies, there is either the old checkpoint or the new one. Raises Refused if the file
    cannot be written.
    """
    arrays = {name: to_numpy(getattr(model, name)) for name in PARAMETERS}
    arrays |= {"losses": np.array(losses), "epoch": np.array(epoch)}
    arrays |= {f"run_{name}": np.array(value) for name, value in run.items()}
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # one file system: can be renamed
    try:
        with unfinished.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())  # the content is on the disk before the name points to it
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise Refused(f"the checkpoint {path} cannot be written: {error}") from error


def load(path: Path, run: Settings) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint: the four parameters, losses, epoch. Never unpickles.

    Raises Refused if there is none, if it is damaged, or if it is of another run than `run`.
    """
    if not path.exists():
        raise Refused(f"there is no checkpoint {path}: leave out --resume to start from the first")
    names = [*PARAMETERS, "losses", "epoch", *(f"run_{name}" for name in run)]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Refused(
            f"{path} is damaged or no checkpoint ({error}): delete it and start anew"
        ) from error
    for name, value in run.items():
        saved = arrays.pop(f"run_{name}").item()
        if saved != value:
            raise Refused(
                f"{path} is of another run: {name} was {saved}, it is now {value}. Resume with "
                "the same settings, or name another checkpoint"
            )
    return arrays
