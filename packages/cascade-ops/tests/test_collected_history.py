"""``cascade history --from``: runs and steps from the events that ``cascade collect`` has stored."""

import json
import random
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from collectors import NOW, event
from ops_modules import Change, Received, SqliteFile

from cascade.cli import main
from cascade.interfaces.topics import status_topic, telemetry_topic
from cascade.wire import parse_event
from testing_tools.collected_nights import write_night
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.retained_reports import cells

TOPIC = telemetry_topic("local", "default", "run")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    """A person at a terminal."""
    return Person(MemoryBroker({}), monkeypatch)


def collected(path: Path, *events: tuple[str, str, str, dict[str, Any]]) -> None:
    """Write a collector's file: source, run, time and body of each event."""
    file = SqliteFile(path)
    for seq, (source, run_id, ts, body) in enumerate(events):
        topic = telemetry_topic("local", "default", run_id)
        message = {
            "v": "1.0",
            "ts": f"2027-01-15T{ts}+00:00",
            "run_id": run_id,
            "source": source,
            "seq": seq,
            "token": "t",
            "event_id": f"{run_id}-{seq}",
            "body": body,
        }
        parsed = parse_event(topic, json.dumps(message).encode())
        assert parsed is not None
        file.store([Received(topic, message, parsed, NOW + seq)])
    file.close()


