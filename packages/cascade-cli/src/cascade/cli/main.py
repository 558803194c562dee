"""The entry point of the command: which commands there are, and how each of them ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from cascade.cli.command import Settings, common_options
from cascade.cli.errors import USAGE, CommandError, exit_code, one_line
from cascade.cli.output import open_missing_streams
from cascade.interfaces.distribution import install_line
from cascade.interfaces.text import nearest

ENTRY_POINTS = "cascade.commands"

COMMANDS: dict[str, str] = {
    "run": "Run a workflow.",
    "graph": "Show a workflow's graph.",
    "serve": "Start workflows when a message asks for it.",
    "start": "Ask an engine to start a workflow.",
    "workflows": "List the workflows that engines offer.",
    "watch": "Watch engines and runs live.",
    "ps": "List the engines.",
    "runs": "List running and recent runs.",
    "logs": "Show the log lines of tasks.",
    "constraints": "List the constraints and which engines obey.",
    "pause": "Stop tasks from starting.",
    "resume": "Lift a pause.",
    "limit": "Limit how many tasks run or start.",
    "gate": "Hold work while a value of the plant is out of band.",
    "cancel": "Cancel a run, tasks, or an engine's runs.",
    "clear": "Lift constraints.",
    "history": "List recorded runs and their steps.",
    "resolve": "Record whether a step in doubt was done.",
    "outbox": "Look into an outbox on disk, send or drop its events.",
    "broker": "Start a broker to try things out.",
}
"""Lines of help; the module in ``_commands`` of the same name has the click command as ``command``."""

EXTRAS: dict[str, tuple[str, dict[str, str]]] = {
    "ops": (
        "cascade-ops",
        {
            "doctor": "Find out what is wrong with a broker.",
            "acl": "Print the access rules of a broker.",
            "collect": "Keep the events of all engines in a file.",
            "prune": "Clear what dead engines left on the broker.",
            "ha": "Show engines in Home Assistant.",
        },
    ),
    "web": ("cascade-web", {"web": "Show and steer engines in a browser."}),
}
"""By extra: the distribution that it installs, and the lines of help of the commands in it."""
_MISSABLE = {name: extra for extra, (_, lines) in EXTRAS.items() for name in lines}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of our own commands in the order of the table, then those of other packages."""
        return [*COMMANDS, *sorted(set(_others()) - set(COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        from importlib import import_module

        if cmd_name in COMMANDS:
            made: click.Command = import_module(f"cascade.cli._commands.{cmd_name}").command
            return made
        point = _others().get(cmd_name)
        return None if point is None else point.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with; name the nearest one if there is none."""
        name = args[0]
        found = self.get_command(ctx, name)
        if found is None and name in _MISSABLE:
            extra = _MISSABLE[name]
            raise CommandError(f"{name} is in {EXTRAS[extra][0]}: {install_line(extra)}", code=USAGE)
        if found is None and not name.startswith("-"):
            near = nearest(name, [*self.list_commands(ctx), *_MISSABLE])
            remedy = f"did you mean {near!r}?" if near else "cascade --help lists them"
            raise CommandError(f"unknown command {name!r}", remedy, code=USAGE)
        return (name, found, args[1:]) if found is not None else super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any, and what brings those that are not installed."""
        lines = {name: f"From {point.dist.name}." for name, point in _others().items() if point.dist}
        lines |= {name: text for _, offered in EXTRAS.values() for name, text in offered.items()} | COMMANDS
        installed = self.list_commands(ctx)
        sections = {"Commands": [name for name in installed if name in lines]}
        for extra, (_, offered) in EXTRAS.items():
            sections[f"Further commands, with {install_line(extra)}"] = [
                name for name in offered if name not in installed
            ]
        for title, names in sections.items():
            if names:
                with formatter.section(title):
                    formatter.write_dl([(name, lines[name]) for name in names])


def _others() -> dict[str, Any]:
    """Return the entry points of commands that other packages bring."""
    # slow to import, and our own commands do not need it
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        import cascade

        context.ensure_object(Settings).output.line(f"cascade {cascade.__version__}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    help="Print the version.",
    is_eager=True,
    expose_value=False,
    callback=_show_version,
)
def group() -> None:
    """Run workflows, watch and steer engines.

    The broker is --broker URL or CASCADE_BROKER, such as mqtt://localhost. Exit codes: 0 what was requested is
    true; 1 the run failed, or an engine refused or is unknown; 2 usage; 3 no broker; 4 the run was cancelled.
    """


common_options(group)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the arguments of the process, or with others; return its exit code."""
    return run_command(lambda: group, arguments, name="cascade", own_process=arguments is None)


def run_command(
    make: Callable[[], click.Command],
    arguments: Sequence[str] | None = None,
    *,
    name: str,
    own_process: bool = False,
) -> int:
    """Run the click command that ``make`` returns; print an error as one line that begins with ``name``.

    :param own_process: the process does nothing else.
    """
    found = Settings(own_process=own_process)
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        # a locale without Unicode must not end the command
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _called(make(), list(sys.argv[1:] if arguments is None else arguments), found, name)
    except BrokenPipeError:
        code = 0
    except (Exception, KeyboardInterrupt) as error:
        code = _failed(error, found, name)
    try:
        found.output.finish()
    except CommandError as error:
        code = code or _failed(error, found, name)
    if not found.imports_program:
        # the interpreter would collect twice as it ends; a program's own objects may have something to do then
        found.skip_collections()
    return code or 0


def _called(command: click.Command, arguments: list[str], found: Settings, name: str) -> int | None:
    """Run the command; its ``main`` would exit by itself, and with 1 when the reader of a pipe has gone."""
    if "_CASCADE_COMPLETE" in os.environ:
        # prints what completes the line, and exits
        command.main(arguments, prog_name=name)
    try:
        with command.make_context(name, arguments, obj=found) as context:
            code: int | None = command.invoke(context)
            return code
    except click.exceptions.Exit as end:
        return end.exit_code


def _failed(error: BaseException, found: Settings, name: str) -> int:
    """Print what ended the command: one line, and a traceback if it was asked for."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif not isinstance(error, KeyboardInterrupt | click.Abort):
        if found.debug:
            import traceback

            traceback.print_exception(error)
        found.output.note(f"{name}: {one_line(error, debug=found.debug)}")
    return exit_code(error)
