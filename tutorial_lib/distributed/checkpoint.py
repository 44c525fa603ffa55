"""What a run needs to go on after its last finished epoch, in one file of plain arrays."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tutorial_lib.backend import to_numpy
from tutorial_lib.distributed.rendezvous import Refused
from tutorial_lib.networks.base import PARAMETERS, MnistNetBase

Settings = Mapping[str, "str | float"]


def check_place(path: Path) -> None:
    """Try, before any training, to write next to `path`. Raises Refused; leaves nothing behind."""
    if path.exists() and not path.is_file():
        raise Refused(f"the checkpoint {path} is no file but a folder or a device: name a file")
    unfinished = _unfinished(path)
    try:
        unfinished.touch()
        unfinished.unlink()
    except OSError as error:
        raise Refused(
            f"the checkpoint {path} could not be written ({error.strerror}): name a file in a "
            "folder that exists and that you may write to"
        ) from error


def save(path: Path, model: MnistNetBase, losses: list[float], epoch: int, run: Settings) -> None:
    """Write the parameters, the losses so far, and the number of finished epochs, atomically.

    `run` is what must be the same when the run goes on. Whoever reads `path`, and whenever this
    process dies, there is either the old checkpoint or the new one. Raises Refused if the file
    cannot be written.
    """
    arrays = {name: to_numpy(getattr(model, name)) for name in PARAMETERS}
    arrays |= {"losses": np.array(losses), "epoch": np.array(epoch)}
    arrays |= {f"run_{name}": np.array(value) for name, value in run.items()}
    unfinished = _unfinished(path)
    try:
        with unfinished.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())  # the content is on the disk before the name points to it
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise Refused(f"the checkpoint {path} cannot be written: {error}") from error


def load(path: Path, model: MnistNetBase, run: Settings) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint for `model`: four parameters, losses, epoch. Never unpickles.

    Raises Refused, with `model` as it was, if there is none, if it is damaged, if it is of another
    run than `run`, or if an array cannot be what `save` wrote.
    """
    if not path.exists():
        raise Refused(f"there is no checkpoint {path}: leave out --resume to start from the first")
    names = [*PARAMETERS, "losses", "epoch", *(f"run_{name}" for name in run)]
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
    except PermissionError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}): see who may read it") from error
    except Exception as error:  # each layer of the format raises its own
        raise _damaged(path, error) from error
    for name, value in run.items():
        saved = arrays.pop(f"run_{name}").tolist()
        if saved != value:
            raise Refused(
                f"{path} is of another run: {name} was {saved}, it is now {value}. Resume with "
                "the same settings, or name another checkpoint"
            )
    _check(path, arrays, model, run)
    return arrays


def _check(path: Path, arrays: dict[str, np.ndarray], model: MnistNetBase, run: Settings) -> None:
    """Whether each array has the type, the shape and the range of what `save` writes."""
    epoch = arrays["epoch"]
    if epoch.shape or epoch.dtype.kind not in "iu" or epoch < 1:
        raise _damaged(path, f"epoch is {epoch!r}, not an integer of at least 1")
    expected = {name: getattr(model, name) for name in PARAMETERS}
    shapes = {name: (parameter.shape, parameter.dtype) for name, parameter in expected.items()}
    steps = int(epoch) * (int(run["images"]) // int(run["batch"]))
    shapes["losses"] = (steps,), np.dtype(np.float64)
    for name, (shape, dtype) in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != dtype:
            raise _damaged(path, f"{name} is {array.dtype} {array.shape}, not {dtype} {shape}")
        if not np.isfinite(array).all():
            raise _damaged(path, f"{name} has values that are not finite")


def _damaged(path: Path, what: object) -> Refused:
    return Refused(f"{path} is damaged or no checkpoint ({what}): name another, or start anew")


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")  # one file system: can be renamed