def test_a_person_reads_the_runs_of_all_boxes_the_latest_first(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run id that several boxes used is a list for a program, and has a column of sources for a person."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    path = tmp_path / "all.sqlite"
    started = {"type": "LifecycleEvent", "event": "ENGINE_STARTED", "name": "nightly"}
    ended = {"type": "LifecycleEvent", "event": "ENGINE_STOPPED", "status": "Failed", "error": "E: x"}
    step = {"type": "TaskStateEvent", "task_id": "a:0", "task_name": "a"}
    collected(
        path,
        ("press", "old", "07:00:00", started),
        ("press", "new", "07:58:20", started),
        ("press", "new", "07:58:20", {**step, "state": "RUNNING"}),
        ("press", "new", "07:58:29", {**step, "state": "FAILED", "error": "E: x"}),
        ("press", "new", "07:58:50", ended),
        ("oven", "new", "07:30:00", started),
    )
    lines = person.types("history", "--from", str(path))[1]
    head, *rows = cells(lines)
    assert head == ["run", "engine", "target", "status", "attempts", "began", "took", "steps", "error"]
    assert [row[:2] for row in rows] == [["new", "press"], ["new", "oven"], ["old", "press"]]
    assert rows[0][3:] == ["Failed", "1", "100s ago", "30.0 s", "1 failed", "E: x"]
    lines = person.types("history", "new", "--from", str(path))[1]
    assert [line.partition(", began")[0] for line in lines[:8]] == [
        "new  nightly on oven", "Running", "", "Steps", "no steps are recorded",
        "", "new  nightly on press", "Failed after 30.0 s",
    ]  # fmt: skip
    tables = cells(lines[8:])
    assert tables[:5] == [
        ["E: x"],
        ["1 failed"],
        ["Failed"],
        ["step", "failed tries", "took", "error"],
        ["a:0", "1", "9.0 s", "E: x"],
    ]
    documents = json.loads("\n".join(person.types("history", "new", "--from", str(path), "--json")[1]))
    assert [(each["source"], len(each["steps"])) for each in documents] == [("oven", 0), ("press", 1)]
    alone = json.loads("\n".join(person.types("history", "old", "--from", str(path), "--json")[1]))
    assert (alone["source"], alone["steps"]) == ("press", [])


def test_a_person_reads_when_a_lost_run_was_heard_of_last(person: Person, tmp_path: Path) -> None:
    """It has no end, so nothing else says when its engine died."""
    path = tmp_path / "all.sqlite"
    collected(
        path,
        (
            "press",
            "new",
            "07:00:00",
            {"type": "LifecycleEvent", "event": "ENGINE_STARTED", "name": "nightly"},
        ),
    )
    file = SqliteFile(path)
    file.store([], [Change(status_topic("press"), {"status": "offline", "session": "s"}, NOW + 30)])
    file.close()
    lines = person.types("history", "new", "--from", str(path))[1]
    assert lines[1].startswith("Lost, began ")
    assert lines[1].endswith(f", last heard of {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(NOW))}")


def test_a_program_reads_of_which_engine_each_step_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If two have used one run id."""
    step = {"type": "TaskStateEvent", "task_id": "a:0", "task_name": "a", "state": "COMPLETED"}
    collected(tmp_path / "f", *((source, "new", "07:58:20", step) for source in ("oven", "press")))
    assert main(["history", "new", "--from", str(tmp_path / "f")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:3] for line in lines] == [
        [name, "a:0", "completed"] for name in ("oven", "press")
    ]


def test_an_empty_list_is_a_sentence(person: Person, tmp_path: Path) -> None:
    """Of a file without tables, of one without events, and of a run without steps."""
    (tmp_path / "empty.sqlite").touch()
    assert person.types("history", "--from", str(tmp_path / "empty.sqlite"))[1] == ["no runs are in the file"]
    collected(tmp_path / "all.sqlite")
    assert person.types("history", "--from", str(tmp_path / "all.sqlite"))[1] == ["no runs are in the file"]
    collected(tmp_path / "one.sqlite", ("press", "run", "07:00:00", {"type": "Other"}))
    lines = person.types("history", "run", "--from", str(tmp_path / "one.sqlite"))[1]
    assert [line.partition(", began")[0] for line in lines] == [
        "run   on press",
        "Running",
        "",
        "Steps",
        "no steps are recorded",
    ]


def lifecycle(seq: int, event_name: str, **body: Any) -> dict[str, Any]:
    """The start or the end of a run."""
    body = {"type": "LifecycleEvent", "event": event_name, **body}
    return {**event(seq), "ts": f"2026-11-21T03:00:2{seq}+00:00", "body": body}


def step(seq: int, state: str, **body: Any) -> dict[str, Any]:
    """A change of state of one step."""
    body = {
        "type": "TaskStateEvent",
        "task_id": "press:0",
        "task_name": "press",
        "state": state,
        "error": "",
        **body,
    }
    return {**event(seq), "ts": f"2026-11-21T03:00:2{seq}+00:00", "body": body}


def test_history_keeps_the_events_of_another_project_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine of the project `evil` has published the end of a run of `press` on its own topic."""
    path = tmp_path / "all.sqlite"
    file = SqliteFile(path)
    forged = lifecycle(9, "ENGINE_STOPPED", status="Failed", error="forged")
    for topic, message in (
        (TOPIC, lifecycle(0, "ENGINE_STARTED")),
        (TOPIC.replace("/default/", "/evil/"), forged),
    ):
        parsed = parse_event(topic, json.dumps(message).encode())
        assert parsed is not None
        file.store([Received(topic, message, parsed, 1e9)])
    file.close()
    assert main(["history", "--from", str(path), "--json"]) == 0
    rows = {row["project_id"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert rows == {"default": "Running", "evil": "Failed"}


def test_history_reads_what_happened_on_every_box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs with their status, counts and times; one run with its steps; an unknown one is one line."""
    path = tmp_path / "all.sqlite"
    messages = [
        lifecycle(0, "ENGINE_STARTED", name="nightly"),
        step(1, "RUNNING"),
        step(2, "RETRYING", error="OSError: jam"),
        step(3, "RUNNING"),
        step(4, "COMPLETED"),
        lifecycle(5, "ENGINE_STOPPED", status="Succeeded", error=""),
    ]
    file = SqliteFile(path)
    for number, message in enumerate([*messages, lifecycle(0, "ENGINE_STARTED") | {"source": "oven"}]):
        parsed = parse_event(TOPIC, json.dumps(message).encode())
        assert parsed is not None
        unique = replace(parsed, event_id=f"{parsed.source}-{number}")
        file.store([Received(TOPIC, message, unique, 1e9 + number)])
    file.close()
    assert main(["history", "--from", str(path), "--json"]) == 0
    rows = {row["source"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["oven"]["status"] == "Running"
    assert rows["press"] == {
        "run_id": "run",
        "source": "press",
        "project_id": "default",
        "target": "nightly",
        "status": "Succeeded",
        "attempts": 1,
        "created": "2026-11-21T03:00:20+00:00",
        "ended": "2026-11-21T03:00:25+00:00",
        "took": 5.0,
        "counts": {"completed": 1},
        "by": "",
        "error": "",
    }
    assert main(["history", "run", "--from", str(path)]) == 0
    assert min(capsys.readouterr().out.splitlines()).startswith(
        "press\tpress:0\tcompleted\t2\t1\t2026-11-21T03:00:21+00:00\t3.0\t"
    )
    assert main(["history", "none", "--from", str(path)]) == 1
    assert f"no run 'none' is in {path}; cascade history --from {path} lists them" in capsys.readouterr().err


def history_of(
    path: Path, capsys: pytest.CaptureFixture[str], *batches: list[dict[str, Any]], run: str = ""
) -> Any:
    """What ``cascade history`` says after these events; those of a batch have come at the same moment."""
    file = SqliteFile(path)
    for number, batch in enumerate(batches):
        events = [(each, parse_event(TOPIC, json.dumps(each).encode())) for each in batch]
        file.store([Received(TOPIC, each, parsed, 1e9 + number) for each, parsed in events if parsed])
    file.close()
    assert main(["history", *([run] if run else []), "--json", "--from", str(path)]) == 0
    return json.loads(capsys.readouterr().out)


def named(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The message with other keys, and the id that belongs to them."""
    changed = {**message, **changes}
    return {**changed, "event_id": "-".join(str(changed[key]) for key in ("source", "token", "seq"))}


def test_history_shows_a_run_that_goes_on_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first attempt has failed; the second one has no end and no error yet, and the run began with the first."""
    first = [
        lifecycle(0, "ENGINE_STARTED", name="nightly"),
        step(1, "RUNNING"),
        step(2, "FAILED", error="OSError: jam"),
        lifecycle(3, "ENGINE_STOPPED", status="Failed", error="OSError: jam"),
    ]
    second = [lifecycle(4, "ENGINE_STARTED"), step(5, "RUNNING")]
    path = tmp_path / "all.sqlite"
    (failed,) = history_of(path, capsys, first)
    assert (failed["status"], failed["attempts"], failed["error"]) == ("Failed", 1, "OSError: jam")
    assert (failed["ended"], failed["took"]) == ("2026-11-21T03:00:23+00:00", 3.0)
    found = history_of(
        path, capsys, first, [named(each, token="a2", attempt=2) for each in second], run="run"
    )
    (pressed,) = found.pop("steps")
    assert found == {
        **failed,
        "status": "Running",
        "attempts": 2,
        "ended": None,
        "took": None,
        "counts": {"running": 1},
        "error": "",
    }
    assert (pressed["starts"], pressed["tries"], pressed["error"]) == (2, 1, "")
    assert (pressed["began"], pressed["ended"]) == ("2026-11-21T03:00:21+00:00", None)


def test_history_says_why_a_step_waited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of one that has run since: that is where the time of the night has gone."""
    events = [
        lifecycle(0, "ENGINE_STARTED", name="nightly"),
        step(1, "BLOCKED", reason="global is paused"),
        step(2, "RUNNING"),
    ]
    found = history_of(tmp_path / "all.sqlite", capsys, events, run="run")
    assert [(each["state"], each["reason"]) for each in found["steps"]] == [("running", "global is paused")]


def test_history_counts_events_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may have come in another order, at the same moment, and those of two boxes by turns."""
    run = [lifecycle(0, "ENGINE_STARTED", name="nightly"), step(1, "RUNNING"), step(2, "COMPLETED")]
    batches = [[named(each, source=source)] for each in run for source in ("left", "right")]
    backwards = [named(each, source="middle") for each in reversed(run)]
    rows = history_of(tmp_path / "all.sqlite", capsys, *batches, backwards)
    assert sorted((row["source"], row["status"], str(row["counts"])) for row in rows) == [
        (source, "Running", "{'completed': 1}") for source in ("left", "middle", "right")
    ]


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        ({"status": "Succeeded"}, "Succeeded", ""),
        ({"status": "Failed", "error": "OSError: jam"}, "Failed", "OSError: jam"),
        ({}, "", ""),
        ({"status": None, "error": None}, "", ""),
        ({"status": 7, "error": 8}, "7", "8"),
    ],
    ids=str,
)
def test_history_shows_the_end_of_a_run_as_it_was_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: dict[str, Any], status: str, error: str
) -> None:
    """What another program leaves out is empty, and so is what it leaves out of the start and of a step."""
    run = [
        lifecycle(0, "ENGINE_STARTED", name=None),
        step(1, "RUNNING", error=None),
        step(2, "FAILED", **({"error": error} if error else {"error": None})),
        lifecycle(4, "ENGINE_STOPPED", **end),
    ]
    row = history_of(tmp_path / "all.sqlite", capsys, [named(each) for each in run], run="run")
    (pressed,) = row["steps"]
    assert (row["status"], row["error"], row["target"]) == (status, error, "")
    assert (row["created"], row["ended"], row["took"]) == (
        "2026-11-21T03:00:20+00:00",
        "2026-11-21T03:00:24+00:00",
        4.0,
    )
    assert (pressed["state"], pressed["error"], pressed["starts"], pressed["tries"]) == (
        "failed",
        error,
        1,
        1,
    )
    assert (pressed["key"], pressed["name"], pressed["took"]) == ("press:0", "press", 1.0)


def test_history_has_no_negative_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The clock of the box was set back during the run."""
    run = [lifecycle(9, "ENGINE_STARTED"), {**lifecycle(3, "ENGINE_STOPPED", status="Succeeded"), "seq": 10}]
    (row,) = history_of(tmp_path / "all.sqlite", capsys, [named(each) for each in run])
    assert (row["status"], row["took"]) == ("Succeeded", 0.0)


DAMAGES = {
    "half of a message": "substr(payload, 1, 40)",
    "what the disk lost reads as zeros": "zeroblob(200)",
    "no UTF-8": "CAST(x'7b2276ff' AS TEXT)",
    "no object": "'[1]'",
}


@pytest.mark.parametrize("value", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_value_hides_only_its_message(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite does not notice it. The other runs, and the other steps of its run, are shown with a line that says so."""
    path = tmp_path / "all.sqlite"
    write_night(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE event SET payload = {value} WHERE run_id = 'night-7' AND seq = 3")
        connection.execute(f"UPDATE ending SET payload = {value}")
    for run, least in (([], 3), (["night-7"], 1)):
        assert main(["history", *run, "--from", str(path), "--json"]) == 0
        out, err = capsys.readouterr()
        assert len(json.loads(out)) >= least
        assert err.endswith("what is whole is shown; restore it from a copy\n")
        assert err.count("\n") == 1


def test_no_damage_is_more_than_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeded_random: random.Random
) -> None:
    """A file that was cut, whose end reads as zeros, or in which any bytes are wrong: it is read as far as it can be, and not changed."""
    path = tmp_path / "all.sqlite"
    write_night(path)
    whole, shown = path.read_bytes(), 0
    for number in range(24):
        damaged, at = bytearray(whole), seeded_random.randrange(8192, len(whole))
        if number % 3 == 0:
            del damaged[at:]
        elif number % 3 == 1:
            damaged[at:] = bytes(len(whole) - at)
        else:
            for _ in range(3_000):
                damaged[seeded_random.randrange(100, len(whole))] = seeded_random.randrange(256)
        path.write_bytes(damaged)
        for command in (["history"], ["history", "night-7"], ["logs"]):
            code = main([*command, "--from", str(path)])
            out, err = capsys.readouterr()
            assert code in (0, 1), err
            assert "--debug" not in err
            assert err.count("\n") <= 2
            shown += bool(out)
        assert path.read_bytes() == damaged
    assert shown
