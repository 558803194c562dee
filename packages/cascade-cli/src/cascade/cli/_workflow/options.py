"""A click command whose options are its own and those of the workflow that it runs."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from cascade.cli._workflow.source import load
from cascade.cli.command import ParamType, Settings
from cascade.cli.errors import USAGE, CommandError
from cascade.interfaces.text import nearest, printable
from cascade.runtime.starting import Parameter, Startable

_PREFIX = "parameter:"
_KEY = f"{__name__}.workflow"
_AS_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class WorkflowCommand(click.Command):
    """A command with an argument FILE[:NAME], or with a function that returns its ``workflow``.

    The file is imported before the rest of the command line is read, because its parameters are options.
    """

    def __init__(
        self, *args: Any, workflow: Callable[[], Startable] | None = None, **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.workflow = workflow

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Load the workflow that the arguments name, then read them."""
        if not ctx.resilient_parsing:
            found = self._look_ahead(ctx, args)
            file = found.get("file")
            if self.workflow is not None:
                ctx.meta[_KEY] = self.workflow()
            elif isinstance(file, str):
                ctx.ensure_object(Settings).program_is_imported()
                ctx.meta[_KEY] = load(file)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not _has_further_inputs(ctx):
                raise
            name = error.option_name.lstrip("-").replace("-", "_")
            near = nearest(error.option_name, error.possibilities or (), least=0.8)
            guess = f"did you mean {near}? Or " if near else ""
            raise click.UsageError(
                f"No such option: {error.option_name}; {guess}write -p {name}=... for an input of the graph",
                ctx,
            ) from error

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own options and those of the workflow."""
        found = [*super().get_params(ctx)]
        taken = {option for each in found for option in (*each.opts, *each.secondary_opts)}
        for each in _known(ctx):
            made = _option(each, taken)
            if made is not None:
                taken.update(made.opts, made.secondary_opts)
                found.append(made)
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the workflow's parameters in a section of their own."""
        own: list[tuple[str, str]] = []
        theirs: list[tuple[str, str]] = []
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx)
            if record is not None and isinstance(each, click.Option):
                (theirs if (each.name or "").startswith(_PREFIX) else own).append(record)
        shown = {each.name for each in self.get_params(ctx)}
        theirs += [_by_key(each) for each in _known(ctx) if f"{_PREFIX}{each.name}" not in shown]
        workflow = ctx.meta.get(_KEY)
        if theirs and workflow is not None:
            with formatter.section(printable(f"Parameters of {workflow.title}")):
                formatter.write_dl(theirs)
                if _has_further_inputs(ctx):
                    formatter.write_text("further inputs: -p NAME=VALUE")
        with formatter.section("Options"):
            formatter.write_dl(own)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the workflow's docstring says, or else the command's own text."""
        workflow = ctx.meta.get(_KEY)
        if workflow is None or not workflow.summary:
            super().format_help_text(ctx, formatter)
            return
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(printable(workflow.summary))

    def _look_ahead(self, ctx: click.Context, args: list[str]) -> dict[str, Any]:
        """Read the file and the flags that are in force while it is imported; the workflow's options are unknown yet."""
        ctx.ignore_unknown_options, before = True, ctx.ignore_unknown_options
        try:
            found, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        finally:
            ctx.ignore_unknown_options = before
        settings = ctx.ensure_object(Settings)
        settings.debug |= found.get("debug") is True
        settings.output.json |= found.get("json") is True
        # whose name depends on the version of click
        help_option = self.get_help_option(ctx)
        if settings.output.json and (help_option is None or found.get(help_option.name or "") is not True):
            ctx.with_resource(settings.output.alone())
        return found


