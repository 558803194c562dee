"""FileConnector writes what a run sends, and no disk changes a run."""

import asyncio
import json
import logging
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from simple_tasks import give

from cascade.interfaces import (
    ConfigurationError,
    InvalidPayloadError,
    InvalidTopicError,
    WrongThreadError,
)
from cascade.runtime import Engine, FileConnector
from cascade.spec import task
from cascade.testkit import eventually

TOPIC = "cascade/telemetry/local/default/r/events"
LIMIT = 50.0
"""Seconds after which what has not happened is a failure."""
FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the thread that writes, though the machine may be slow."""
    monkeypatch.setattr("cascade.runtime.file.connector.DRAIN_TIMEOUT", LIMIT)


@task
def fail() -> None:
    raise ValueError("password=hunter2")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_the_events_of_a_run_are_in_the_file_when_it_ends(tmp_path: Path) -> None:
    """Each line is one message with its topic, in order; runs append to a file, also after a line that a kill cut."""
    path = tmp_path / "run.jsonl"
    path.touch(mode=0o600)
    path.write_text('{"topic": "cas')
    to_file = FileConnector(path)
    for run_id in ("first", "second"):
        await Engine(connector=to_file).run(give.map(value=[1, 2]), run_id=run_id)
    cut, text = path.read_text("utf-8").split("\n", 1)
    assert cut == '{"topic": "cas'
    written = [json.loads(line) for line in text.splitlines()]
    assert [line["run_id"] for line in written] == ["first"] * 6 + ["second"] * 6
    # for its owner only: events may hold what other users of the machine must not read
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [line["seq"] for line in written] == [*range(6)] * 2
    assert {line["topic"] for line in written[:6]} == {"cascade/telemetry/local/default/first/events"}
    assert written[-1]["body"]["event"] == "ENGINE_STOPPED"
    assert not to_file.connected
    assert repr(to_file) == f"<FileConnector {path} not connected, 12 written, 0 dropped>"


async def test_secrets_are_masked_in_the_file(tmp_path: Path) -> None:
    """The file gets what a broker would get."""
    path = tmp_path / "run.jsonl"
    with pytest.raises(ValueError, match="hunter2"):
        await Engine(connector=FileConnector(path)).run(fail())
    assert "password=***" in path.read_text("utf-8")
    assert "hunter2" not in path.read_text("utf-8")


@pytest.mark.parametrize("where", ["full", "folder", "missing", "forbidden"])
async def test_a_disk_that_fails_costs_messages_only(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run gives its value; one warning names the file and the cause; what is lost is counted."""
    paths = {
        "full": FULL,
        "folder": tmp_path,
        "missing": tmp_path / "no" / "run.jsonl",
        "forbidden": tmp_path / "x",
    }
    if where == "full" and not FULL.exists():
        pytest.skip("this system has no /dev/full")
    if where == "forbidden":
        paths[where].touch(mode=0o400)
        if os.access(paths[where], os.W_OK):
            pytest.skip("this user may write to every file")
    to_file = FileConnector(paths[where])
    assert await Engine(connector=to_file).run(give(3)) == 3
    (warning,) = warnings(caplog)
    assert f"telemetry is not written to {paths[where]}" in warning
    statistics = to_file.statistics()
    assert statistics.dropped == {"not written": statistics.accepted}
    assert statistics.accepted == 4


async def test_a_disk_that_has_room_again_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that was cut by a full disk ends there; the next one begins on a line of its own."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "run.jsonl"
    write, room = os.write, [10]

    def limited(file: int, data: Any) -> int:
        if room and room[0] == 0:
            raise OSError(28, "No space left on device")
        taken = bytes(data)[: room[0]] if room else bytes(data)
        if room:
            room[0] -= len(taken)
        return write(file, taken)

    monkeypatch.setattr("os.write", limited)
    async with FileConnector(path) as to_file:
        await to_file.publish(TOPIC, {"n": 1})
        assert await to_file.flush(LIMIT)
        room.clear()
        for n in (2, 3):
            await to_file.publish(TOPIC, {"n": n})
        assert await to_file.flush(LIMIT)
        statistics = to_file.statistics()
    first, *rest = path.read_text("utf-8").splitlines()
    assert first == '{"topic": '
    assert [json.loads(line)["n"] for line in rest] == [2, 3]
    assert (statistics.sent, dict(statistics.dropped)) == (2, {"not written": 1})
    assert "is written to" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes are POSIX")
