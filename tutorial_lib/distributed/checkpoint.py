"""What a run needs to go on after its last finished epoch, in one file of plain arrays."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed.ranks import RunRefused
from tutorial_lib.networks.base import PARAMETERS, MnistNetBase

Settings = Mapping[str, Any]  # what must be the same when a run goes on


def save(path: Path, model: MnistNetBase, losses: list[float], epoch: int, run: Settings) -> None:
    """Write the parameters, the losses so far, and the number of finished epochs, atomically.

    Whoever reads `path`, and whenever this process dies, there is either the old checkpoint or the
    new one. Raises RunRefused if the file cannot be written.
    """
    arrays = {name: to_numpy(getattr(model, name)) for name in PARAMETERS}
    unfinished = path.with_name(f"{path.name}.tmp")  # in the same file system: can be renamed
    try:
        with unfinished.open("wb") as file:
            np.savez(file, **arrays, losses=np.array(losses), epoch=epoch, **run)
            file.flush()
            os.fsync(file.fileno())  # the content is on the disk before the name points to it
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise RunRefused(f"the checkpoint {path} cannot be written: {error}") from error


def find(path: Path, resume: bool, run: Settings) -> dict[str, np.ndarray] | None:
    """The arrays of the checkpoint to go on from; None for a new run. Never unpickles.

    Raises RunRefused if there is none, or one although nothing is resumed; if it is damaged, of
    another run than `run`, or where no file can be written.
    """
    is_file = path.is_file()
    if path.exists() != is_file or not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise RunRefused(
            f"the checkpoint {path} cannot be written: name a file in a folder of yours"
        )
    if is_file and not resume:
        raise RunRefused(f"{path} is there already: --resume goes on from it, or delete it first")
    if not resume:
        return None
    if not is_file:
        raise RunRefused(f"there is no checkpoint {path}: leave out --resume to start a new run")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*PARAMETERS, "losses", "epoch", *run)}
    except Exception as error:  # each layer of the format raises its own
        raise RunRefused(f"{path} is damaged or no checkpoint ({error}): name another") from error
    for name, value in run.items():
        if arrays[name].tolist() != value:
            change = f"{name} was {arrays[name]}, it is now {value}"
            raise RunRefused(f"{path} is of another run: {change}. Resume with the same settings")
    return arrays
