"""The command ``cascade``: run workflows, watch and steer engines from any terminal.

A package adds a command by an entry point in the group ``cascade.commands``, whose object is a
click command made with :func:`command`. Importing this package imports no command.
"""

from cascade.cli.columns import Column
from cascade.cli.command import Settings, command, settings
from cascade.cli.errors import CANCELLED, FAILED, NO_BROKER, OK, USAGE, CommandError
from cascade.cli.main import main
from cascade.cli.output import Output

__all__ = [
    "CANCELLED",
    "FAILED",
    "NO_BROKER",
    "OK",
    "USAGE",
    "Column",
    "CommandError",
    "Output",
    "Settings",
    "command",
    "main",
    "settings",
]
