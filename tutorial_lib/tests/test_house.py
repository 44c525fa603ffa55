"""The budgets of the house, counted in lines, and its names."""

import ast
import importlib
import pkgutil
from collections import Counter
from pathlib import Path

from tutorial_lib import networks
from tutorial_lib.networks.base import MnistNetBase

ROOT = Path(__file__).parents[2]
CODE = {".py", ".cu", ".cuh", ".mplstyle"}
SITE = CODE | {".jinja", ".yaml", ".js", ".css"}


def lines_of(*folders, suffixes=CODE, tests=False):
    """The number of lines of each file in the folders: of the tests, or of all but the tests."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    return {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in files
        if path.suffix in suffixes and ("tests" in path.parts) == tests
    }


def total(*folders, **options):
    return sum(lines_of(*folders, **options).values())


def test_the_package_is_small_and_so_is_each_module():
    assert total("tutorial_lib") <= 8214
    assert {path.name: n for path, n in lines_of("tutorial_lib").items() if n > 200} == {}


def test_what_measures_is_smaller_than_what_is_measured():
    measured = total("tutorial_lib/networks", "tutorial_lib/kernels")
    assert total("tutorial_lib/benchmarks") < measured


def test_the_tests_are_at_most_four_fifths_of_the_code():
    code = total("tutorial_lib", "book/tools", "book/_ext", "book/_static", suffixes=SITE)
    tests = total("tutorial_lib", "book", suffixes={".py", ".cpp", ".hpp"}, tests=True)
    assert tests <= 0.8 * code, f"{tests} lines of tests, {code} of code"


def test_no_two_modules_and_no_two_classes_share_a_name():
    modules = lines_of("tutorial_lib", suffixes={".py"})
    names = Counter(path.stem for path in modules if not path.stem.startswith("__"))
    for path in modules:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        names.update(node.name for node in body if isinstance(node, ast.ClassDef))
    assert [name for name, times in names.items() if times > 1] == []


def test_no_network_is_more_than_two_classes_from_the_base():
    for module in pkgutil.iter_modules(networks.__path__, "tutorial_lib.networks."):
        importlib.import_module(module.name)
    found = MnistNetBase.__subclasses__()
    for network in found:
        found += network.__subclasses__()
    found = [one for one in found if one.__module__.startswith(networks.__name__)]
    deep = [one for one in found if sum(issubclass(c, MnistNetBase) for c in one.__mro__) > 3]
    assert deep == []
