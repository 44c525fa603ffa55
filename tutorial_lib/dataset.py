"""The MNIST files, their normalization, and batches of them on the backend's device.

Chapter "The data set". torchvision downloads the files and parses them. They live in
``MNIST_ROOT/MNIST/raw``; without ``MNIST_ROOT`` in ``data/`` beside the package. Where there are
no files and no network, 5,000 digits that ship with the package stand in, loudly.
"""

import functools
import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tutorial_lib.backend import xp

BATCH_SIZE = 256
MEAN, STD = 0.1307, 0.3081  # of all pixels of the training images, on a scale from 0 to 1

SAMPLE = Path(__file__).parent / "data" / "mnist_sample.npz"
# MD5 of the files once unpacked; torchvision knows those of the .gz files.
UNPACKED_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class DatasetError(RuntimeError):
    """MNIST is there but cannot be used; the message names the file, the fault, the remedy."""


def get_loader(*, train: bool) -> Iterator[tuple[xp.ndarray, xp.ndarray]]:
    """An iterator over batches (images, labels), in file order, the last partial batch dropped.

    images: float32 (256, 784), normalized; labels: int64 (256,); both views of arrays on the
    backend's device, prepared once per process. Raises DatasetError if the MNIST files are damaged.
    """
    images, labels = normalized(train)
    starts = range(0, len(images) - BATCH_SIZE + 1, BATCH_SIZE)
    return ((images[i : i + BATCH_SIZE], labels[i : i + BATCH_SIZE]) for i in starts)


@functools.cache
def normalized(train: bool, /) -> tuple[xp.ndarray, xp.ndarray]:
    """One split on the backend's device: normalized images, float32 (n, 784), labels (n,)."""
    pixels, labels = raw(train)
    images = xp.asarray(pixels).astype(xp.float32)
    images /= 255
    images -= MEAN
    images /= STD
    return images, xp.asarray(labels)


@functools.cache
def raw(train: bool, /) -> tuple[np.ndarray, np.ndarray]:
    """One split as it is stored: pixels uint8 (n, 784), labels int64 (n,), NumPy arrays."""
    root = find_mnist()
    if root is None:
        split = "train" if train else "test"
        with np.load(SAMPLE) as sample:
            return sample[f"{split}_images"], sample[f"{split}_labels"].astype(np.int64)
    from torchvision import datasets

    split = datasets.MNIST(root, train=train)
    return split.data.numpy().reshape(-1, 784), split.targets.numpy()


def describe_dataset() -> str:
    """Which data set this process uses, in a few words."""
    root = find_mnist()
    return (
        "MNIST, 60,000 + 10,000 images"
        if root
        else "5,000-image MNIST sample (no MNIST files, no network)"
    )


def mnist_root() -> Path:
    """The folder that holds, or gets, ``MNIST/raw``: `MNIST_ROOT`, else ``data`` at the root."""
    return Path(os.environ.get("MNIST_ROOT") or Path(__file__).parent.parent / "data")


@functools.cache
def find_mnist() -> Path | None:
    """The root of the full data set, checked, downloaded if need be; None: take the sample."""
    root = mnist_root()
    folder = root / "MNIST" / "raw"
    from torchvision import datasets

    for name, packed_md5 in datasets.MNIST.resources:
        _check_file(folder / name, packed_md5)
        _check_file(folder / name.removesuffix(".gz"), UNPACKED_MD5[name.removesuffix(".gz")])
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # seconds; else a network that swallows packets hangs us
    try:
        datasets.MNIST(root, download=True)
    except (OSError, RuntimeError) as error:
        cause = " ".join(str(error).split())
        missing = [name for name in UNPACKED_MD5 if not list(folder.glob(f"{name}*"))]
        if len(missing) < len(UNPACKED_MD5):
            raise DatasetError(
                f"{folder} holds part of MNIST, and the rest could not be had "
                f"({', '.join(missing) or 'unpacking'}: {cause}). Run again with a network, or put "
                "the four .gz files there, or empty the folder to use the sample."
            ) from error
        print(
            f"WARNING: no MNIST files in {folder} and no way to download them ({cause}). Using the "
            "5,000-image sample that ships with tutorial_lib: losses and accuracies will differ "
            "from the book's. The setup page says how to bring the files.",
            file=sys.stderr,
        )
        return None
    finally:
        socket.setdefaulttimeout(timeout)
    return root


def _check_file(path: Path, md5: str) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found == md5:
        return
    from torchvision import datasets

    known = dict(datasets.MNIST.resources) | UNPACKED_MD5
    what = next(
        (f"it is {other} under a wrong name" for other in known if known[other] == found),
        f"its {len(content):,} bytes have MD5 {found}, MNIST's has {md5}",
    )
    raise DatasetError(
        f"{path} is damaged, swapped or half downloaded: {what}. "
        "Delete it and run again to download it anew."
    )


def per_image_loader(*, train: bool) -> Iterator[tuple[xp.ndarray, xp.ndarray]]:
    """The published way to the same batches: torch's DataLoader, one image at a time."""
    import torch
    from PIL import Image
    from torchvision import transforms

    pixels, labels = raw(train)
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,)), torch.flatten]
    )

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(Image.fromarray(pixels[index].reshape(28, 28))), int(labels[index])

    loader = torch.utils.data.DataLoader(Images(), batch_size=BATCH_SIZE, drop_last=True)
    return ((xp.asarray(images.numpy()), xp.asarray(labels.numpy())) for images, labels in loader)
