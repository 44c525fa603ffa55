"""Makes Python find no package that `BLOCKED_IMPORTS` names: it runs this file as it starts.

For that this folder has to stand on PYTHONPATH. Child processes inherit both variables.
"""

import os
import sys
from importlib.machinery import PathFinder

BLOCKED = os.environ.get("BLOCKED_IMPORTS", "").split()


class Finder(PathFinder):
    """Finds what is installed, but for the blocked packages: they are missing, not broken."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        blocked = name.partition(".")[0] in BLOCKED
        return None if blocked else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
for name in list(sys.modules):  # the .pth files of some packages import them even earlier
    if name.partition(".")[0] in BLOCKED:
        del sys.modules[name]
