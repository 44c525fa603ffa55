"""The four MNIST files: found, verified, downloaded.

A file is identified by the MD5 of its unpacked content, so it may be packed or not and may have
any of the usual names. The files are read in place, from ``MNIST_ROOT`` or else from ``data``
beside the package. Nothing is unpacked on disk, and a download gets its name only once it is
complete. So any number of processes may start at once, and one that is killed does no harm.
"""

import functools
import gzip
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
import uuid
import zlib
from pathlib import Path

FILES = {  # by the MD5 of the unpacked content
    "6bbc9ace898e44ae57da46a324031adb": "train-images-idx3-ubyte",
    "a25bea736e30d166cdddb491f175f624": "train-labels-idx1-ubyte",
    "2646ac647ad5339dbf082846283269ea": "t10k-images-idx3-ubyte",
    "27ae3e4e09519cfbb04c329615203637": "t10k-labels-idx1-ubyte",
}
PLACES = ("MNIST/raw", ".", "raw")  # where in the root they may lie; downloads go to the first
MIRRORS = (  # the second without TLS, for a Python that has no certificates: the MD5 decides
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT = 20  # seconds without a byte: a network that drops packets must not hold us forever


class DatasetError(RuntimeError):
    """MNIST cannot be used as it is; the message names the file, the fault, the remedy."""


def mnist_root() -> Path:
    """The folder of the data, absolute: `MNIST_ROOT`, else ``data`` at the repository's root."""
    root = Path(os.environ.get("MNIST_ROOT") or Path(__file__).parent.parent / "data")
    try:
        return root.expanduser().absolute()
    except RuntimeError as error:
        raise DatasetError(f"MNIST_ROOT is {root}: {error} Write the path in full.") from error


@functools.cache
def verified_files() -> dict[str, bytes]:
    """The four files by name, verified, downloaded if need be, unpacked; empty: take the sample.

    Raises DatasetError if the folder, or a file that is needed, cannot be used.
    """
    root = mnist_root()
    folder = root / PLACES[0]
    files, faults = _search(root)
    missing = [name for name in FILES.values() if name not in files]
    if texts := [text for name, text in faults if name in missing]:
        raise DatasetError(f"{'; '.join(texts)}. Delete it and run again to download it anew.")
    try:
        for name in missing:
            files[name] = _download(name, folder)
    except urllib.error.URLError as error:
        content = next((path for path in root.rglob("[!.]*") if not path.is_dir()), None)
        if content:  # the sample is for an empty folder: this one was meant to hold MNIST
            held = ", ".join(files) or content.relative_to(root)
            missing = ", ".join(name for name in FILES.values() if name not in files)
            raise DatasetError(
                f"{root} holds {held}, but not {missing}, and downloading failed ({error.reason}). "
                f"Run again with a network, put the missing .gz files into {folder}, or let "
                "MNIST_ROOT name an empty folder to use the sample."
            ) from error
        print(
            f"WARNING: no MNIST files in {folder} and no way to download them ({error.reason}). "
            "Using the 5,000-image sample that ships with tutorial_lib: losses and accuracies will "
            "differ from the book's. The setup page says how to bring the files.",
            file=sys.stderr,
        )
        return {}
    except OSError as error:
        raise DatasetError(
            f"{root} cannot hold the data ({error}). Let MNIST_ROOT name a folder that you can "
            "write into, or one that holds the four files."
        ) from error
    return files


def _search(root: Path) -> tuple[dict[str, bytes], list[tuple[str, str]]]:
    """The intact files by name; and for each file that is not what its name says, that and why."""
    files, faults = {}, []
    paths = [path for place in PLACES for path in (root / place).glob("*ubyte*")]
    for path in sorted(paths, key=lambda path: (path.suffix == ".gz", path)):  # .gz is slower
        name = path.name.removesuffix(".gz").replace(".idx", "-idx")
        try:
            found, content = _verify(path.read_bytes())
        except OSError as error:
            faults.append((name, f"{path} cannot be read ({error.strerror})"))
        except ValueError as error:
            faults.append((name, f"{path} is damaged or half downloaded: {error}"))
        else:
            files[found] = content
            faults.append((name, f"{path} is {found} under a wrong name"))
        if len(files) == len(FILES):
            break
    return files, faults


def _verify(stored: bytes) -> tuple[str, bytes]:
    """Which of the four files this is, and its unpacked content; ValueError: none, and why."""
    try:
        content = gzip.decompress(stored) if stored.startswith(b"\x1f\x8b") else stored
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"its {len(stored):,} bytes cannot be unpacked ({error})") from error
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 not in FILES:
        raise ValueError(f"its {len(content):,} bytes have MD5 {md5}, as no file of MNIST has")
    return FILES[md5], content


def _download(name: str, folder: Path) -> bytes:
    """The content of one file, from the first mirror that has it; saved, packed, in the folder.

    Raises URLError if no mirror gives it, another OSError for a folder that cannot hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.R_OK | os.W_OK):
        raise PermissionError(f"no permission to read and write in {folder}")
    causes = []
    for url in (f"{mirror}{name}.gz" for mirror in MIRRORS):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                packed = answer.read()
            found, content = _verify(packed)
            if found != name:
                raise ValueError(f"it is {found}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            causes.append(f"{url}: {error}")
        else:
            _save(packed, folder / f"{name}.gz")
            return content
    raise urllib.error.URLError("; ".join(causes))


def _save(packed: bytes, path: Path) -> None:
    """Write under another name and rename: nobody ever finds half a file."""
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(packed)
        temporary.replace(path)
    except PermissionError:  # on Windows, if another process has just saved and now reads it
        if not path.exists():
            raise
    finally:
        temporary.unlink(missing_ok=True)
