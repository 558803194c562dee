"""What all commands have in common: how they are found, what they print, and how they end."""

import json
import os
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from cascade import cli
from cascade.cli import Column, Output
from cascade.cli.main import COMMANDS, group, main

COLUMNS = [Column("name"), Column("n", right=True), Column("on")]
ROWS: list[dict[str, Any]] = [
    {"name": "a\x1b]0;b", "n": 3, "on": True, "more": [1]},
    {"name": "[red]x", "n": None, "on": False},
]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command ``fail`` that raises what the test puts into the list."""
    errors: list[BaseException] = []

    @cli.command()
    def fail() -> None:
        """Fail."""
        raise errors[0]

    monkeypatch.setitem(group.commands, "fail", fail)
    original = group.get_command
    monkeypatch.setattr(
        group, "get_command", lambda ctx, name: group.commands.get(name) or original(ctx, name)
    )
    return errors


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_can_be_imported_and_has_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table names a module for each, and its help begins with how the command is called."""
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: cascade {name} ")


def test_the_help_names_the_variables_of_the_files_that_tls_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """They are those that the connector reads."""
    assert main(["ps", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for variable in ("CASCADE_MQTT_CA", "CASCADE_MQTT_CERT", "CASCADE_MQTT_KEY"):
        assert f"Or {variable}." in text


@pytest.mark.process
def test_help_imports_no_command_and_nothing_heavy() -> None:
    """``cascade --help`` shows a line for each command without importing any, nor rich or aiomqtt."""
    code = (
        "import sys; from cascade.cli.main import main; main(['--help']);"
        "import json; print(json.dumps(list(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, line in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert line in " ".join(done.stdout.split())
    loaded = set(json.loads(done.stderr))
    assert not loaded & {
        "rich",
        "aiomqtt",
        "paho",
        "pydantic",
        "textual",
        "cascade.runtime",
        "prometheus_client",
    }
    assert not [name for name in loaded if name.startswith("cascade.cli._commands.")]


@pytest.mark.parametrize(("arguments", "traceback"), [(["fail"], False), (["fail", "--debug"], True)])
def test_a_traceback_is_printed_only_for_debug(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], arguments: list[str], traceback: bool
) -> None:
    """Standard output stays empty, standard error has one line, or that line after a traceback."""
    failing.append(ValueError("odd"))
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", traceback)
    assert err.splitlines()[-1].startswith("cascade: ValueError: odd")


@pytest.mark.parametrize("arguments", [["--json", "show"], ["show", "--json"], ["show"]])
def test_json_and_debug_are_taken_before_and_after_the_name(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both reach the command as one setting."""

    @cli.command()
    def show() -> None:
        cli.settings().output.rows(ROWS[:1], COLUMNS[1:2])

    original = group.get_command
    monkeypatch.setattr(
        group, "get_command", lambda ctx, name: show if name == "show" else original(ctx, name)
    )
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("[{" if "--json" in arguments else "3")


def test_ctrl_c_ends_with_130(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    """It prints nothing."""
    failing.append(KeyboardInterrupt())
    assert main(["fail"]) == 130
    assert "KeyboardInterrupt" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["pse"], ["--nonsense"], []])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong stands on standard error."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err


def test_rows_in_a_pipe_are_lines_with_tabs() -> None:
    """A row is a line, its values are separated by tabs, and text from outside is escaped."""
    stream = StringIO()
    Output(stream).rows(ROWS, COLUMNS)
    assert stream.getvalue() == "a\\u001b]0;b\t3\tyes\n[red]x\t\tno\n"


def test_rows_as_json_are_one_document() -> None:
    """It has all keys, not only those of the table."""
    stream = StringIO()
    Output(stream, json=True).rows(ROWS, COLUMNS)
    assert json.loads(stream.getvalue()) == ROWS


@pytest.mark.process
def test_a_closed_pipe_ends_output_quietly() -> None:
    """Neither a message nor another exit code."""
    reader, writer = os.pipe()
    os.close(reader)
    code = "from cascade.cli.main import main; import sys; sys.exit(main(['--help']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


JOB = """
import subprocess
import cascade as cs

@cs.task
def speak():
    print("printed")
    subprocess.run(["echo", "printed by a child"])
    open("done.txt", "w").close()
    return 21

workflow = speak()
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("options", [["--json"], []])
@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        (
            ">/dev/full",
            (1, "", "cascade: the output cannot be written: No space left on device; send it elsewhere\n"),
        ),
        ("2>/dev/full", (0, "21", "")),
        (">&-", (0, "", "")),
        ("2>&-", (0, "21", "")),
        (">&- 2>&- <&-", (0, "", "")),
    ],
)
def test_a_run_goes_on_without_its_standard_streams(
    options: list[str], streams: str, expected: tuple[int, str, str], tmp_path: Path
) -> None:
    """Row 33: what a task or its child prints reaches no file of the run; a result that is not printed is an exit code."""
    # a print of the task itself would fail
    job = JOB.replace('print("printed")', "") if "full" in streams else JOB
    (tmp_path / "job.py").write_text(job)
    code = "import sys; from cascade.cli.main import main; sys.exit(main(['run', 'job.py', '-q', *sys.argv[1:]]))"
    command = shlex.join([sys.executable, "-c", code, *options, "--events", "events.jsonl"])
    done = subprocess.run(
        ["sh", "-c", f"{command} {streams}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    status, out, err = expected
    assert (tmp_path / "done.txt").exists()
    assert done.returncode == status, done.stderr
    assert out in done.stdout
    lines = done.stderr.splitlines(keepends=True)
    assert [line for line in lines if "printed" not in line and "echo: " not in line] == [err] * bool(err)
    assert all(json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "extra"),
    [*dict.fromkeys(("doctor", "acl", "collect", "prune", "ha"), "ops").items(), ("web", "web")],
)
def test_a_command_of_a_package_that_is_not_installed_names_the_package(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the line that installs it; the help lists it below that line."""
    monkeypatch.setitem(vars(sys.modules[main.__module__]), "_others", dict)
    assert main([name, "--broker", "mqtt://b"]) == 2
    line = f'pip install "cascade-py[{extra}]"'
    assert capsys.readouterr().err == f"cascade: {name} is in cascade-{extra}: {line}\n"
    assert main(["--help"]) == 0
    _, found, below = capsys.readouterr().out.partition(f"\nFurther commands, with {line}:\n")
    assert found
    assert re.search(rf"^  {name}  ", below.partition("\n\n")[0], re.MULTILINE)


def test_the_help_has_installed_commands_of_other_packages_in_one_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is left to install."""
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "Further commands" not in printed
    assert all(re.search(rf"^  {name}  ", printed, re.MULTILINE) for name in ("run", "doctor", "web"))
