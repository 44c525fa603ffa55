"""What the tests share: the full data set where there is one, a compiler, a quieter hypothesis."""

import ctypes
import functools
import os
import shutil
import subprocess
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tutorial_lib import backend, dataset, mnist_files

if backend.name == "cpu":
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before any test imports triton
slow = [HealthCheck.too_slow]  # a busy machine draws slowly: no reason to fail
settings.register_profile("book", deadline=None, max_examples=60, suppress_health_check=slow)
settings.load_profile("book")


@pytest.fixture
def rng():
    return np.random.default_rng(42)


@pytest.fixture
def full_mnist():
    """Skip a test that needs the full data set where only the sample is to be had."""
    if dataset.find_mnist() is None:
        pytest.skip("needs the full MNIST data set")


def forget():
    """The data set as a new process would find it."""
    for cache in (mnist_files.verified_files, dataset.raw, dataset.normalized):
        cache.cache_clear()


@pytest.fixture
def fresh_dataset(monkeypatch):
    """The data set as a new process would find it, and no network."""
    refuse = Mock(side_effect=OSError("no network in this test"))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    forget()
    yield
    forget()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """compiled(source, flags): the library that g++ makes of a text in C++."""
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("compiled")

    @functools.cache
    def library(source, flags):
        path = folder / f"{len(list(folder.iterdir()))}.so"
        command = f"g++ -x c++ -O1 -fPIC -shared {flags} - -o {path}"
        subprocess.run(command.split(" "), input=source, text=True, check=True, timeout=120)
        return ctypes.CDLL(str(path))

    return library


def pytest_collection_modifyitems(config, items):
    """Without a GPU, the tests that need one are deselected, and pytest's summary counts them."""
    if backend.name == "gpu":
        return
    config.hook.pytest_deselected(items=[x for x in items if x.get_closest_marker("gpu")])
    items[:] = [x for x in items if not x.get_closest_marker("gpu")]


def pytest_report_header(config):
    return f"tutorial_lib backend: {backend.name} {backend.reason}".rstrip()
