"""A submodule of a package without the package's own `__init__`.

Importing any part of pyroute2 runs `pyroute2/__init__.py`, which imports every socket, database and helper that it has
(asyncio, multiprocessing, sqlite3 …): 0.11 s, a third of what `sidelab up` may take. Its message classes need none of
that.
"""

import importlib
import importlib.util
import sys
from types import ModuleType


def light(name: str) -> ModuleType:
    """Import the module `name`, with an empty package standing for its topmost one meanwhile.

    Whoever imports that package afterwards gets it whole. Raises `ModuleNotFoundError` when it is not installed.
    """
    top = name.partition(".")[0]
    if top in sys.modules:
        return importlib.import_module(name)
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(f"{top} is not installed", name=top)
    package = ModuleType(top)
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[top] = package
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[top]
