"""How the notebooks are compared: strictly on the full MNIST data set, not at all on the sample.

On the CPU their kernels start without any GPU library, as on a laptop that never had one.
"""

import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from tutorial_lib import backend, dataset
from tutorial_lib.tests.imports import GPU_LIBRARIES, without


def pytest_configure(config: pytest.Config) -> None:
    """With the sample the numbers differ from the stored ones, so that only running is checked."""
    try:
        os.environ["MNIST_ROOT"] = str(dataset.mnist_root())  # kernels start in another folder
        sample = dataset.find_mnist() is None
    except dataset.DatasetError as error:
        raise pytest.UsageError(str(error)) from error
    if sample and hasattr(config.option, "nbval_lax"):
        config.option.nbval_lax = True


def pytest_collectstart(collector: pytest.Collector) -> None:
    """A plot's SVG differs between machines in its last digits: tests compare what it draws."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("image/svg+xml",)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Before a notebook's first cell nbval starts the kernel, which inherits the environment."""
    with patch.dict(os.environ, without(*GPU_LIBRARIES) if backend.name == "cpu" else {}):
        return (yield)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which of the two it is."""
    if dataset.find_mnist() is None:
        return (
            "notebooks: on the MNIST sample, outputs are NOT compared (no MNIST files, no network)"
        )
    return "notebooks: on the full MNIST, outputs are compared strictly"