async def test_a_disk_that_hangs_does_not_hold_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop goes on, the end waits for a limited time, and what waits is counted as lost."""
    monkeypatch.setattr("cascade.runtime.file.connector.DRAIN_TIMEOUT", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)  # opening it blocks until a reader opens it too
    to_file = FileConnector(path)
    await to_file.connect()
    await to_file.publish(TOPIC, {"n": 1})
    writer = to_file._writer
    assert writer is not None
    await eventually(lambda: not writer._lines)  # the thread has them: it opens the pipe
    assert not await to_file.flush(0.01)
    await to_file.disconnect()
    assert "does not answer; 1 messages are lost" in caplog.text
    assert dict(to_file.statistics().dropped) == {"not written": 1}
    (thread,) = [each for each in threading.enumerate() if each.name == f"cascade file {path}"]
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await asyncio.to_thread(thread.join, LIMIT)
    os.close(reader)
    assert dict(to_file.statistics().dropped) == {"not written": 1}


async def test_the_memory_for_waiting_lines_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest lines are dropped and counted."""
    monkeypatch.setattr("cascade.runtime.file._writer.MOST_LINES", 10)
    monkeypatch.setattr("cascade.runtime.file._writer.GATHER", 60)
    path = tmp_path / "run.jsonl"
    async with FileConnector(path) as to_file:
        for n in range(100):
            await to_file.publish(TOPIC, {"n": n})
        assert to_file.statistics().dropped["not written"] >= 80
    counts = to_file.statistics()
    assert counts.sent + counts.dropped["not written"] == counts.accepted == 100
    assert lines(path)[-1]["n"] == 99


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
async def test_a_forked_child_writes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It has no copy of the thread, and the parent's lines are the parent's."""
    async with FileConnector(tmp_path / "run.jsonl") as to_file:
        to_file.become_inert()
        await to_file.publish(TOPIC, {"n": 1})
    assert not (tmp_path / "run.jsonl").exists()
    assert "publish was called before connect" in caplog.text


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:run.jsonl", "run.jsonl"),
        ("file:/var/run.jsonl", "/var/run.jsonl"),
        ("file:///var/a%20b.jsonl", "/var/a b.jsonl"),
        ("file://localhost/var/run.jsonl", "/var/run.jsonl"),
        ("file:a b%20.jsonl", "a b%20.jsonl"),
    ],
)
def test_a_url_names_the_file(url: str, path: str) -> None:
    """A relative path as it is written; a URL with slashes as URLs are."""
    assert FileConnector.from_url(url).path == path


def test_what_is_no_path_is_refused() -> None:
    """Also bytes, which cannot be shown."""
    for wrong in (3, b"x", None):
        with pytest.raises(ConfigurationError, match="needs the path of a file"):
            FileConnector(wrong)  # type: ignore[arg-type]


async def test_it_connects_once_and_belongs_to_its_loop(tmp_path: Path) -> None:
    """A second connect changes nothing; another loop may neither connect nor disconnect nor publish."""
    to_file = FileConnector(tmp_path / "run.jsonl")
    await to_file.disconnect()  # does nothing
    async with to_file:
        await to_file.connect()
        await to_file.publish(TOPIC, {"n": 1})

        async def elsewhere() -> None:
            for action in (to_file.connect(), to_file.publish(TOPIC, {"n": 2}), to_file.disconnect()):
                with pytest.raises(WrongThreadError):
                    await action

        await asyncio.to_thread(asyncio.run, elsewhere())
        assert to_file.connected
        assert to_file.statistics().linked
        assert to_file.statistics().connections == 1
    assert [line["n"] for line in lines(tmp_path / "run.jsonl")] == [1]
    assert not to_file.statistics().linked


async def test_a_disk_that_fills_up_between_two_lines_leaves_no_empty_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a line that was cut is ended before the next one."""
    path, write, fails = tmp_path / "run.jsonl", os.write, [False]

    def limited(file: int, data: Any) -> int:
        if fails[0]:
            raise OSError(28, "No space left on device")
        first = bytes(data).index(b"\n") + 1
        fails[0] = first < len(data)
        return write(file, bytes(data)[:first])

    monkeypatch.setattr("os.write", limited)
    monkeypatch.setattr("cascade.runtime.file._writer.GATHER", 600.0)
    async with FileConnector(path) as to_file:
        for n in (1, 2):
            await to_file.publish(TOPIC, {"n": n})
        assert await to_file.flush(LIMIT)
        fails[0] = False
        await to_file.publish(TOPIC, {"n": 3})
        assert await to_file.flush(LIMIT)
    assert [json.loads(line)["n"] for line in path.read_text("utf-8").splitlines()] == [1, 3]


