"""Options of the commands that read or change recorded runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cascade.cli.errors import USAGE, CommandError

if TYPE_CHECKING:
    from cascade import SqliteState


def state_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that names the folder of recorded runs."""
    return click.option(
        "--state",
        metavar="FOLDER",
        envvar="CASCADE_STATE",
        type=click.Path(file_okay=False, readable=False),
        help="The folder of recorded runs; CASCADE_STATE if left out.",
    )(function)


def state_in(folder: str | None) -> SqliteState:
    """Return the state in an existing folder.

    :raises CommandError: if none is named, or it is not there.
    """
    from cascade import SqliteState

    if folder is None:
        raise CommandError("no folder is named", "pass --state FOLDER, or set CASCADE_STATE", code=USAGE)
    if not Path(folder).is_dir():
        raise CommandError(
            f"the folder {folder} does not exist", "cascade run --state FOLDER makes one", code=USAGE
        )
    return SqliteState(folder)
