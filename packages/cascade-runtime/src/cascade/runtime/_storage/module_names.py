"""Names of modules that hold in every process: a script is ``__main__`` in one, and imported in another."""

from __future__ import annotations

import sys
from pathlib import Path

MAIN = "__main__"


def lasting_name(module: str) -> str:
    """Return the name by which another process finds a module: for a script that of its file.

    ``python night.py`` has the script as ``__main__``, ``cascade run night.py`` as ``night``. That of ``python -m jobs`` is
    ``jobs.__main__``; the package ``jobs`` is another module.
    """
    if module != MAIN:
        return module
    main = sys.modules[MAIN]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)
    return Path(file).stem if file else MAIN


def present_name(module: str) -> str:
    """Return the name that a module has in this process, from its lasting one.

    A script may have the stem of another module that is imported, such as ``queue``: its lasting name is that of the script.
    """
    return MAIN if module == lasting_name(MAIN) else module
