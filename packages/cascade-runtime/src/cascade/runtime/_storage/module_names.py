"""Names of modules that hold in every process: a script is ``__main__`` in one, and imported in another."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

MAIN = "__main__"


def lasting_name(module: str) -> str:
    """Return the name by which another process finds a module: for a script that of its file.

    ``python night.py`` has the script as ``__main__``, ``cascade run night.py`` as ``night``. That of ``python jobs/night.py`` is
    ``jobs.night`` if ``jobs`` is a package, as for ``python -m jobs.night``. That of ``python -m jobs`` is ``jobs.__main__``; the
    package ``jobs`` is another module.
    """
    if module != MAIN:
        return module
    main = sys.modules[MAIN]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None and spec.name != MAIN:  # that of a folder, as in ``python jobs/``, says nothing
        return str(spec.name)
    return _of_file(file) if file else MAIN


def present_name(module: str, *, is_script: bool = False) -> str:
    """Return the name that a module has in this process, from its lasting one.

    A script may have the stem of another module that is imported, such as ``queue``: its lasting name is that of the script.
    ``python jobs/night.py`` and ``python -m jobs.night`` name the script differently where ``jobs`` has no ``__init__.py``: a name
    that no imported module has is the script's if its file ends with that name.

    :param is_script: whether the name is known to be that of a script.
    """
    if module == lasting_name(MAIN):
        return MAIN
    parts = module.split(".")
    of_script = (is_script or module not in sys.modules) and _file_of_main()[-len(parts) :] == parts
    return MAIN if of_script else module


@functools.lru_cache(maxsize=16)
def _of_file(file: str) -> str:
    """Return the dotted name of a file, with the packages that it is in."""
    path = Path(file).absolute()
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def _file_of_main() -> list[str]:
    file = getattr(sys.modules[MAIN], "__file__", None)
    return [*Path(file).absolute().with_suffix("").parts] if file else []
