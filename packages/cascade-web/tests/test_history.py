"""``cascade web --history``: questions about the past through a WebSocket, which nothing may use to write or to block."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from served_page import HOST, History, RelayAccess, WebServer, assemble, close_of
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from cascade.cli import main
from cascade.cli.collected import CollectedFile
from cascade.testkit.ports import free_port
from cascade.testkit.waiting import eventually, time_limit
from testing_tools.collected_nights import NOW, write_night


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A collector's file with a night of three engines."""
    path = tmp_path / "all.sqlite"
    write_night(path)
    return path


@asynccontextmanager
async def served(path: Path, *, token: str | None = None) -> AsyncIterator[int]:
    """Serve the history for as long as the context lasts; the value is the port."""
    port = free_port()
    server = WebServer(assemble("/mqtt", history=True), None, RelayAccess(token), History(path))
    async with server.listening(HOST, port):
        yield port


def linked(port: int, *, origin: str | None = None, token: str = "", host: str = HOST) -> connect:
    """Open a WebSocket as the page does, or as one of another origin."""
    return connect(
        f"ws://{host}:{port}/history",
        origin=Origin(origin or f"http://{host}:{port}"),
        subprotocols=[Subprotocol("cascade.history"), *([Subprotocol(f"token.{token}")] if token else [])],
        proxy=None,
        max_size=None,
    )


async def ask(socket: ClientConnection, what: str, **question: Any) -> Any:
    """Return the answer to a question."""
    await socket.send(json.dumps({"what": what, "id": 1, **question}))
    async with time_limit():
        return json.loads(await socket.recv())


async def test_the_server_filters_pages_and_opens_and_writes_nothing(path: Path, no_leaks: None) -> None:
    """The list, one run by its id, and the night; no byte of the folder differs then."""
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    async with served(path) as port, linked(port) as socket:
        assert socket.subprotocol == "cascade.history"
        found = await ask(socket, "runs")
        assert [row["run_id"] for row in found["rows"]] == ["bake-3", "shift-2", "night-7"]
        found = await ask(socket, "runs", status="Failed", name="NIGHT")
        assert [row["run_id"] for row in found["rows"]] == ["night-7"]
        opened = await ask(socket, "run", run_id="night-7")
        assert opened["run"] == ["night-7", "press-1", "local", "default"]
        (report,) = (each for each in opened["messages"] if each["topic"] == "cascade/state/press-1/ended")
        assert json.loads(report["payload"])["runs"][0]["failures"][0]["task_id"] == "measure:0[3]"
        night = await ask(socket, "night", start=NOW - 3600, end=NOW + 3600)
        assert [row["run_id"] for row in night["runs"]][:1] == ["night-7"]
        assert {band["kind"] for band in night["bands"]} == {"pause", "lost"}
    assert {each: each.read_bytes() for each in path.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ('{"what": "run", "id": 1, "run_id": "gone"}', "no run 'gone' is in {path}; it was never collected, or --keep has deleted it: look for it in the list"),
        ('{"what": "run", "id": 1, "run_id": "night-7", "source": "x\\u001b"}', "no run 'night-7' on x\x1b is in {path}; it was never"),
        ('{"what": "write", "id": 1}', "not a question: Invalid value 'write'"),
        ('{"what": "runs", "id": 1, "since": "\'; DROP TABLE event"}', "not a question: Expected `float`"),
        ("[]", "not a question: Expected `object`"),
        ("{", "not a question: Input data was truncated"),
        ('{"what": "runs", "id": 1, "behind": [1]}', "not a question: Expected `array` of length 7"),
    ],
)  # fmt: skip
async def test_what_cannot_be_answered_is_one_line(
    path: Path, question: str, answer: str, no_leaks: None
) -> None:
    """A link to a run that is gone, and what no page asks; the next question is answered."""
    async with served(path) as port, linked(port) as socket:
        await socket.send(question)
        async with time_limit():
            assert json.loads(await socket.recv())["error"].startswith(answer.format(path=path))
        assert len((await ask(socket, "runs"))["rows"]) == 3


