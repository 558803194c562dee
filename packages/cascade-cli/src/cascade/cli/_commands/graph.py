"""``cascade graph``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cascade.cli._drawing import FORMATS, draw, write
from cascade.cli._workflow.options import Source, WorkflowCommand, taking_parameters
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.runtime.starting import Startable


@make(name="graph", cls=WorkflowCommand)
@click.argument("file", type=Source(), metavar="FILE.py[:NAME]")
@taking_parameters
@click.option("--format", "shape", type=click.Choice(FORMATS), help="tree if none is given.")
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file; its ending is the format if none is given.",
)
def command(workflow: Startable, values: dict[str, Any], shape: str | None, path: Path | None) -> int:
    """Show the graph of a workflow without running it.

    A map is one step, because its items may be known only in the run. Graphviz draws svg where it is
    installed; png needs it.
    """
    target, _ = workflow.build(values, to_run=False)
    output = settings().output
    ending = path.suffix.removeprefix(".") if path is not None else ""
    found = shape or ("json" if output.json else {"mmd": "mermaid", "gv": "dot"}.get(ending, ending))
    write(draw(target, found if found in FORMATS else "tree"), path, output)
    return 0
