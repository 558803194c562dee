"""Pictures of a graph: as text, and as images, which Graphviz draws where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from cascade.cli.errors import USAGE, CommandError
from cascade.cli.output import Output
from cascade.runtime.starting import Target

FORMATS = ("tree", "mermaid", "dot", "json", "svg", "png")

_IMAGES = ("svg", "png")
_TIMEOUT = 60.0  # seconds for Graphviz


def draw(target: Target, shape: str) -> str | bytes:
    """Return the graph as text, or as the bytes of an image. Graphviz draws an image where it is installed.

    :raises CommandError: if Graphviz fails, or is needed (png) and is not installed.
    """
    from cascade import to_json, visualize

    if shape == "json":
        return f"{to_json(target)}\n"
    program = shutil.which("dot") if shape in _IMAGES else None
    if program is not None:
        return _by_graphviz(program, visualize(target, format="dot"), shape)
    if shape == "png":
        raise CommandError(
            "png needs Graphviz, which is not installed",
            "choose --format svg, or apt-get install graphviz",
            code=USAGE,
        )
    return visualize(target, format=shape)  # type: ignore[arg-type]  # click has checked it


def write(picture: str | bytes, path: Path | None, output: Output) -> None:
    """Write a picture to a file, or to standard output.

    :raises CommandError: if the file cannot be written, or an image would fill a terminal.
    """
    data = picture.encode() if isinstance(picture, str) else picture
    if path is not None:
        try:
            path.write_bytes(data)
        except OSError as error:
            raise CommandError(
                f"{path} cannot be written: {error.strerror}", "choose another for -o", code=USAGE
            ) from error
    elif isinstance(picture, str):
        output.text(picture)
    elif sys.stdout.isatty():
        raise CommandError("an image cannot be shown in a terminal", "pass -o FILE", code=USAGE)
    else:
        sys.stdout.buffer.write(data)


def _by_graphviz(program: str, text: str, shape: str) -> bytes:
    try:
        done = subprocess.run(
            [program, f"-T{shape}"], input=text.encode(), capture_output=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(
            f"Graphviz failed: {error}", "choose --format mermaid, or a smaller graph"
        ) from error
    if done.returncode:
        raise CommandError(f"Graphviz failed: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout
