"""Whether worker processes that import the program's script would run the program again."""

from __future__ import annotations

import ast
import multiprocessing
import sys
from pathlib import Path

REMEDY = (
    'put what the script runs under `if __name__ == "__main__":`, for each worker process imports the script; '
    "or let its workers be threads, with processes=False"
)


def problem_of_script() -> str:
    """Return why no worker process may be started from this program's script; empty if there is no reason.

    The known way of finding out, trying, ends with Dask starting a worker again and again.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        return "this is a worker process that imports the script, which starts a cluster"
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    name = getattr(getattr(main, "__spec__", None), "name", "")
    if path is None or f".{name}".endswith(".__main__"):  # those are not imported again
        return ""
    return "" if _is_guarded(Path(path)) else f"{path} has no `if __name__ == ...`"


def _is_guarded(script: Path) -> bool:
    """Return whether a script asks for its ``__name__``; one that cannot be read is given the benefit."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True
    names = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return "__name__" in names
