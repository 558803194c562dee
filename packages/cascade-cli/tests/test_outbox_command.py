"""``cascade outbox``: what waits in a folder is listed, sent and dropped."""

import asyncio
import json
import sqlite3
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cli_modules import OutboxFile, outbox_command

import cascade as cs
from cascade.cli.link import Address
from cascade.cli.main import main
from cascade.connectors.mqtt import MqttConnector
from cascade.runtime import Outbox, SenderSummary
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker, NatsServer


async def leave(folder: Path, source: str, count: int) -> None:
    """Leave messages in a folder, as a process does that ends without a broker."""
    connector = MqttConnector("127.0.0.1", 1, source_id=source, connect_timeout=0.05)
    async with Outbox(folder).attached(connector, adopt=False) as queue:
        for number in range(count):
            queue.publish("plant/line", {"n": number}, 1)
        await queue.drain(0.0)


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    """Return what the command lists."""
    capsys.readouterr()
    assert main(["outbox", "list", str(folder), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


async def test_senders_are_listed_and_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row for each sender; ``drop`` deletes one sender's messages or all, and asks first."""
    folder = tmp_path / "events"
    await leave(folder, "press/3", 3)
    await leave(folder, "oven", 2)
    rows = listed(folder, capsys)
    assert [(row["sender"], row["waiting"], row["in_use"]) for row in rows] == [
        ("press/3", 3, False),
        ("oven", 2, False),
    ]
    assert main(["outbox", "drop", str(folder)]) == 2
    assert "pass --yes" in capsys.readouterr().err
    assert main(["outbox", "drop", str(folder), "--yes", "--sender", "nobody"]) == 1
    assert "sender 'nobody' does not exist" in capsys.readouterr().err
    assert main(["outbox", "drop", str(folder), "--yes", "--sender", "oven"]) == 0
    assert "2 messages are dropped" in capsys.readouterr().out
    assert [row["sender"] for row in listed(folder, capsys)] == ["press/3"]


class _Person(StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_person_is_asked_with_the_number_of_messages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sender that is named, or of all; after a no everything is still there, and the exit code is 1."""
    await leave(tmp_path, "a", 3)
    await leave(tmp_path, "b", 2)
    for options, answer, count, code in (
        ([], "n", 5, 1),
        (["--sender", "a"], "n", 3, 1),
        (["--sender", "a"], "y", 3, 0),
        ([], "n", 2, 1),
    ):
        monkeypatch.setattr("sys.stdin", _Person(f"{answer}\n"))
        assert await asyncio.to_thread(main, ["outbox", "drop", str(tmp_path), *options]) == code
        out, err = capsys.readouterr()
        assert f"Drop {count} messages for good?" in err
        assert out == ("" if code else f"{count} messages are dropped\n")


async def test_a_sender_that_lives_is_listed_as_in_use_and_not_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its process is named."""
    folder = tmp_path / "events"
    connector = MqttConnector("127.0.0.1", 1, source_id="press")
    async with Outbox(folder).attached(connector) as queue:
        queue.publish("plant/line", {"n": 1}, 1)
        await queue.drain(1.0)
        await eventually(
            lambda: [(row["waiting"], row["in_use"]) for row in listed(folder, capsys)] == [(1, True)]
        )  # it is stored by another thread
        assert main(["outbox", "drop", str(folder), "--yes", "--sender", "press"]) == 1
        assert "is in use by process" in capsys.readouterr().err
        assert main(["outbox", "drop", str(folder), "--yes"]) == 0
        assert "0 messages are dropped" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["list", "send", "drop"])
def test_a_folder_that_is_missing_is_one_line(
    tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is created."""
    more = {"send": ["--broker", "mqtt://127.0.0.1:1"], "drop": ["--yes"]}.get(action, [])
    assert main(["outbox", action, str(tmp_path / "none"), *more]) == 1
    assert capsys.readouterr().err == f"cascade: outbox {tmp_path / 'none'}: the folder does not exist\n"
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every link of the command is one that nothing answers."""

    def tool(_: Address, **keywords: Any) -> MqttConnector:
        return MqttConnector("127.0.0.1", 1, connect_timeout=0.05, **keywords)

    monkeypatch.setattr(Address, "tool", tool)
    monkeypatch.setattr(outbox_command, "STEP", 0.05)


@pytest.mark.usefixtures("no_answer")
async def test_what_the_broker_does_not_take_stays_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command gives up when no message moves, and says how many are left; with nothing to send all is well."""
    folder = tmp_path / "events"
    await leave(folder, "press", 2)
    await leave(folder, "oven", 1)
    command = ["outbox", "send", str(folder), "--broker", "mqtt://broker.example"]
    assert await asyncio.to_thread(main, command) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("3 messages are left\n", "3 messages wait\n")
    await eventually(
        lambda: [(row["waiting"], row["in_use"]) for row in listed(folder, capsys)] == [(3, False)]
    )  # the file is closed by another thread
    assert main(["outbox", "drop", str(folder), "--yes"]) == 0
    capsys.readouterr()
    assert await asyncio.to_thread(main, command) == 0
    assert capsys.readouterr().out == "all messages are sent\n"


@pytest.mark.usefixtures("no_answer")
async def test_messages_that_cannot_be_read_are_not_said_to_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their sender is named with the cause, and the exit code is 1; a file in use is its own process's affair."""
    folder = tmp_path / "events"
    await leave(folder, "press", 1)
    (folder / "press.db").write_bytes(b"These are notes, not a database.\n" * 200)
    command = ["outbox", "send", str(folder), "--broker", "mqtt://broker.example"]
    living = MqttConnector("127.0.0.1", 1, source_id="oven", connect_timeout=0.05)
    async with Outbox(folder).attached(living, adopt=False) as queue:
        queue.publish("plant/line", {"n": 1}, 1)
        await queue.drain(0.0)
        assert await asyncio.to_thread(main, command) == 1
    remedy = f"move its file out of {folder} if you can do without them"
    assert capsys.readouterr() == (
        "all other messages are sent\n",
        f"the messages of press are not sent: file is not a database; {remedy}\n",
    )


@pytest.mark.usefixtures("no_answer")
async def test_a_disk_that_is_full_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No number of messages is printed, which cannot be taken over then; they stay where they are."""
    await leave(tmp_path / "events", "press", 2)

    def fail(file: OutboxFile, rows: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(OutboxFile, "adopt", fail)
    command = ["outbox", "send", str(tmp_path / "events"), "--broker", "mqtt://broker.example"]
    assert await asyncio.to_thread(main, command) == 1
    assert capsys.readouterr() == (
        "",
        f"cascade: outbox {tmp_path / 'events'}: database or disk is full\n",
    )
    await eventually(lambda: [row["waiting"] for row in listed(tmp_path / "events", capsys)] == [2])


async def test_messages_that_are_put_aside_are_listed_counted_and_dropped_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question counts what the options name, and never what a process uses."""
    one = SenderSummary(
        "press", 3, 2, (("plant/line", "{}"), ("plant/door", '{"n": 1}')), oldest=time.time() - 300
    )
    two = replace(one, sender="oven", aside=(), in_use=True, oldest=None)
    dropped: list[tuple[str | None, bool]] = []

    def drop(_: Outbox, sender: str | None = None, *, aside: bool = False) -> int:
        dropped.append((sender, aside))
        return 2

    monkeypatch.setattr(Outbox, "senders", lambda _: [one, two])
    monkeypatch.setattr(Outbox, "drop", drop)
    (row, other) = listed(tmp_path, capsys)
    assert (row["waiting"], row["sent"], row["put_aside"], "aside" in row) == (3, 2, 2, False)
    assert (other["put_aside"], other["in_use"]) == (0, True)
    assert main(["outbox", "list", str(tmp_path)]) == 0
    assert str(one.oldest) in capsys.readouterr().out.splitlines()[0]
    assert listed(tmp_path, capsys, "--aside") == [
        {"sender": "press", "topic": "plant/line", "payload": "{}"},
        {"sender": "press", "topic": "plant/door", "payload": '{"n": 1}'},
    ]
    for options, count in (([], 7), (["--aside"], 2), (["--sender", "oven"], 5), (["--sender", "press"], 7)):
        monkeypatch.setattr("sys.stdin", _Person("n\n"))
        assert await asyncio.to_thread(main, ["outbox", "drop", str(tmp_path), *options]) == 1
        assert f"Drop {count} messages for good?" in capsys.readouterr().err
    assert dropped == []
    assert main(["outbox", "drop", str(tmp_path), "--yes", "--aside", "--sender", "press"]) == 0
    assert dropped == [("press", True)]
    assert capsys.readouterr() == ("2 messages are dropped\n", "")


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["mqtt", "nats"])
def test_what_dead_processes_left_is_sent(
    kind: str,
    broker: Broker,
    nats_server: NatsServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All senders' messages come out, in order; the folder is empty then."""
    folder, topic = tmp_path / "events", "plant/line"
    seen: list[int] = []

    async def collect(_: str, data: dict[str, Any]) -> None:
        seen.append(data["n"])

    async def watch() -> None:
        await leave(folder, "press", 1_500)
        await leave(folder, "oven", 2)
        url = broker.url if kind == "mqtt" else nats_server.nats_url
        reader = cs.connector(url, presence=False, required=True)
        await reader.connect()
        await reader.subscribe(topic, collect, 1)
        assert await asyncio.to_thread(main, ["outbox", "send", str(folder), "--broker", url]) == 0
        await eventually(lambda: len(seen) == 1_502)
        await reader.disconnect()

    asyncio.run(watch())
    assert "all messages are sent" in capsys.readouterr().out
    assert seen == [*range(1_500), 0, 1]
    assert not [*folder.glob("*.db")]
