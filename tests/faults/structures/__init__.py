"""Files that follow the grammar of their format and are wrong, huge, nested, shared or repeated somewhere.

Each module of this folder may export two tables, which this one joins:

- `STRUCTURES`: {a reader of `tests.faults.hostile.READERS`: a function of a generator of random numbers that
  gives one such file, of which a third or so are valid, so that a reader goes deep};
- `ATTACKS`: {its words: (a reader, a function that gives one file which once took memory or time, or was
  accepted)}.
"""

import importlib
import pkgutil
from collections.abc import Callable

import numpy as np

STRUCTURES: dict[str, Callable[[np.random.Generator], bytes]] = {}
ATTACKS: dict[str, tuple[str, Callable[[], bytes]]] = {}
for _module in pkgutil.iter_modules(__path__):
    _found = importlib.import_module(f"{__name__}.{_module.name}")
    STRUCTURES.update(getattr(_found, "STRUCTURES", {}))
    ATTACKS.update(getattr(_found, "ATTACKS", {}))
