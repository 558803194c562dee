"""``cascade collect``: each event once, holes exactly, and no acknowledgement before the commit."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from collectors import COLLECTOR, kept, process
from hypothesis import given
from hypothesis import strategies as st

import cascade as cs
from cascade.cli.link import Address
from cascade.cli.main import main
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import ack_topic, status_topic, telemetry_topic
from cascade.ops._collecting.collector import Collector
from cascade.ops._collecting.lines_file import LinesFile
from cascade.ops._collecting.message import EventFile, Received, Recent
from cascade.ops._collecting.spans import Spans
from cascade.ops._collecting.sqlite_file import SqliteFile
from cascade.ops._commands import collect
from cascade.runtime import LocalConnector, LocalHub
from cascade.testkit import Mosquitto, eventually
from cascade.testkit.brokers import NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.wire import parse_event

TOPIC = telemetry_topic("local", "default", "run")
DAY = 86_400.0


def event(seq: int, *, source: str = "press", kind: str = "events") -> dict[str, Any]:
    """An event as telemetry makes it."""
    name = "run-c41e07d2" if kind == "events" else f"run-c41e07d2-{kind}"
    return {
        "v": "1.0",
        "ts": "2026-11-21T03:00:20+00:00",
        "run_id": "run",
        "org_id": "local",
        "project_id": "default",
        "source": source,
        "seq": seq,
        "token": "c41e07d2",
        "event_id": f"{name}-{seq}",
        "body": {
            "type": "TaskStateEvent",
            "task_id": "t:0",
            "task_name": "t",
            "state": "COMPLETED",
            "duration_ms": 0.0,
            "error": "",
        },
    }


def received(seq: int, at: float = 1e9, *, kind: str = "events") -> Received:
    """That event as the collector gets it."""
    topic, payload = telemetry_topic("local", "default", "run", kind), event(seq, kind=kind)
    parsed = parse_event(topic, json.dumps(payload).encode())
    assert parsed is not None
    return Received(topic, payload, parsed, at)


@pytest.mark.full
@given(st.lists(st.integers(0, 30)))
def test_spans_are_a_set_and_its_holes(numbers: list[int]) -> None:
    """Whatever the order: what was added is there, once, and the holes are the rest below the highest."""
    spans, added = Spans(), set[int]()
    for number in numbers:
        assert spans.add(number) == (number not in added)
        added.add(number)
    assert {number for number in range(40) if number in spans} == added
    missing = {number for first, last in spans.missing for number in range(first, last + 1)}
    assert missing == set(range(max(added, default=0))) - added
    assert Spans(spans.ranges).ranges == spans.ranges
    assert len(spans.ranges) <= len(missing) + 1


@pytest.fixture(params=["sqlite", "jsonl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"all.{request.param}"


def opened(path: Path) -> EventFile:
    """Open a file of either kind."""
    return SqliteFile(path) if path.suffix == ".sqlite" else LinesFile(path)


def numbers_in(path: Path) -> list[int]:
    """Return the ``seq`` of what a file has, in order of arrival."""
    if path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return [seq for (seq,) in connection.execute("SELECT seq FROM event ORDER BY rowid")]
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_second_copies_are_dropped_and_holes_are_filled_late(path: Path) -> None:
    """Across a restart of the collector, too; a hole is known since it was seen."""
    file = opened(path)
    file.store([received(0), received(3, 2e9), received(3), received(1, 3e9)])
    ((_, missing, since),) = file.holes()
    assert ([*map(tuple, missing)], since) == ([(2, 2)], 2e9)
    file.close()
    file = opened(path)
    assert [[*map(tuple, hole.missing)] for hole in file.holes()] == [[(2, 2)]]
    found = file.store([received(3), received(2)])
    assert [(series.name, known.spans.upto) for series, known in found.items()] == [("run-c41e07d2", 3)]
    assert file.holes() == []
    file.close()
    assert numbers_in(path) == [0, 3, 1, 2]


def test_messages_of_other_kinds_are_kept_once_and_make_no_holes(path: Path) -> None:
    """Their numbers are their own."""
    file = opened(path)
    file.store([received(7, kind="data"), received(7, kind="data"), received(7, kind="logs")])
    assert file.holes() == []
    file.close()
    assert numbers_in(path) == [7, 7]


def test_a_line_that_a_killed_collector_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    """Its event was not acknowledged, so it comes again."""
    path = tmp_path / "all.jsonl"
    file = LinesFile(path)
    file.store([received(0), received(1)])
    file.close()
    path.write_bytes(path.read_bytes()[:-20])
    file = LinesFile(path)
    file.store([received(1)])
    file.close()
    assert numbers_in(path) == [0, 1]


def test_old_events_are_deleted_and_stay_known(tmp_path: Path) -> None:
    """A copy that comes later is still a second copy."""
    path = tmp_path / "all.sqlite"
    file = SqliteFile(path, keep=DAY)
    file.store([received(0, 1e9)])
    file.store([received(1, 1e9 + 2 * DAY)])
    file.store([received(0, 1e9 + 2 * DAY)])
    file.close()
    assert numbers_in(path) == [1]


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA application_id = {0x4353434F}; PRAGMA user_version = 7; CREATE TABLE a (a)"
        )


def _text(path: Path) -> None:
    path.write_text("anything\n")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("a.sqlite", _foreign, "is a database of another program; name another file"),
        ("a.sqlite", _newer, "is of version 7, and this Cascade writes 1; upgrade Cascade"),
        ("a.jsonl", _text, ":1 is not a line of cascade collect; name another file"),
        ("a.csv", _text, ": the kind of file is unknown; name it .sqlite or .jsonl"),
        ("a.sqlite", None, "does not exist"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, name: str, spoil: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is asked of a broker, and nothing in it is changed."""
    path = tmp_path / name
    if spoil is not None:
        spoil(path)
    before = path.read_bytes() if path.exists() else None
    assert main(["collect", "--to", str(path), "--holes"]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (path.read_bytes() if path.exists() else None) == before


async def test_an_acknowledgement_follows_the_commit_and_only_named_sources_get_one(tmp_path: Path) -> None:
    """It has the highest number and the holes; while the disk fails there is none."""
    hub, acks = LocalHub(), list[dict[str, Any]]()
    path = tmp_path / "all.sqlite"
    file = SqliteFile(path)
    stored: list[int] = []
    store = file.store

    def recorded(batch: Any) -> Any:
        found = store(batch)
        stored.append(len(numbers_in(path)))
        return found

    file.store = recorded  # type: ignore[method-assign]

    async def note(topic: str, data: dict[str, Any]) -> None:
        assert topic == ack_topic("press")
        assert stored  # the commit was before
        acks.append(data)

    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        await engine.subscribe("cascade/ack/+", note, 1)
        collector = Collector(link, file, name="collector-1")
        await collector.subscribe()
        running = asyncio.create_task(collector.run())
        await engine.publish(status_topic("press"), {"status": "online", "session": "a"}, 1, retain=True)
        for seq, source in ((0, "press"), (2, "press"), (0, "host-1")):
            await engine.publish(TOPIC, event(seq, source=source), 1)
        await eventually(lambda: acks)
        running.cancel()
        await asyncio.wait({running})
    assert acks[-1] == {
        "v": "1.0",
        "by": "collector-1",
        "upto": {"run-c41e07d2": 2},
        "missing": {"run-c41e07d2": [[1, 1]]},
    }
    file.close()


async def test_an_engine_without_a_presence_gets_no_retained_acknowledgement(tmp_path: Path) -> None:
    """No program would clear it: the engine has no name, or cascade prune has cleared what it had left."""
    hub, acked = LocalHub(), list[str]()
    file = SqliteFile(tmp_path / "all.sqlite")

    async def note(topic: str, _data: dict[str, Any]) -> None:
        acked.append(topic)

    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        await engine.subscribe("cascade/ack/+", note, 1)
        collector = Collector(link, file, name="collector-1")
        await collector.subscribe()
        running = asyncio.create_task(collector.run())
        await engine.publish(status_topic("gone"), None, 1, retain=True)
        await engine.publish(status_topic("press"), {"status": "online", "session": "a"}, 1, retain=True)
        for source in ("gone", "host-1", "press"):
            message = {**event(0, source=source), "event_id": f"{source}-0"}
            await engine.publish(TOPIC, message, 1)
        await eventually(lambda: acked)
        running.cancel()
        await asyncio.wait({running})
    assert set(acked) == {ack_topic("press")}
    file.close()


async def test_a_commit_that_runs_at_the_end_is_awaited(tmp_path: Path) -> None:
    """The file takes one batch at a time: the next one follows when the first is committed."""
    hub, path = LocalHub(), tmp_path / "all.sqlite"
    file = SqliteFile(path)
    store, entered, go_on = file.store, threading.Event(), threading.Event()

    def slowly(batch: Any) -> Any:
        entered.set()
        assert go_on.wait(60)
        return store(batch)

    file.store = slowly  # type: ignore[method-assign]
    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        collector = Collector(link, file, name="collector-1")
        await collector.subscribe()
        running = asyncio.create_task(collector.run())
        await engine.publish(TOPIC, event(0), 1)
        assert await asyncio.to_thread(entered.wait, 60)
        await engine.publish(TOPIC, event(1), 1)
        await eventually(lambda: collector._batch)
        running.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert collector._batch
        go_on.set()
        await asyncio.wait({running})
    assert running.cancelled()
    assert numbers_in(path) == [0, 1]
    file.close()


async def test_only_so_many_messages_gather_while_the_file_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait in the queue of the subscription, which has a bound, and follow."""
    monkeypatch.setattr("cascade.ops._collecting.collector.MOST", 3)
    hub, path, seen = LocalHub(), tmp_path / "all.sqlite", list[int]()
    file = SqliteFile(path)
    store, entered, go_on = file.store, threading.Event(), threading.Event()

    def slowly(batch: Any) -> Any:
        entered.set()
        assert go_on.wait(60)
        return store(batch)

    async def note(topic: str, data: dict[str, Any]) -> None:
        seen.append(data["seq"])

    file.store = slowly  # type: ignore[method-assign]
    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        collector = Collector(link, file, name=None)
        await collector.subscribe()
        await link.subscribe(TOPIC, note, 1)
        running = asyncio.create_task(collector.run())
        await engine.publish(TOPIC, event(0), 1)
        assert await asyncio.to_thread(entered.wait, 60)
        for seq in range(1, 12):
            await engine.publish(TOPIC, event(seq), 1)
        await eventually(lambda: len(seen) == 12)
        await eventually(lambda: len(collector._batch) >= 3)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(collector._batch) == 3
        go_on.set()
        await eventually(lambda: numbers_in(path) == [*range(12)])
        running.cancel()
        await asyncio.wait({running})
    file.close()


async def test_what_comes_until_the_link_has_ended_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker does not send it again, and the collector cannot acknowledge it: the link has ended."""
    hub, path = LocalHub(), tmp_path / "all.sqlite"
    file = SqliteFile(path)

    class Late(LocalConnector):
        async def disconnect(self) -> None:
            await engine.publish(TOPIC, event(1), 1)
            await super().disconnect()

    class Place:
        place = "local://here"

        def connector(self, **_: Any) -> LocalConnector:
            return Late(hub)

    async with LocalConnector(hub) as engine:
        await engine.publish(status_topic("press"), {"status": "online", "session": "a"}, 1, retain=True)
        address = cast(Address, Place())
        running = asyncio.create_task(collect._store(address, file, name="collector-1", ack=True))
        await eventually(lambda: hub._receivers(TOPIC))
        await engine.publish(TOPIC, event(0), 1)
        await eventually(lambda: numbers_in(path) == [0])
        running.cancel()
        await asyncio.wait({running})
    assert numbers_in(path) == [0, 1]
    assert not caplog.records
    file.close()


async def test_an_acknowledgement_names_each_run_of_a_batch(tmp_path: Path) -> None:
    """Of more runs than one acknowledgement has room for: what is not acknowledged is sent again."""
    hub, acked, runs = LocalHub(), set[str](), 3 * Recent.MOST - 1
    file = SqliteFile(tmp_path / "all.sqlite")

    async def note(topic: str, data: dict[str, Any]) -> None:
        assert len(data["upto"]) <= Recent.MOST
        acked.update(data["upto"])

    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        await engine.subscribe(ack_topic("press"), note, 1)
        collector = Collector(link, file, name="collector-1")
        await collector.subscribe()
        await engine.publish(status_topic("press"), {"status": "online", "session": "a"}, 1, retain=True)
        running = asyncio.create_task(collector.run())
        for number in range(runs):
            run_id = f"run-{number}"
            message = {**event(0), "run_id": run_id, "event_id": f"{run_id}-c41e07d2-0"}
            await engine.publish(telemetry_topic("local", "default", run_id), message, 1)
            if not number:
                await eventually(lambda: acked)  # it knows the source
        await eventually(lambda: acked == {f"run-{number}-c41e07d2" for number in range(runs)})
        running.cancel()
        await asyncio.wait({running})
    file.close()


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
        "target": "nightly",
        "status": "Succeeded",
        "attempts": 1,
        "created": "2026-11-21T03:00:20+00:00",
        "ended": "2026-11-21T03:00:25+00:00",
        "took": 5.0,
        "counts": {"completed": 1},
        "error": "",
    }
    assert main(["history", "run", "--from", str(path)]) == 0
    assert capsys.readouterr().out.startswith(
        "press\tpress:0\tcompleted\t2\t1\t2026-11-21T03:00:21+00:00\t3.0\t0\t"
    )
    assert main(["history", "none", "--from", str(path)]) == 1
    assert "no event of a run 'none' is in" in capsys.readouterr().err


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
    found = history_of(path, capsys, first, [named(each, token="a2") for each in second], run="run")
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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_foreign, "is a database of another program; name another file"),
        (_newer, "is of version 7, and this Cascade writes 1; upgrade Cascade"),
        (None, "does not exist; cascade collect --to creates it"),
    ],
)
def test_history_names_a_file_that_is_not_a_collectors(
    tmp_path: Path, spoil: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On one line, and it creates none."""
    path = tmp_path / "a.sqlite"
    if spoil is not None:
        spoil(path)
    assert main(["history", "--from", str(path)]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert message in err
    assert path.exists() is (spoil is not None)


ANYTHING: list[Any] = [
    None,
    5,
    1.5,
    True,
    "",
    "yesterday",
    "2026-11-21T03:00:25",
    [],
    {},
    "2026-11-21T03:00:26+00:00",
]


@pytest.mark.parametrize("value", ANYTHING, ids=repr)
@pytest.mark.parametrize("form", [[], ["--json"], ["run"], ["run", "--json"]], ids=" ".join)
def test_history_bears_events_of_any_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: Any, form: list[str]
) -> None:
    """Any field of an event may hold anything; the other runs are listed as before."""
    path, file = tmp_path / "all.sqlite", SqliteFile(tmp_path / "all.sqlite")
    began, ended = (
        lifecycle(0, "ENGINE_STARTED", name="nightly"),
        lifecycle(5, "ENGINE_STOPPED", status="Succeeded"),
    )
    whole = [began, step(1, "RUNNING"), step(2, "COMPLETED"), ended]
    odd = [
        *({**message, field: value} for message in whole for field in ("ts", "body")),
        *(
            {**message, "body": {**message["body"], field: value}}
            for message in whole
            for field in message["body"]
        ),
    ]
    for number, message in enumerate(
        [began, ended, *({**each, "source": f"odd-{n % 3}"} for n, each in enumerate(odd))]
    ):
        parsed = parse_event(TOPIC, json.dumps({**message, "seq": number}).encode())
        if parsed is None:
            continue  # a collector drops it
        file.store([Received(TOPIC, message, replace(parsed, event_id=f"e-{number}"), 1e9 + number)])
    file.close()
    assert main(["history", *form, "--from", str(path)]) == 0
    assert "press" in capsys.readouterr().out


# The server keeps what comes meanwhile


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
async def test_events_come_from_the_stream_that_a_nats_server_kept_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a restart of the server, and into a queue that is shorter than what waits; then each as it comes."""
    path, count = tmp_path / "all.sqlite", 2_500
    with NatsServer() as server, contextlib.ExitStack() as alive:

        def collector() -> subprocess.Popen[bytes]:
            return alive.enter_context(
                process(sys.executable, "-c", COLLECTOR, server.nats_url, str(path), "--name", "my box.1")
            )

        async def send(first: int, last: int) -> None:
            engine = cs.connector(f"{server.nats_url}?source_id=press", required=True, drain_timeout=60.0)
            await engine.connect()
            for seq in range(first, last):
                await engine.publish(TOPIC, event(seq), 1)
            await engine.disconnect()

        running = collector()
        await send(0, 1)
        await eventually(lambda: len(kept(path)) == 1)
        running.kill()
        await asyncio.to_thread(running.wait)
        await send(1, count)
        await asyncio.to_thread(server.restart)
        collector()
        await eventually(lambda: len(kept(path)) == count)
        await send(count, count + 1)
        await eventually(lambda: len(kept(path)) == count + 1)
    assert main(["collect", "--to", str(path), "--holes"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
@pytest.mark.parametrize("where", ["no folder", "a link to nowhere"])
def test_a_file_that_cannot_be_opened_is_reported_in_one_line(
    kind: str, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything else is tried, with what to do."""
    path = tmp_path / f"all.{kind}"
    if where == "no folder":
        path = tmp_path / "missing" / path.name
        told = f"cascade: the folder {path.parent} does not exist; create it, or name another file\n"
    else:
        path.symlink_to(tmp_path / "missing" / path.name)
        told = f"cascade: {path} cannot be opened: "
    assert main(["collect", "--to", str(path), "--broker", "mqtt://127.0.0.1:1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(told)
    assert error.count("\n") == 1
    assert "--debug" not in error


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
async def test_no_event_of_a_burst_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An MQTT broker sends it as fast as it can, and what has reached the collector never again."""
    require_mosquitto()
    path, count = tmp_path / "all.sqlite", 5_000
    # Each callback takes a turn of the event loop of its own, as on a busy machine: messages come faster.
    busy = f"from cascade.transport import yielding\nyielding.LOOP_BUDGET = 0.0\n{COLLECTOR}"
    with (
        Mosquitto() as broker,
        process(sys.executable, "-c", busy, broker.url, str(path)) as collector,
    ):
        async with MqttConnector(broker.host, broker.port, presence=False, required=True) as writer:

            async def first_is_there() -> bool:
                await writer.publish(TOPIC, event(0), 1)
                return len(kept(path)) == 1

            await eventually(first_is_there)
            collector.send_signal(signal.SIGSTOP)  # so all come at once
            for seq in range(1, count):
                await writer.publish(TOPIC, event(seq), 1)
            assert await writer.flush(60.0)
            collector.send_signal(signal.SIGCONT)
            await eventually(lambda: len(kept(path)) == count)
    assert main(["collect", "--to", str(path), "--holes"]) == 0
    assert capsys.readouterr().out == ""
