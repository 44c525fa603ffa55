"""The four MNIST files: found, verified, downloaded.

A file is identified by the MD5 of its unpacked content, packed or not and under any usual name. It
is read in place, in ``MNIST_ROOT`` or else in ``data`` beside the package. A download gets its name
once it is complete: any number of processes may start at once, and one that is killed does no harm.
"""

import functools
import hashlib
import http.client
import os
import sys
import tempfile
import urllib.error
import urllib.request
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
    return root.expanduser().absolute()


@functools.cache
def verified_files() -> dict[str, bytes]:
    """The four files by name, verified, downloaded if need be, unpacked; empty: take the sample.

    Raises DatasetError if the folder, or a file that is needed, cannot be used.
    """
    root = mnist_root()
    folder = root / PLACES[0]
    files, faults = _search(root)
    missing = [name for name in FILES.values() if name not in files]
    if texts := [faults[name] for name in missing if name in faults]:
        raise DatasetError(f"{'; '.join(texts)}. Delete it and run again to download it anew.")
    try:
        for name in missing:
            files[name] = _download(name, folder)
    except urllib.error.URLError as error:
        missing = ", ".join(name for name in FILES.values() if name not in files)
        lack = f"{root} has no {missing}, and downloading failed ({error.reason})."
        if any(not path.is_dir() for path in root.rglob("[!.]*")):  # it was meant to hold MNIST
            raise DatasetError(
                f"{lack} Run again with a network, put the missing .gz files into {folder}, or let "
                "MNIST_ROOT name an empty folder to use the sample."
            ) from error
        print(
            f"WARNING: {lack} Using the 5,000-image sample: losses and accuracies will differ from "
            "the book's. The setup page says how to bring the files.",
            file=sys.stderr,
        )
        return {}
    except OSError as error:
        remedy = "name a folder that you can write into, or one that holds the four files"
        fault = f"{root} cannot hold the data ({error})"
        raise DatasetError(f"{fault}. Let MNIST_ROOT {remedy}.") from error
    return files


def _search(root: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """The intact files by name, and what is wrong with a file of that name that is not intact."""
    files, faults = {}, {}
    for path in sorted(path for place in PLACES for path in (root / place).glob("*ubyte*")):
        name = path.name.removesuffix(".gz").replace(".idx", "-idx")
        try:
            found, content = _verify(path.read_bytes())
            files[found] = content
            faults[name] = f"{path} is {found} under a wrong name"
        except (OSError, ValueError, zlib.error) as error:
            faults[name] = f"{path} is damaged or cannot be read ({error})"
    return files, faults


def _verify(stored: bytes) -> tuple[str, bytes]:
    """Which of the four files this is, and its unpacked content; ValueError or zlib.error: none."""
    content = zlib.decompress(stored, wbits=31) if stored.startswith(b"\x1f\x8b") else stored
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 not in FILES:
        raise ValueError(f"its {len(content):,} bytes have MD5 {md5}, as no file of MNIST has")
    return FILES[md5], content


def _download(name: str, folder: Path) -> bytes:
    """The content of one file, from the first mirror that has it; saved, packed, in the folder.

    Raises URLError if no mirror gives it, another OSError for a folder that cannot hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    causes, path = [], folder / f"{name}.gz"
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as hidden:
        unfinished = Path(hidden, ".part")  # renamed when it is whole: nobody finds half a file
        for url in (f"{mirror}{name}.gz" for mirror in MIRRORS):
            try:
                with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                    packed = answer.read()
                found, content = _verify(packed)
                if found != name:
                    raise ValueError(f"it is {found}")
            except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
                causes.append(f"{url}: {error}")
                continue
            unfinished.write_bytes(packed)
            if not path.exists():  # another process may have saved it, and a third may read it
                unfinished.replace(path)
            return content
    raise urllib.error.URLError("; ".join(causes))
