"""Commands of other packages, what their exit codes become, and values that all commands read alike."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from cli_modules import drawing

from cascade import cli
from cascade.cli.errors import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    NO_BROKER,
    USAGE,
    CommandError,
    exit_code,
    one_line,
)
from cascade.cli.main import COMMANDS, main
from cascade.cli.output import Output
from cascade.cli.params import HOST_PORT, SCOPE
from cascade.interfaces.errors import ConnectorUnavailable, RunCancelledError, UsageError


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Commands of an installed package, by name."""
    made: dict[str, Any] = {}

    def points() -> dict[str, Any]:
        return {
            name: SimpleNamespace(load=lambda name=name: made[name], dist=SimpleNamespace(name="plant-tools"))
            for name in made
        }

    monkeypatch.setitem(vars(sys.modules[main.__module__]), "_others", points)
    return made


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (lambda: None, 0),
        (lambda: 0, 0),
        (lambda: 5, 5),
        (lambda: click.get_current_context().exit(), 0),
        (lambda: click.get_current_context().exit(7), 7),
    ],
)
def test_a_command_ends_with_the_code_that_it_returns_or_exits_with(
    body: Callable[[], Any], code: int, offered: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a package that brings it by an entry point, as of our own."""
    offered["press"] = cli.command(name="press")(body)
    assert main(["press"]) == code
    assert capsys.readouterr().err == ""


def test_the_help_lists_commands_of_other_packages_last(
    offered: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the package, in the order of their names; none hides one of our own."""
    for name in ("press", "oven", "run"):
        offered[name] = cli.command(name=name)(lambda: 9)
    assert main(["--help"]) == 0
    lines = [
        line.split()
        for line in capsys.readouterr().out.partition("\nCommands:\n")[2].partition("\n\n")[0].splitlines()
    ]
    names = [line[0] for line in lines if line]
    assert names == [*COMMANDS, "oven", "press"]
    assert [line[1:] for line in lines if line and line[0] in ("oven", "press")] == [
        ["From", "plant-tools."]
    ] * 2
    assert main(["run"]) == 2, "our own, which needs a file"
    assert "Missing argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["pres"], "unknown command 'pres'; did you mean 'press'?"),
        (["zzzz"], "unknown command 'zzzz'; cascade --help lists them"),
        (["--zzzz"], "No such option"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest_one(
    arguments: list[str], line: str, offered: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one of another package."""
    offered["press"] = cli.command(name="press")(lambda: 9)
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"cascade: {line}")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CommandError("it is so"), FAILED, "it is so"),
        (CommandError("it is so", "do that"), FAILED, "it is so; do that"),
        (CommandError("it is so", "do that", code=9), 9, "it is so; do that"),
        (ConnectorUnavailable("b", 1, "it is off"), NO_BROKER, None),
        (RunCancelledError("r", "olaf"), CANCELLED, None),
        (UsageError("not so"), USAGE, "not so"),
        (click.UsageError("not so."), USAGE, "not so; cascade --help lists what it takes"),
        (click.FileError("a.txt", "gone"), USAGE, "Could not open file 'a.txt': gone"),
        (click.ClickException("odd"), FAILED, "odd"),
        (click.Abort(), INTERRUPTED, None),
        (KeyboardInterrupt(), INTERRUPTED, None),
        (ValueError("a\n  b\x1b"), FAILED, "ValueError: a b\\u001b; --debug shows where it was raised"),
        (ValueError(), FAILED, "ValueError; --debug shows where it was raised"),
    ],
)
def test_each_error_has_its_code_and_its_line(error: BaseException, code: int, line: str | None) -> None:
    """The codes are documented: scripts depend on them."""
    assert exit_code(error) == code
    if line is not None:
        assert one_line(error) == line
        assert one_line(error, debug=True) == line.removesuffix("; --debug shows where it was raised")
    assert (FAILED, USAGE, NO_BROKER, CANCELLED, INTERRUPTED) == (1, 2, 3, 4, 130)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:65535", ("::1", 65535)),
        ("box:0", ("box", 0)),
        ("9464", None),
        (":9464", None),
        ("box:", None),
        ("box:65536", None),
        ("box:-1", None),
        ("box:٣", None),
        ("box:a", None),
    ],
)
def test_an_address_and_a_port_are_read(text: str, value: tuple[str, int] | None) -> None:
    """The brackets around an IPv6 address are not part of the address."""
    if value is not None:
        assert HOST_PORT.convert(text, None, None) == value
        assert HOST_PORT.convert(value, None, None) is value, "a default is read already"
        return
    with pytest.raises(click.BadParameter) as caught:
        HOST_PORT.convert(text, None, None)
    assert caught.value.message == f"{text!r} is not an address and a port, such as 127.0.0.1:9464"


@pytest.mark.parametrize(
    ("begun", "words"),
    [
        ("", ["global", "project:", "source:", "workflow:", "run:", "task:"]),
        ("s", ["source:"]),
        ("g", ["global"]),
        ("x", []),
        ("source:a", []),
    ],
)
def test_a_shell_completes_the_kind_of_a_scope(begun: str, words: list[str]) -> None:
    """Names need a broker, which completion does not ask."""
    context: Any = None
    assert [each.value for each in SCOPE.shell_complete(context, context, begun)] == words


class Standard(io.StringIO):
    """A standard output that takes bytes, too."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.taken = io.BytesIO()
        self._terminal = terminal

    @property
    def buffer(self) -> io.BytesIO:
        return self.taken

    def isatty(self) -> bool:
        return self._terminal


def test_an_image_goes_to_a_pipe_and_never_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of text goes to both; a file gets either."""
    pipe, terminal = Standard(terminal=False), Standard(terminal=True)
    for screen in (pipe, terminal):
        monkeypatch.setattr(sys, "stdout", screen)
        drawing.write("a\nb\n", None, Output())
        assert screen.getvalue() == "a\nb\n"
    with pytest.raises(CommandError) as caught:
        drawing.write(b"\x89PNG", None, Output())
    assert str(caught.value) == "an image cannot be shown in a terminal; pass -o FILE"
    assert caught.value.code == 2
    monkeypatch.setattr(sys, "stdout", pipe)
    drawing.write(b"\x89PNG", None, Output())
    assert (pipe.taken.getvalue(), terminal.taken.getvalue()) == (b"\x89PNG", b"")
    for picture, data in (("ä", "ä".encode()), (b"\x89PNG", b"\x89PNG")):
        drawing.write(picture, tmp_path / "x", Output())
        assert (tmp_path / "x").read_bytes() == data


@pytest.mark.parametrize(
    ("shape", "begin"),
    [
        ("tree", "one\n"),
        ("mermaid", "flowchart TD\n"),
        ("dot", "digraph cascade {\n"),
        ("json", "[\n"),
        ("svg", "<svg "),
        ("png", ""),
    ],
)
def test_a_graph_is_drawn_in_each_form(
    shape: str,
    begin: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Named by the option, or by the ending of the file; without Graphviz all but png."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.argv", ["cascade"])
    file = tmp_path / f"graph_as_{shape}.py"
    file.write_text("import cascade as cs\n@cs.task\ndef one(): return 1\nworkflow = one()\n")
    picture = tmp_path / f"picture.{shape}"
    codes = [main(["graph", str(file), *more]) for more in (("--format", shape), ("-o", str(picture)))]
    out, err = capsys.readouterr()
    sys.modules.pop(file.stem)
    if not begin:
        assert (codes, out, err.count("png needs Graphviz")) == ([2, 2], "", 2)
        return
    assert (codes, out[: len(begin)], err) == ([0, 0], begin, "")
    assert picture.read_text("utf-8") == out
