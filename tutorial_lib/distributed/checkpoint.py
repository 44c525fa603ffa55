"""What a run needs to go on after its last finished epoch, in one file of plain arrays."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tutorial_lib.backend import Array, to_numpy


def save(
    path: Path, whole: Mapping[str, Array], losses: list[float], epoch: int, settings: str
) -> None:
    """Write the parameters by name, the losses so far, the number of finished epochs, atomically.

    At any time `path` is the old checkpoint or the new one. Raises OSError if it cannot be written.
    """
    arrays = {name: to_numpy(parameter) for name, parameter in whole.items()}
    unfinished = path.with_name(f"{path.name}.tmp")  # in the same file system: can be renamed
    with unfinished.open("wb") as file:
        np.savez(file, **arrays, losses=np.array(losses), epoch=epoch, settings=settings)
        file.flush()
        os.fsync(file.fileno())  # the content is on the disk before the name points to it
    unfinished.replace(path)


def load(path: Path, settings: str, *, resume: bool) -> dict[str, np.ndarray]:
    """The arrays that `save` wrote, to resume from; none for a new run, which is what `resume` is
    before the first save. Raises ValueError if `path` is of other settings or would be lost."""
    if not path.parent.is_dir() or (path.exists() and not resume):
        why = "it is there: --resume goes on from it" if path.exists() else "no such folder"
        raise ValueError(f"{path} cannot become a new checkpoint, {why}")
    if not path.exists():
        if resume:
            print(f"No checkpoint at {path} yet: from the first epoch", flush=True)
        return {}
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if arrays["settings"] != settings:
        raise ValueError(f"{path} is of another run: {arrays['settings']}; this is {settings}")
    return arrays
