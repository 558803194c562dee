"""``cascade logs --from``: the lines that ``cascade collect`` has kept."""

import json
import re
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from collectors import NOW, received
from ops_modules import SqliteFile

from cascade.cli import main
from testing_tools.memory_broker import MemoryBroker, Person


def begun(run: str, at: float, *, source: str = "press", name: str = "nightly") -> Any:
    """The start of a run."""
    body = {"type": "LifecycleEvent", "event": "ENGINE_STARTED", "name": name}
    return received(0, at, run=run, source=source, ts=datetime.fromtimestamp(at, UTC).isoformat(), body=body)


def line(number: int, text: str, level: str = "INFO", *, at: float = NOW, **more: Any) -> Any:
    """One line of a log, written by a task unless it says otherwise."""
    body = {"type": "LogEvent", "level": level, "logger": "shop", "message": text, "skipped": 0}
    task = {"task_id": "resize:0[7]", "task_name": "resize"} | more.pop("task", {})
    ts = datetime.fromtimestamp(at, UTC).isoformat()
    return received(number, at, kind="logs", ts=ts, body={**body, **task, **more.pop("body", {})}, **more)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the lines of two engines and three runs; the clock of this machine stands at the last one."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    path = tmp_path / "all.sqlite"
    file = SqliteFile(path)
    old, new = NOW - 90_000, NOW - 60
    file.store(
        [
            *(begun(run, at) for run, at in (("night-6", old), ("night-7", new))),
            begun("day", new, source="oven", name="bake"),
            line(0, "begun", at=old, run="night-6"),
            line(0, "late", "WARNING", at=new + 2, run="night-7"),
            line(1, "sensor \x1b[2J4", "ERROR", at=new + 1.5, run="night-7", body={"skipped": 12}),
            line(
                0, "hot", "Level 25", at=new, run="day", source="oven", task={"task_id": "", "task_name": ""}
            ),
        ]
    )
    file.close()
    return path


def texts(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> list[str]:
    """Return the messages that the command prints."""
    capsys.readouterr()
    assert main(["logs", *arguments, "--from", str(path), "--json"]) == 0
    return [json.loads(each)["message"] for each in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], ["begun", "hot", "sensor \x1b[2J4", "late"]),
        (["night-7"], ["sensor \x1b[2J4", "late"]),
        (["nightly"], ["sensor \x1b[2J4", "late"]),
        (["press"], ["begun", "sensor \x1b[2J4", "late"]),
        (["--level", "warning"], ["sensor \x1b[2J4", "late"]),
        (["--level", "INFO", "oven"], ["hot"]),
        (["--task", "re*"], ["begun", "sensor \x1b[2J4", "late"]),
        (["--task", "resize:0[7]", "--level", "error"], ["sensor \x1b[2J4"]),
        (["--since", "2h"], ["hot", "sensor \x1b[2J4", "late"]),
        (["--since", "59s"], ["sensor \x1b[2J4", "late"]),
    ],
)
def test_lines_are_chosen(
    path: Path, arguments: list[str], shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By run, the name of the latest run, engine, level, task and time; in the order of the engines' clocks."""
    assert texts(capsys, path, *arguments) == shown


def test_a_person_reads_local_times_and_aligned_names_in_colours(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of another day has that day above it, and text from outside cannot move the cursor."""
    person = Person(MemoryBroker({}), monkeypatch)
    _, lines, errors = person.types("logs", "press", "--from", str(path))
    assert errors == "press: 12 lines were not sent: more than 50 a second\n"
    assert lines[1:2] + lines[3:] == [
        "08:00:00.000 INFO     press  resize:0[7]  begun",
        "08:59:01.500 ERROR    press  resize:0[7]  sensor \\u001b[2J4",
        "08:59:02.000 WARNING  press  resize:0[7]  late",
    ]
    assert [lines[0], lines[2]] == ["Thursday 14 January 2027", "Friday 15 January 2027"]


def test_a_program_reads_tabs_or_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the offset from UTC, which a line of tabs has in local time."""
    assert main(["logs", "oven", "--from", str(path)]) == 0
    assert capsys.readouterr().out == "2027-01-15T08:59:00.000+01:00\tLevel 25\toven\tday\t\tshop\thot\n"
    assert main(["logs", "oven", "--from", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "ts": "2027-01-15T07:59:00+00:00", "source": "oven", "run_id": "day", "task_id": "",
        "level": "Level 25", "logger": "shop", "message": "hot",
    }  # fmt: skip


def test_the_page_shows_what_the_command_prints(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of the page, from a file that has them and one of a lower level."""
    page = (Path(__file__).parents[2] / "cascade-cli" / "docs" / "see.md").read_text("utf-8")
    ((arguments, shown),) = re.findall(r"^\$ cascade (logs .*)\n((?:[^`].*\n)*)```", page, re.MULTILINE)
    file = SqliteFile(path.with_name("page.sqlite"))
    at = NOW - 20_872.786
    task = {"task_id": "measure:0[33]", "task_name": "measure"}
    lines = [
        ("asked", "INFO", 1.0),
        ("sensor 4 does not answer, waiting", "WARNING", 0.0),
        ("sensor 4 does not answer", "ERROR", 30.016),
    ]
    file.store([begun("night-7", at, source="press-line-3")])
    file.store([line(number, text, level, at=at + later, run="night-7", source="press-line-3", task=task)
                for number, (text, level, later) in enumerate(lines)])  # fmt: skip
    file.close()
    typed = arguments.replace("all.sqlite", str(path.with_name("page.sqlite"))).split()
    _, printed, _ = Person(MemoryBroker({}), monkeypatch).types(*typed)
    assert printed[1:] == shown.splitlines()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8192])


def _of_version_1(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "arguments", "code", "message"),
    [
        (None, ["--since", "2h"], 2, "--since needs --from: a broker keeps no log lines; leave it out"),
        (None, [], 2, "no broker is named; pass --broker mqtt://localhost, set CASCADE_BROKER, or read a collector's file with --from"),
        (None, ["night-9", "--from"], 1, "no run or engine 'night-9' is in {path}; cascade history --from {path} lists the runs and their engines"),
        (Path.unlink, ["--from"], 1, "the file {path} does not exist; cascade collect --to creates it"),
        (_of_version_1, ["--from"], 1, "{path} is of version 1; cascade collect --to {path} --holes makes it 2"),
        (_truncated, ["--from"], 0, "{path} is damaged (database disk image is malformed): what is whole is shown; restore it from a copy"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_one_line_and_nothing_is_written(
    path: Path, spoil: Any, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the remedy; of a truncated file, what is whole is shown."""
    if spoil is not None:
        spoil(path)
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    arguments = [*arguments, *([str(path)] if arguments[-1:] == ["--from"] else [])]
    assert main(["logs", *arguments]) == code
    out, error = capsys.readouterr()
    assert error.removeprefix("cascade: ").splitlines()[0] == message.format(path=path)
    assert bool(out) == (code == 0)
    assert {each: each.read_bytes() for each in path.parent.iterdir()} == before
