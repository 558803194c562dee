"""Exit codes, and the one line that an error becomes."""

from __future__ import annotations

import re

import click

from cascade.interfaces.errors import CascadeError, ConnectorUnavailable, RunCancelledError, UsageError
from cascade.interfaces.text import printable

OK = 0
"""What was requested is true."""
FAILED = 1
"""The run failed, an engine refused or is unknown, or no live engine matched."""
USAGE = 2
"""The command line cannot work."""
NO_BROKER = 3
"""No broker answers, or it refuses."""
CANCELLED = 4
"""A constraint cancelled the run."""
INTERRUPTED = 130
"""Ctrl-C; SIGTERM ends a command with 143."""

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ConnectorUnavailable, NO_BROKER),
    (RunCancelledError, CANCELLED),
    (UsageError, USAGE),
    (click.UsageError, USAGE),
    (click.FileError, USAGE),
)
_ASSIGNMENT = re.compile(r"extra arguments? \((\w+=\S*?)[ )]")
"""A parameter that was written without its option."""


class CommandError(CascadeError):
    """A command cannot do what it was asked: the cause, the remedy and the exit code."""

    def __init__(self, cause: str, remedy: str = "", *, code: int = FAILED) -> None:
        self.code = code
        super().__init__(f"{cause}; {remedy}" if remedy else cause)


def exit_code(error: BaseException) -> int:
    """Return the code with which the command ends because of an error."""
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def one_line(error: BaseException, *, debug: bool = False) -> str:
    """Return ``cause; remedy`` on one line, with everything that could move a cursor escaped."""
    return printable(" ".join(_text(error, debug).split()))


def _text(error: BaseException, debug: bool) -> str:
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, CascadeError):
        return str(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text if debug else f"{text}; --debug shows where it was raised"


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "cascade"
    message = error.format_message().rstrip(".")
    takes_parameters = error.ctx is not None and any("-p" in each.opts for each in error.ctx.command.params)
    if takes_parameters and (found := _ASSIGNMENT.search(message)) is not None:
        return f"{message}; write -p {found[1]}"
    return f"{message}; {path} --help lists what it takes"
