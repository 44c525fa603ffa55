"""The MNIST images and labels, their normalization, and batches of them on the backend's device.

Chapter "The data set". `mnist_files` finds, verifies and downloads the files. Where there are none
and no network, 5,000 digits that ship with the package stand in, loudly.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tutorial_lib.backend import xp
from tutorial_lib.mnist_files import DatasetError, find_mnist, mnist_root, verified_files

__all__ = [
    "BATCH_SIZE",
    "MEAN",
    "STD",
    "DatasetError",
    "batches",
    "describe_dataset",
    "find_mnist",
    "get_loader",
    "mnist_root",
    "normalized",
    "per_image_loader",
    "raw",
]

BATCH_SIZE = 256
MEAN, STD = 0.1307, 0.3081  # of all pixels of the training images, on a scale from 0 to 1
SAMPLE = Path(__file__).parent / "data" / "mnist_sample.npz"


def get_loader(*, train: bool) -> Iterator[tuple[xp.ndarray, xp.ndarray]]:
    """An iterator over batches (images, labels), in file order, the last partial batch dropped.

    images: float32 (256, 784), normalized; labels: int64 (256,), from 0 to 9. Both lie on the
    backend's device and are copies: what you write into a batch changes that batch alone.
    Raises TypeError if `train` is not a bool, DatasetError if the MNIST files cannot be used.
    """
    images, labels = normalized(train)
    return ((images[batch].copy(), labels[batch].copy()) for batch in batches(len(images)))


def batches(n: int, size: int = BATCH_SIZE) -> Iterator[slice]:
    """The full batches of n images, in order: slices of `size` images each."""
    return (slice(i, i + size) for i in range(0, n - size + 1, size))


@functools.lru_cache(typed=True)  # typed: 1 is not True
def normalized(train: bool, /) -> tuple[xp.ndarray, xp.ndarray]:
    """One split on the backend's device: normalized images, float32 (n, 784), labels, int64 (n,).

    Each call returns the same two arrays, which all of the process shares: never write into them.
    """
    pixels, labels = raw(train)
    images = xp.asarray(pixels).astype(xp.float32)
    images /= 255
    images -= MEAN
    images /= STD
    return images, xp.array(labels)


@functools.lru_cache(typed=True)
def raw(train: bool, /) -> tuple[np.ndarray, np.ndarray]:
    """One split as it is stored: pixels uint8 (n, 784), labels int64 (n,), read-only NumPy arrays.

    Raises TypeError if `train` is not a bool, DatasetError unless each image has a label in 0 … 9.
    """
    if not isinstance(train, bool):
        raise TypeError(f"train must be True or False, not {train!r}")
    split = "train" if train else "test"
    if files := verified_files():
        name = "train" if train else "t10k"
        pixels = np.frombuffer(files[f"{name}-images-idx3-ubyte"], np.uint8, offset=16)
        labels = np.frombuffer(files[f"{name}-labels-idx1-ubyte"], np.uint8, offset=8)
    else:
        with np.load(SAMPLE) as sample:
            pixels, labels = sample[f"{split}_images"], sample[f"{split}_labels"]
    pixels = pixels.reshape(-1, 784)
    if labels.shape != pixels.shape[:1] or not np.isin(labels, range(10)).all():
        raise DatasetError(
            f"each of the {len(pixels):,} {split} images needs a label in 0 … 9: "
            f"there are {labels.size:,} labels, with the values {np.unique(labels)}"
        )
    labels = labels.astype(np.int64)
    pixels.flags.writeable = labels.flags.writeable = False
    return pixels, labels


def describe_dataset() -> str:
    """Which data set this process uses, in a few words."""
    return (
        "MNIST, 60,000 + 10,000 images"
        if find_mnist()
        else "5,000-image MNIST sample (no MNIST files, no network)"
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
