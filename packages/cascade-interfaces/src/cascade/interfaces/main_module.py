"""The module that a program runs as ``__main__``, and how a worker process can import it.

The module is imported under another name, ``__mp_main__``, as multiprocessing does: so code under
``if __name__ == "__main__":`` does not run again in the worker.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

MAIN, IMPORTED_MAIN = "__main__", "__mp_main__"

GUARD = 'if __name__ == "__main__":'


@dataclass(frozen=True, slots=True)
class MainModule:
    """The main module of a program: of ``python path`` or, with a ``name``, of ``python -m name``."""

    path: str
    name: str
    arguments: tuple[str, ...]
    """``sys.argv``, which the module may read while it is imported."""

    def imported(self) -> ModuleType:
        """Return the module; import it as ``__mp_main__`` if this process has not done so.

        :raises ImportError: if it cannot be imported, for whatever reason.
        """
        if getattr(sys.modules[MAIN], "__file__", None) != self.path:
            self._import()
        return sys.modules[MAIN]

    def _import(self) -> None:
        sys.argv = list(self.arguments)
        try:
            import runpy  # slow to import, and only a worker process needs it

            with importing_main():
                if self.name:
                    content = runpy.run_module(self.name, run_name=IMPORTED_MAIN, alter_sys=True)
                else:
                    content = runpy.run_path(self.path, run_name=IMPORTED_MAIN)
        except BaseException as exc:
            # also the SystemExit of a program that ends itself
            raise ImportError(f"{self.path} cannot be imported ({type(exc).__name__}: {exc})") from exc
        module = ModuleType(IMPORTED_MAIN)
        module.__dict__.update(content)
        sys.modules[MAIN] = sys.modules[IMPORTED_MAIN] = module


def main_module() -> MainModule | None:
    """Return this program's main module; None if no file contains it, as in a notebook or ``python -c``."""
    main = sys.modules.get(MAIN)
    path = getattr(main, "__file__", None)
    if not isinstance(path, str) or not Path(path).is_file():
        return None
    name = getattr(getattr(main, "__spec__", None), "name", "")
    # a folder or an archive that Python runs; its file is all that is known
    if name == MAIN:
        name = ""
    return MainModule(str(Path(path).absolute()), name, tuple(sys.argv))


@contextmanager
def importing_main() -> Iterator[None]:
    """Mark this process meanwhile as one that imports a program and does not run it."""
    import multiprocessing

    process = multiprocessing.current_process()
    process._inheriting = True  # type: ignore[attr-defined]  # multiprocessing refuses to start processes
    try:
        yield
    finally:
        del process._inheriting  # type: ignore[attr-defined]


def is_importing_main() -> bool:
    """Return whether this process imports a program right now: a worker process, or the command ``cascade``."""
    # slow to import, and loaded where this is true
    loaded = sys.modules.get("multiprocessing.process")
    return loaded is not None and getattr(loaded.current_process(), "_inheriting", False)


@functools.cache
def is_guarded(path: str) -> bool:
    """Return whether an ``if`` in a file looks at ``__name__``: then its import does not run the program.

    Return False if the file cannot be read.
    """
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    tests = (node.test for node in ast.walk(tree) if isinstance(node, ast.If))
    return any(
        isinstance(name, ast.Name) and name.id == "__name__" for test in tests for name in ast.walk(test)
    )
