"""The page of the command: usage, arguments and options of each command, as click has them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from cascade.cli.main import EXTRAS, group
from cascade.interfaces.distribution import install_line
from website.docstrings import inline


def command_pages() -> dict[str, str]:
    """Return the page, by its place in the site."""
    context = click.Context(group, info_name="cascade")
    extras = {name: extra for extra, (_, offered) in EXTRAS.items() for name in offered}
    parts = ["# Commands", _paragraphs(group.help), *_table(group, context)]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        parts += _section(command, click.Context(command, info_name=name, parent=context), extras.get(name))
    return {"reference/commands.md": "\n\n".join(parts) + "\n"}


def _section(command: click.Command, context: click.Context, extra: str | None) -> Iterator[str]:
    yield f"## {context.command_path}"
    if extra:
        yield f"Installed by `{install_line(extra)}`."
    yield f"```\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
    yield _paragraphs(command.help)
    yield from _table(command, context)
    if isinstance(command, click.Group):
        for name, inside in command.commands.items():
            yield from _section(inside, click.Context(inside, info_name=name, parent=context), None)


def _table(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
    if records:
        rows = [f"| `{_cell(option)}` | {_cell(inline(text))} |" for option, text in records]
        yield "\n".join(["| option | what it does |", "|---|---|", *rows])


def _paragraphs(text: str | None) -> str:
    return inline(inspect.cleandoc((text or "").replace("\b\n", "").partition("\f")[0]))


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