def taking_parameters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function ``workflow`` and ``values``, the values of its parameters, in place of single options."""

    @functools.wraps(function)
    def called(param: tuple[tuple[str, str], ...], **options: Any) -> Any:
        context = click.get_current_context()
        workflow: Startable = context.meta[_KEY]
        single = {
            key.removeprefix(_PREFIX): options.pop(key) for key in list(options) if key.startswith(_PREFIX)
        }
        values = {name: value for name, value in single.items() if value is not None}
        options.pop("file", None)
        return function(workflow=workflow, values={**values, **_pairs(workflow, param, values)}, **options)

    return click.option(
        "-p",
        "--param",
        type=Pair(),
        multiple=True,
        help="A parameter of the workflow, also one whose name is an option here. KEY=@FILE and KEY=env:NAME keep a secret "
        "out of the process list.",
    )(called)


class Source(ParamType):
    """``FILE.py[:NAME]``; a shell completes files."""

    name = "file"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete the file."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


class Pair(ParamType):
    """``KEY=VALUE`` of a parameter; ``@FILE`` and ``env:NAME`` name where the value is."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the key and the value."""
        key, sign, text = value.partition("=")
        if not sign or not key:
            self.fail(f"needs KEY=VALUE, not {value!r}", param, ctx)
        return key, self._read(key, text, param, ctx)

    def _read(self, key: str, text: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value: what stands there is in the process list, what it names is not."""
        if text.startswith("@@"):
            return text[1:]
        if text.startswith("@"):
            try:
                return Path(text[1:]).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, ValueError) as error:
                problem = getattr(error, "strerror", None) or "it is not UTF-8 text"
                self.fail(f"{key}: the file {text[1:]} cannot be read: {problem}", param, ctx)
        if text.startswith("env:"):
            if text[4:] not in os.environ:
                self.fail(f"{key}: the environment variable {text[4:]} is not set", param, ctx)
            return os.environ[text[4:]]
        return text


class _Text(ParamType):
    """A value of a parameter."""

    def __init__(self, parameter: Parameter) -> None:
        self.name = parameter.conversion.name
        self._convert = parameter.conversion.from_text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._convert(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _known(ctx: click.Context) -> tuple[Parameter, ...]:
    workflow = ctx.meta.get(_KEY)
    return () if workflow is None else workflow.parameters


def _has_further_inputs(ctx: click.Context) -> bool:
    """Return whether the graph may have inputs that nobody knows before the workflow's function is called."""
    workflow = ctx.meta.get(_KEY)
    return workflow is not None and not workflow.knows_all


def _option(parameter: Parameter, taken: set[str]) -> click.Option | None:
    """Return the option of a parameter; None if its name cannot be one, or is taken: by the command or a parameter."""
    if not _AS_OPTION.fullmatch(parameter.name):
        return None
    name = f"--{parameter.name.replace('_', '-')}"
    if name in taken or (parameter.boolean and f"--no-{name[2:]}" in taken):
        return None
    flags = f"{name}/--no-{name[2:]}" if parameter.boolean else name
    kind: dict[str, Any] = {"type": _Text(parameter), "metavar": _metavar(parameter)}
    made = click.Option(
        [flags, "value"], default=None, help=_help(parameter), **({} if parameter.boolean else kind)
    )
    # no identifier, so it meets no option of the command
    made.name = f"{_PREFIX}{parameter.name}"
    return made


def _metavar(parameter: Parameter) -> str:
    name = printable(parameter.conversion.name)
    return name.upper() if name.isidentifier() else name


def _help(parameter: Parameter) -> str:
    ends = (
        "required"
        if parameter.required
        else parameter.shown_default and f"default: {parameter.shown_default}"
    )
    parts = (parameter.description, f"[{ends}]" if ends else "")
    return printable("  ".join(part for part in parts if part))


def _by_key(parameter: Parameter) -> tuple[str, str]:
    """Return the line of help of a parameter that only -p can give."""
    return printable(f"-p {parameter.name}={_metavar(parameter)}"), _help(parameter)


def _pairs(
    workflow: Startable, given: tuple[tuple[str, str], ...], single: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of ``-p``, converted where the parameter is known."""
    known = {each.name: each for each in workflow.parameters}
    values: dict[str, Any] = {}
    for name, text in given:
        if name in single or name in values:
            raise CommandError(f"the parameter {name!r} is given twice", "give it once", code=USAGE)
        try:
            values[name] = known[name].conversion.from_text(text) if name in known else text
        except ValueError as error:
            raise CommandError(f"-p {name}: {error}", code=USAGE) from error
    return values