async def test_token_and_origin_are_those_of_the_relay(path: Path, no_leaks: None) -> None:
    """Another site gets nothing, nor does one who has no token, nor a name that leads to this machine."""
    async with served(path) as port:
        for options in ({"origin": "http://evil.example"}, {"origin": "null"}):
            with pytest.raises(InvalidStatus, match="403"):
                await linked(port, **options)
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"GET /history HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 403")
        writer.close()
        await writer.wait_closed()
    async with served(path, token="s3cret") as port:
        for token in ("", "other"):
            async with linked(port, token=token) as socket:
                code, reason = await close_of(socket)
                assert (code, reason) == (
                    1008,
                    "the link has no valid token; open the link that cascade web has printed",
                )
        async with linked(port, token="s3cret") as socket:
            assert len((await ask(socket, "runs"))["rows"]) == 3


async def test_a_reader_that_leaves_ends_its_query(
    path: Path, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    """The step that runs is interrupted, the file is closed, and a newer question of a kind does the same."""
    begun, closed = threading.Semaphore(0), threading.Semaphore(0)
    at_work: set[CollectedFile] = set()
    closed_at_work: list[CollectedFile] = []
    early = threading.Event()
    close, query_rows = CollectedFile.close, CollectedFile._rows

    def endless(self: CollectedFile, query: str, values: Any, within: float | None) -> Any:
        assert within is not None
        at_work.add(self)
        begun.release()
        try:
            return query_rows(
                self,
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
                (),
                60.0,
            )
        finally:
            early.wait(0.2)  # a file that is closed meanwhile shows it
            at_work.discard(self)

    def counted(self: CollectedFile) -> None:
        close(self)
        closed_at_work.extend(at_work & {self})
        early.set()
        closed.release()

    monkeypatch.setattr(CollectedFile, "_rows", endless)
    monkeypatch.setattr(CollectedFile, "close", counted)
    async with served(path) as port:
        async with linked(port) as socket:
            for number in (1, 2):
                await socket.send(json.dumps({"what": "runs", "id": number}))
                await eventually(lambda: begun.acquire(blocking=False), 20, what="SQLite is at work")
            await eventually(
                lambda: closed.acquire(blocking=False), 20, what="the newer one has ended the first"
            )
        await eventually(lambda: closed.acquire(blocking=False), 20, what="nobody waits for the second")
    assert closed_at_work == []


def spoiled(path: Path, sql: str) -> None:
    """Change a file."""
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("PRAGMA application_id = 7", "is a database of another program; name another file"),
        ("PRAGMA user_version = 9", "is of version 9, and this Cascade writes 2; upgrade Cascade"),
        ("PRAGMA user_version = 1", "is of version 1; cascade collect --to {path} --holes makes it 2"),
        (None, "the file {path} does not exist; cascade collect --to creates it"),
    ],
)
def test_a_file_that_cannot_be_shown_ends_the_command(
    path: Path, sql: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before anything is served."""
    if sql is None:
        path.unlink()
    else:
        spoiled(path, sql)
    assert main(["web", "--history", str(path), "--broker", "mqtt://127.0.0.1:1"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message.format(path=path) in error


async def test_a_truncated_file_shows_what_is_whole_and_a_locked_one_says_so(
    path: Path, no_leaks: None
) -> None:
    """Each in one line with the remedy."""
    copy = path.with_name("cut.sqlite")
    copy.write_bytes(path.read_bytes()[:-8192])
    async with served(copy) as port, linked(port) as socket:
        found = await ask(socket, "runs")
        assert (
            "is damaged (database disk image is malformed): what is whole is shown; restore it from a copy"
            in found["problem"]
        )
        assert found["rows"]
    with closing(sqlite3.connect(copy)) as connection, connection:
        copy.write_bytes(path.read_bytes())
        connection.execute("UPDATE event SET payload = zeroblob(9) WHERE run_id = 'night-7' AND seq = 3")
        connection.execute("UPDATE ending SET payload = zeroblob(9)")
    async with served(copy) as port, linked(port) as socket:
        found = await ask(socket, "runs")
        assert "is damaged (a value cannot be read): what is whole is shown" in found["problem"]
        assert len(found["rows"]) == 3
        assert (await ask(socket, "run", run_id="night-7"))["messages"]
    locked = sqlite3.connect(path, isolation_level=None)
    locked.execute("PRAGMA locking_mode = EXCLUSIVE")
    locked.execute("BEGIN EXCLUSIVE")
    async with served(path) as port, linked(port) as socket:
        found = await ask(socket, "runs")
    locked.close()
    assert found["error"].startswith(f"another program keeps {path} for itself")
    assert found["error"].endswith("; try again when it has ended")