async def test_a_disk_that_reports_a_loss_only_at_the_end_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a network drive does; the run ends as ever."""
    path, close = tmp_path / "run.jsonl", os.close

    def failing(file: int) -> None:
        is_ours = os.fstat(file).st_ino == path.stat().st_ino
        close(file)
        if is_ours:
            raise OSError(5, "Input/output error")

    async with FileConnector(path) as to_file:
        await to_file.publish(TOPIC, {"n": 1})
        assert await to_file.flush(LIMIT)
        monkeypatch.setattr("os.close", failing)
    monkeypatch.undo()
    (warning,) = warnings(caplog)
    assert f"telemetry in {path} may be incomplete" in warning
    assert to_file.statistics().sent == 1


async def test_flush_hurries_a_writer_that_gathers_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the end does, too; without a connection there is nothing to wait for."""
    monkeypatch.setattr("cascade.runtime.file._writer.GATHER", 600.0)
    to_file = FileConnector(tmp_path / "run.jsonl")
    assert await to_file.flush(0.0)
    async with to_file:
        for n in range(3_000):
            to_file.publish_nowait(TOPIC, {"n": n})
        assert await to_file.flush(LIMIT)
        assert to_file.statistics().sent == 3_000
        to_file.publish_nowait(TOPIC, {"n": "last"})
    assert [line["n"] for line in lines(tmp_path / "run.jsonl")] == [*range(3_000), "last"]
    assert await to_file.flush(0.0)


async def test_what_cannot_be_published_or_subscribed_to_is_refused_in_any_state(tmp_path: Path) -> None:
    """As by every connector; what can be subscribed to never arrives."""
    to_file = FileConnector(tmp_path / "run.jsonl")

    async def callback(topic: str, data: dict[str, Any]) -> None:
        raise AssertionError

    for _ in range(2):
        for topic in ("a/#", "", "a\0b"):
            with pytest.raises(InvalidTopicError):
                await to_file.publish(topic, {})
            with pytest.raises(InvalidTopicError):
                to_file.publish_nowait(topic, {})
        with pytest.raises(InvalidPayloadError):
            to_file.publish_nowait(TOPIC, ["n"])  # type: ignore[arg-type]
        with pytest.raises(InvalidTopicError):
            await to_file.subscribe("a/#/b", callback)
        subscription = await to_file.subscribe("#", callback)
        await subscription.unsubscribe()
        await to_file.connect()
    assert to_file.statistics().accepted == 0
    await to_file.disconnect()
    assert not (tmp_path / "run.jsonl").exists()


async def test_without_a_connection_nothing_is_accepted_and_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once before each connection, however it is published; there is nothing to flush."""
    to_file = FileConnector(tmp_path / "run.jsonl")
    assert repr(to_file) == f"<FileConnector {tmp_path / 'run.jsonl'} not connected, 0 written, 0 dropped>"
    for _ in range(2):
        await to_file.publish(TOPIC, {})
        to_file.publish_nowait(TOPIC, {})
        assert await to_file.flush(0.0)
        await to_file.connect()
        await to_file.disconnect()
        await to_file.disconnect()
    assert warnings(caplog) == ["nothing is written: publish was called before connect"] * 2
    found = to_file.statistics()
    assert (found.accepted, found.pending, found.connections, found.linked) == (0, 0, 2, False)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mqtt://host", "url: needs the form file:PATH"),
        ("run.jsonl", "url: needs the form file:PATH"),
        ("file://host/x", "url: names a host; write file:PATH or file:///PATH"),
        ("file:", "FileConnector(path): needs the path of a file"),
        ("file://", "FileConnector(path): needs the path of a file"),
        ("file:a\0b", "FileConnector(path): needs the path of a file"),
    ],
)
def test_a_wrong_url_is_refused_with_the_reason(url: str, problem: str) -> None:
    """With the forms that work."""
    with pytest.raises(ConfigurationError) as raised:
        FileConnector.from_url(url)
    assert str(raised.value).startswith(problem)
