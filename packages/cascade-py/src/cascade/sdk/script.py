"""The command line of a script: found by entry point, because the package of the command stands above this one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

from cascade.interfaces.errors import UsageError

if TYPE_CHECKING:
    from cascade.sdk.run_settings import AllSettings
    from cascade.spec import LazyResult

COMMAND_LINES = "cascade.command_lines"
"""Group of the entry point ``script``: a function that is called as :func:`main` is, with the settings as ``declared``, and returns an exit code."""


def main(
    target: LazyResult[Any] | Sequence[LazyResult[Any]] | Callable[..., Any],
    *,
    arguments: Sequence[str] | None = None,
    **settings: Unpack[AllSettings],
) -> NoReturn:
    """Run ``target`` as the command line says, and exit: the end of a script, below ``if __name__ == "__main__":``.

    Each ``cs.Param`` of the target is an option with its type, default and description. ``target``
    may be a function that returns a lazy result: its parameters are options, too. ``--help`` lists
    them, with the options of ``cascade run``, ``--broker``, ``--graph`` and ``--dry-run``.

    :param arguments: those of the process if None.
    :raises UsageError: if ``cascade-cli`` is not installed, or while a worker or the command ``cascade``
        imports the script.
    :raises SystemExit: always, with the exit code of ``cascade run``.
    """
    from importlib.metadata import entry_points

    from cascade.interfaces.distribution import install_line
    from cascade.interfaces.main_module import GUARD, is_importing_main

    if is_importing_main():
        raise UsageError(f"cs.main is called while the program is imported; put it under `{GUARD}`")
    from cascade.sdk.declared_settings import KEYWORDS, declared_in
    from cascade.sdk.run import refuse_unknown

    refuse_unknown("main", settings.keys(), (*KEYWORDS, "arguments"))
    given = {**declared_in(sys.modules.get("__main__")), **settings}
    found = {point.name: point for point in entry_points(group=COMMAND_LINES)}
    if "script" not in found:
        raise UsageError(f"cs.main needs the command line; install it with: {install_line('cli')}")
    sys.exit(found["script"].load()(target, arguments=arguments, declared=given))
