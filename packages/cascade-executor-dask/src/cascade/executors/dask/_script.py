"""Checks whether worker processes, which import the program's script, would run the program again."""

from __future__ import annotations

from cascade.interfaces.main_module import GUARD, is_guarded, is_importing_main, main_module

REMEDY = (
    f"put the code that the script runs under `{GUARD}`, because each worker process "
    "imports the script; or use threads as workers, with processes=False"
)


def script_problem() -> str:
    """Return why no worker process may start from this program's script; "" if one may.

    Without this check Dask would start a failing worker again and again.
    """
    if is_importing_main():
        return "this is a worker process, and the script that it imports starts a cluster"
    main = main_module()
    if main is None or f".{main.name}".endswith(".__main__"):
        return ""  # workers do not import these
    return "" if is_guarded(main.path) else f"{main.path} has no `if __name__ == ...`"
