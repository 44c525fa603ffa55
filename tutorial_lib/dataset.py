"""The MNIST images and labels, their normalization, and batches of them on the backend's device.

Chapter 1. `mnist_files` finds, verifies and downloads the files. Where there are none and no
network, 5,000 digits that ship with the package stand in, loudly.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tutorial_lib.backend import Array, xp
from tutorial_lib.mnist_files import DatasetError, mnist_root, verified_files  # noqa: F401

BATCH_SIZE = 256
MEAN, STD = 0.1307, 0.3081  # of all pixels of the training images, on a scale from 0 to 1
SAMPLE = Path(__file__).parent / "data" / "mnist_sample.npz"


def batches(n: int, size: int = BATCH_SIZE) -> Iterator[slice]:
    """The slices of the full batches of `size` among `n` rows, in their order."""
    return (slice(i, i + size) for i in range(0, n - size + 1, size))


def get_loader(*, train: bool) -> Iterator[tuple[Array, Array]]:
    """An iterator over batches (images, labels), in file order, the last partial batch dropped.

    images: float32 (256, 784), normalized; labels: int64 (256,), from 0 to 9. Both lie on the
    backend's device and are copies: what you write into a batch changes that batch alone.
    Raises TypeError if `train` is not a bool, DatasetError if the MNIST files cannot be used.
    """
    images, labels = normalized(train)
    return ((images[batch].copy(), labels[batch].copy()) for batch in batches(len(images)))


@functools.lru_cache(typed=True)  # typed: 1 is not True
def normalized(train: bool, /) -> tuple[Array, Array]:
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

    Raises TypeError if `train` is not a bool, DatasetError if the MNIST files cannot be used.
    """
    if not isinstance(train, bool):
        raise TypeError(f"train must be True or False, not {train!r}")
    if files := verified_files():
        split = "train" if train else "t10k"
        pixels = np.frombuffer(files[f"{split}-images-idx3-ubyte"], np.uint8, offset=16)
        labels = np.frombuffer(files[f"{split}-labels-idx1-ubyte"], np.uint8, offset=8)
    else:
        split = "train" if train else "test"
        with np.load(SAMPLE) as sample:
            pixels, labels = sample[f"{split}_images"], sample[f"{split}_labels"]
    pixels, labels = pixels.reshape(-1, 784), labels.astype(np.int64)
    pixels.flags.writeable = labels.flags.writeable = False
    return pixels, labels


def find_mnist() -> Path | None:
    """The root of the full data set, or None for the sample. Raises DatasetError like `raw`."""
    return mnist_root() if verified_files() else None


def describe_dataset() -> str:
    """Which data set this process uses, in a few words."""
    sample = "5,000-image MNIST sample (no MNIST files, no network)"
    return "MNIST, 60,000 + 10,000 images" if find_mnist() else sample


def per_image_loader(*, train: bool) -> Iterator[tuple[Array, Array]]:
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
