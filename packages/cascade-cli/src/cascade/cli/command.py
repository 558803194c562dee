"""Options and settings of every command: ``--json``, ``--debug``, and where its output goes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cascade.cli.output import Output

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    # Generic only in newer versions of click.
    ParamType = click.ParamType


class Settings:
    """The options that every command takes, before or after its name."""

    def __init__(self, *, own_process: bool = False) -> None:
        self.debug = False
        """Print a traceback where an error ends the command."""
        self.output = Output()
        self.own_process = own_process
        """Whether the process does nothing but this command."""
        self.imports_program = False
        """Whether the command has imported a program of the user."""

    def program_is_imported(self) -> None:
        """Note that a program of the user is about to be imported."""
        self.imports_program = True
        self.skip_collections()

    def skip_collections(self) -> None:
        """Exempt what exists now from garbage collection: it stays until the process ends.

        Collections would take a tenth of the time of a short command.
        """
        if self.own_process:
            gc.freeze()


def settings() -> Settings:
    """Return the settings of the command that runs now."""
    return click.get_current_context().ensure_object(Settings)


def command(**attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a click command that also takes ``--json`` and ``--debug``.

    The function returns the exit code, or None for 0. ``attributes`` are those of ``click.command``.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        return common_options(click.command(**attributes)(function))

    return decorate


def common_options(made: click.Command) -> click.Command:
    """Add the options that every command takes."""
    made.params += [_flag("--json", "Print JSON.", _use_json), _flag("--debug", "Print tracebacks.", _debug)]
    return made


def _flag(name: str, text: str, callback: Callable[[Settings], None]) -> click.Option:
    def called(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            callback(context.ensure_object(Settings))

    return click.Option([name], is_flag=True, help=text, expose_value=False, is_eager=True, callback=called)


def _use_json(found: Settings) -> None:
    found.output.json = True


def _debug(found: Settings) -> None:
    found.debug = True
