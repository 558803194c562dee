"""How ``cascade doctor`` breaks its lines, and what it takes from the environment, from sockets and from a link."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from doctor_facts import FAR, NOW, good

from cascade.interfaces.topics import matches, status_topic
from cascade.interfaces.watch import Complete, Message, WatchItem
from cascade.ops._commands.doctor import findings
from cascade.ops._doctor import broker_probes, network_probes
from cascade.ops._doctor.broker_probes import (
    Examined,
    RightsProbe,
    count_queued,
    read_back,
    read_version,
    retained,
    try_size,
)
from cascade.ops._doctor.examination import files_of
from cascade.ops._doctor.facts import Certificate, Facts, Login, Reachability, Retained, Right, Target
from cascade.ops._doctor.finding import Finding
from cascade.ops._doctor.local_server import local_configuration
from cascade.ops._doctor.network_probes import find_websocket, try_tls
from cascade.ops._doctor.report import lines_of, plan_of
from cascade.ops._doctor.rights_checks import EVENTS, OWN_SYNC, PRESENCE, PROGRESS, STEERING, SYNC
from cascade.wire import View

LOST = Finding("lost", "a thing that was there has gone", "work stops", "bring it back again", ("mv a b",))
SLOW = Finding("slow", "it is slow", "one waits", "wait", warning=True)
HOST = "127.0.0.1"


def test_a_line_that_is_too_long_goes_on_below_its_text() -> None:
    """The continuation stands in the column of the text, so that the words on the left can be found."""
    assert list(plan_of([LOST, SLOW], 24)) == [
        "1. bring it back again",
        "  (lost)",
        "     mv a b",
        "2. wait (slow)",
    ]
    long = replace(LOST, remedy="bring it back again from the place where it is now")
    assert list(plan_of([long], 50)) == [
        "1. bring it back again from the place where it is",
        "   now (lost)",
        "     mv a b",
    ]
    facts = Facts(FAR, reachability=Reachability("refused"))
    assert list(lines_of(facts, [LOST], [SLOW], 50)) == [
        "problem  lost: a thing that was there has gone",
        "         It means: work stops.",
        "         To do: bring it back again.",
        "",
        "warning  slow: it is slow",
        "         It means: one waits.",
        "         To do: wait.",
        "",
        "1 problem, 1 warning; cascade doctor --fix-plan",
        "lists what to do",
    ]
    assert list(lines_of(facts, [LOST], [], 49))[:4] == [
        "problem  lost: a thing that was there has gone",
        "It means: work stops.",
        "To do: bring it back again.",
        "",
    ]
    far = replace(LOST, found="a thing that was there has gone to another place")
    assert list(lines_of(facts, [far], [], 50))[:2] == [
        "problem  lost: a thing that was there has gone to",
        "         another place",
    ]
    assert list(lines_of(facts, [far], [], 49))[1] == "  to another place"
    assert list(lines_of(facts, [far], [], 40))[:2] == [
        "problem  lost: a thing that was there",
        "  has gone to another place",
    ]


def test_each_kind_of_line_goes_on_in_the_column_of_its_text() -> None:
    """What it means and what to do, too, and what is in order."""
    words = "one two three four five six seven eight nine ten"
    told = replace(SLOW, found="x", means=words, remedy=words)
    lines = list(lines_of(replace(good(), version=words), [], [told], 50))
    assert lines[3:6] == [
        "ok       the broker says that it is one two three",
        "         four five six seven eight nine ten",
        "ok       may write and read: any sync topic",
    ]
    assert lines[-8:-2] == [
        "warning  slow: x",
        "         It means: one two three four five six",
        "         seven eight nine ten.",
        "         To do: one two three four five six seven",
        "         eight nine ten.",
        "",
    ]
    assert lines[-2:] == ["no problems, 1 warning; cascade doctor --fix-plan", "lists what to do"]
    last = list(lines_of(good(), [told, told], [], 100))[-1]
    assert last == "2 problems, no warnings; cascade doctor --fix-plan lists what to do"


def test_everything_that_may_be_written_is_named() -> None:
    """In words, in this order, whatever the order of the trials."""
    topics = (STEERING, OWN_SYNC, SYNC, PROGRESS, EVENTS, PRESENCE)
    facts = replace(good(), rights={name: Right(name, returned=True) for name in topics})
    (line,) = [each for each in lines_of(facts, [], [], 200) if "may write" in each]
    expected = "any presence, telemetry, any sync topic, its own sync topic, constraints"
    assert line == f"ok       may write and read: {expected}"


def test_words_are_broken_nowhere() -> None:
    """Neither at a hyphen nor where a command is longer than the line."""
    copied = replace(SLOW, remedy="mosquitto_passwd --some-long-option-name value")
    assert list(plan_of([copied], 20)) == [
        "1. mosquitto_passwd",
        "  --some-long-option-name",
        "  value (slow)",
    ]


def test_everything_that_is_in_order_stands_first_in_the_order_of_a_client() -> None:
    """The way, TLS, the login, what is permitted, what arrives, and what engines have left."""
    facts = replace(good(), version="mosquitto 2.0.22", inflight=1_200)
    assert list(lines_of(facts, [], [], 100)) == [
        "ok       broker.example:8883 accepts connections",
        "ok       TLS: the certificate is valid",
        "ok       linked as press-3: MQTT 3.1.1 and 5",
        "ok       the broker says that it is mosquitto 2.0.22",
        "ok       messages in flight at a time: 1,200",
        "ok       may write and read: any sync topic",
        "ok       retained messages: 100 of 100, in order",
        "ok       a message of 64 KiB arrives",
        "ok       engines: 0, constraints: 0",
        "",
        "no problems, no warnings",
    ]


_SECRETS = (
    "CASCADE_MQTT_PASSWORD_FILE",
    "CASCADE_NATS_PASSWORD_FILE",
    "CASCADE_NATS_TOKEN_FILE",
    "CASCADE_NATS_CREDS",
    "CASCADE_NATS_NKEY",
)


@pytest.mark.parametrize("exposed", _SECRETS)
def test_each_file_with_a_secret_is_looked_at(
    exposed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind one that is missing; what only its owner can read is in order."""
    for name in _SECRETS:
        path = tmp_path / name
        path.touch()
        path.chmod(0o644 if name == exposed else 0o600)
        monkeypatch.setenv(name, str(path))
    assert files_of(os.environ).exposed == (exposed,)
    monkeypatch.setenv("CASCADE_MQTT_CERT", str(tmp_path / "none.pem"))
    (tmp_path / _SECRETS[0]).unlink()
    assert files_of(os.environ).exposed == tuple({exposed} - {_SECRETS[0]})
    assert files_of(os.environ).end == ""


def test_the_clock_and_the_certificate_count_in_days_and_seconds() -> None:
    """A certificate is named 21 days before its end, a clock from 5 seconds on."""
    day = 86_400

    def named(**change: Any) -> list[str]:
        return [each.name for each in findings(replace(good(), **change), now=NOW)]

    assert named(certificate=Certificate(ends=NOW + 21 * day)) == []
    assert named(certificate=Certificate(ends=NOW + 21 * day - 1)) == ["certificate_end"]
    (found,) = findings(replace(good(), certificate=Certificate(ends=NOW + 2.5 * day)), now=NOW)
    assert found.found == "the broker's certificate expires in 2 days, on 2027-01-17"
    assert named(late_by={"a": 5.0}) == []
    assert named(late_by={"a": -5.1}) == ["clock"]
    (found,) = findings(replace(good(), late_by={"a": 9.0, "b": 8.0, "c": 7.0}), now=NOW)
    assert found.found == "the clock of a, b, c differs from this machine's: a by -9 s"
    (found,) = findings(
        replace(good(), late_by={"a": 9.0, "b": -60.0, "c": 7.0, "d": 8.0, "e": 1.0}), now=NOW
    )
    assert found.found == "the clock of a, b, c and 1 more differs from this machine's: b by +60 s"


@pytest.mark.parametrize("code", [62, 64])
def test_a_certificate_of_another_name_or_address_is_distinguished_from_one_without_authority(
    code: int,
) -> None:
    """The URL may have either; the user has to correct the URL or the certificate, and no authority is missing."""
    facts = Facts(FAR, reachability=Reachability(), certificate=Certificate(code, "IP address mismatch"))
    (found,) = findings(facts, now=NOW)
    assert found.found == (
        "the broker's certificate is for another name than broker.example: IP address mismatch"
    )


def test_a_birth_without_a_time_says_nothing_of_the_clock() -> None:
    """Of an engine whose birth has one, the difference is still named."""
    view = View()
    ahead = {"status": "online", "session": "s", "ts": datetime.fromtimestamp(NOW + 60, UTC).isoformat()}
    for source, birth in (("a", {"status": "online", "session": "s"}), ("b", ahead)):
        view.fold(status_topic(source), json.dumps(birth).encode(), now=1.0, retained=True)
    (found,) = findings(replace(good(), view=view), now=NOW)
    assert found.found == "the clock of b differs from this machine's: b by +60 s"


def process(folder: Path, number: str, command: str, *links: str) -> None:
    """A process as the system shows it."""
    made = folder / number
    (made / "fd").mkdir(parents=True)
    (made / "cmdline").write_text(command)
    for index, link in enumerate(links):
        (made / "fd" / str(index)).symlink_to(link)


def test_a_process_that_cannot_be_read_hides_no_other_one(tmp_path: Path) -> None:
    """Only a socket that listens on this port counts, in either table; a line that is too short does not."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "sl\n"
        "0: 0:075B 0:0 01 0:0 0:0 0 0 0 1\n"  # connected
        "1: 0:075C 0:0 0A 0:0 0:0 0 0 0 2\n"  # another port
        "2: 0:075B\n"
        "3: 0:075B 0:0 0A 0:0 0:0 0 0 0 3\n"
    )
    (tmp_path / "9").mkdir()  # of another user: its files cannot be listed
    process(tmp_path, "10", "other\0", "socket:[1]", "socket:[2]", "/dev/null")
    (tmp_path / "10" / "fd" / "file").touch()  # no link
    process(tmp_path, "11", "/opt/emqx\0", "/dev/null", "socket:[3]")
    found = local_configuration(1883, proc=tmp_path)
    assert found is not None
    assert (found.program, found.settings) == ("emqx", {})
    (tmp_path / "11" / "cmdline").unlink()
    assert local_configuration(1883, proc=tmp_path) is None
    assert local_configuration(1, proc=tmp_path) is None


@asynccontextmanager
async def server(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A port of this machine where every connection is answered so, and closed."""
    tasks: list[asyncio.Task[Any]] = []

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        with suppress(ConnectionError):
            await answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    made = await asyncio.start_server(answered, HOST, 0)
    async with made:
        yield made.sockets[0].getsockname()[1]
    await asyncio.gather(*tasks)


async def test_a_websocket_is_asked_for_as_a_browser_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any port that changes to it counts; a web server that does not, or a closed port, does not hide it."""
    monkeypatch.setattr(network_probes, "CONNECT_SECONDS", 60.0)
    requests: list[list[str]] = []
    lines = {True: b"HTTP/1.1 101 Switching Protocols\r\n\r\n", False: b"HTTP/1.1 200 OK\r\n\r\n"}

    def answers(upgrades: bool) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines())
            writer.write(lines[upgrades])
            await writer.drain()

        return answer

    async with server(answers(False)) as web, server(answers(True)) as broker:
        assert not await find_websocket(HOST, (web,))
        assert not await find_websocket(HOST, ())
        assert await find_websocket(HOST, (web, broker))
        assert requests[0] == [
            "GET /mqtt HTTP/1.1",
            f"Host: {HOST}:{web}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: Y2FzY2FkZS1kb2N0b3ItMQ==",
            "Sec-WebSocket-Protocol: mqtt",
            "",
        ]
    assert not await find_websocket(HOST, (broker,)), "it is closed now"


@pytest.mark.parametrize("offer", [b'"tls_required":true', b'"tls_available":true'])
@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError(0, "the peer has gone"), Certificate(detail="the peer has gone")),
        (OSError("odd"), Certificate(detail="OSError")),
        (ConnectionResetError(), Certificate(detail="ConnectionResetError")),
    ],
)
async def test_tls_begins_behind_the_greeting_of_a_nats_server(
    offer: bytes, error: OSError, found: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it requires or offers it, and with the host's name, by which the certificate is checked."""
    monkeypatch.setattr(network_probes, "CONNECT_SECONDS", 60.0)
    asked: list[object] = []

    async def start_tls(writer: object, context: object, *, server_hostname: str) -> None:
        asked.append((context, server_hostname))
        raise error

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {" + offer + b"} \r\n")
        await reader.read()

    monkeypatch.setattr(asyncio.StreamWriter, "start_tls", start_tls)
    context = ssl.create_default_context()
    async with server(greet) as port:
        assert await try_tls(Target("tls", HOST, port), context) == found
    assert asked == [(context, HOST)]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ssl.SSLCertVerificationError(1, "x"), Certificate(62, "mismatch")),
        (ssl.SSLCertVerificationError(1, "odd"), Certificate(18, "odd")),
        (ssl.SSLError(1, "x"), Certificate(detail="WRONG_VERSION_NUMBER")),
        (TimeoutError(), Certificate(detail="the handshake was not answered in time")),
    ],
)
async def test_why_a_handshake_failed_is_named(
    error: OSError, found: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By OpenSSL's reason where it has one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_code, error.verify_message = found.code or 0, "" if found.detail == "odd" else "mismatch"
    elif isinstance(error, ssl.SSLError):
        error.reason = "WRONG_VERSION_NUMBER"

    async def opened(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio, "open_connection", opened)
    seen = await try_tls(Target("mqtts", HOST, 1), ssl.create_default_context())
    assert seen.code == found.code
    assert found.detail in seen.detail
    assert seen.detail


@pytest.mark.parametrize(
    ("greeting", "detail"),
    [
        (b'INFO {"version":"2.10"} \r\n', "the server offers none"),
        (b"HTTP/1.1 400 Bad Request\r\n", "the server offers none"),
        (b"", "the server offers none"),
    ],
)
async def test_a_nats_server_without_tls_says_so_in_its_greeting(
    greeting: bytes, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed at once then: nothing is sent to it."""
    monkeypatch.setattr(network_probes, "CONNECT_SECONDS", 60.0)
    heard: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        if not greeting:
            writer.write_eof()
        with suppress(ConnectionError):
            heard.append(await reader.read())

    async with server(greet) as port:
        found = await try_tls(Target("tls", HOST, port), ssl.create_default_context())
    assert found == Certificate(detail=detail)
    assert heard in ([b""], []), "it was cut off"


class Kept:
    """A link to a broker that keeps messages, and gives some of them late or only some of them."""

    def __init__(self) -> None:
        self.retained: dict[str, Any] = {}
        self.sent: list[tuple[str, Any, int, bool]] = []
        self.filters: list[tuple[str, int]] = []
        self.flushed = 0
        """How many messages were sent before the last wait for their acknowledgement."""
        self.late = 0
        """How many of the retained messages come behind the echo."""
        self.lost = 0
        """How many do not come."""
        self.silent = False
        self.items: list[WatchItem] = []
        self._callbacks: dict[str, Any] = {}

    async def subscribe(self, topic: str, callback: Any, qos: int = 0) -> Any:
        self.filters.append((topic, qos))
        self._callbacks[topic] = callback
        found = [each for each in self.retained.items() if matches(topic, each[0])]
        if topic.endswith("+"):
            found = found[self.lost :]
            self._rest, found = found[len(found) - self.late :], found[: len(found) - self.late]
        for each in found:
            await callback(*each)

        async def unsubscribe() -> None:
            del self._callbacks[topic]

        return SimpleNamespace(unsubscribe=unsubscribe)

    async def publish(self, topic: str, payload: Any, qos: int, *, retain: bool = False) -> None:
        self.sent.append((topic, payload, qos, retain))
        if retain and payload is None:
            self.retained.pop(topic, None)
        elif retain:
            self.retained[topic] = payload
        for topic_filter, callback in [*self._callbacks.items()]:
            if not self.silent and matches(topic_filter, topic):
                await callback(topic, payload)
                for each in self._rest if topic_filter.endswith("+") else ():
                    await callback(*each)

    async def flush(self, timeout: float) -> bool:
        self.flushed = len(self.sent)
        return True

    async def watch(self, *filters: str) -> Any:
        assert filters == ("$SYS/broker/version",)
        for item in self.items:
            yield item

    @property
    def link(self) -> Examined:
        return cast(Examined, self)

    @property
    def open(self) -> list[str]:
        return [*self._callbacks]


async def test_a_denial_that_comes_with_the_acknowledgement_belongs_to_its_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker answers later than the message is written: each is waited for before the next one is sent."""
    monkeypatch.setattr(broker_probes, "RETURN_SECONDS", 0.01)
    link, denied = Kept(), {"denied": 0}
    link.silent = True
    pending: list[str] = []

    async def flush(timeout: float) -> bool:
        denied["denied"] += sum(topic == "b" for topic, *_ in link.sent if topic not in pending)
        pending.extend(topic for topic, *_ in link.sent)
        return True

    monkeypatch.setattr(link, "flush", flush)
    monkeypatch.setattr(
        link, "statistics", lambda: SimpleNamespace(dropped=denied, refused=frozenset()), raising=False
    )
    probe = RightsProbe(link.link)
    for topic in ("a", "b", "c"):
        await probe.send(topic, None, retain=False)
    found = await probe.outcome()
    assert [each.refused for each in found.values()] == [False, True, False]


@pytest.mark.parametrize(
    ("items", "version"),
    [
        ([Message("v", b"mosquitto 2.0.22", retain=True), Message("v", b"x", retain=True)], "mosquitto 2.0.22"),
        ([Message("v", b"a\x1b[2J\xff" + b"x" * 100, retain=True)], "a\\u001b[2J\ufffd" + "x" * 74),
        ([Complete(proved=True, topics=frozenset()), Message("v", b"later", retain=False)], ""),
        ([], ""),
    ],
)  # fmt: skip
async def test_a_version_is_one_short_line(items: list[WatchItem], version: str) -> None:
    """80 characters at most, none of which moves the cursor; nothing where the broker retains none."""
    link = Kept()
    link.items = items
    assert await read_version(link.link) == version


async def test_retained_messages_are_counted_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one topic, by a filter, and behind a message that was sent later; what is kept for it is cleared."""
    monkeypatch.setattr(broker_probes, "QUIET_SECONDS", 0.01)
    link = Kept()
    link.retained["base/other"] = {"number": 9}
    async with retained(link.link, "base", "n", 3):
        kept = [("base/n-0", {"number": 0}), ("base/n-1", {"number": 1}), ("base/n-2", {"number": 2})]
        assert link.sent == [(topic, content, 1, True) for topic, content in kept]
        link.retained["base/n-strange"] = {}
        assert await read_back(link.link, "base", "n", 3) == Retained(3, exact=True, received=3, late=0)
        assert link.flushed == 3
        assert ["echo" in each[0] for each in link.filters] == [False, True, False]
        assert [each for each in link.filters if "echo" not in each[0]] == [("base/n-0", 0), ("base/+", 0)]
        del link.retained["base/n-strange"]
        link.late = 1
        assert await read_back(link.link, "base", "n", 3) == Retained(3, exact=True, received=3, late=1)
        link.late, link.lost = 0, 3
        assert await read_back(link.link, "base", "n", 3) == Retained(3, exact=True, received=1, late=0)
        assert await count_queued(link.link, "base", "n") == 1
        assert link.filters[-1] == ("base/+", 1)
        link.lost, link.late = 0, 2
        assert await count_queued(link.link, "base", "n") == 3
        assert link.open == []
        del link.sent[:]
    assert link.sent == [(topic, None, 1, True) for topic, _ in kept]
    assert link.retained == {"base/other": {"number": 9}}
    assert link.flushed == 3


class Slow(Kept):
    """A link to a broker that delivers later, in the order of the messages."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Event()
        self._turn.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def subscribe(self, topic: str, callback: Any, qos: int = 0) -> Any:
        async def later(*message: Any) -> None:
            previous, self._turn = self._turn, asyncio.Event()
            self._tasks.append(asyncio.create_task(self._deliver(callback, message, previous, self._turn)))

        return await super().subscribe(topic, later, qos)

    async def _deliver(self, callback: Any, message: Any, before: asyncio.Event, done: asyncio.Event) -> None:
        await before.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        await callback(*message)
        done.set()


async def test_a_broker_that_is_slow_has_lost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before the echo is in order, however late both are; what was retained comes before it."""
    monkeypatch.setattr(broker_probes, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(broker_probes, "ANSWER_SECONDS", 60.0)
    link = Slow()
    async with retained(link.link, "base", "n", 3):
        assert await read_back(link.link, "base", "n", 3) == Retained(3, exact=True, received=3, late=0)
        assert await count_queued(link.link, "base", "n") == 3
    assert await try_size(link.link, "base/n") is None


@pytest.mark.parametrize(
    ("linked", "connections", "cut"), [(True, 1, False), (False, 1, True), (True, 2, True), (False, 2, True)]
)
async def test_a_link_that_ended_was_cut_whether_it_has_come_back_or_not(
    linked: bool, connections: int, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was tried is cleared, and the broker has acknowledged that."""
    link = Kept()
    found = SimpleNamespace(linked=linked, connections=connections)
    monkeypatch.setattr(link, "statistics", lambda: found, raising=False)
    probe = RightsProbe(link.link)
    assert probe.cut == cut
    await probe.clear("a")
    assert (link.sent, link.flushed) == ([("a", None, 1, True)], 1)


async def test_what_is_kept_for_a_trial_is_cleared_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what could not be written any more."""
    link = Kept()
    with pytest.raises(OSError, match="gone"):
        async with retained(link.link, "base", "n", 2):
            raise OSError("gone")
    assert link.retained == {}
    assert [topic for topic, payload, _, _ in link.sent if payload is None] == ["base/n-0", "base/n-1"]


async def test_a_large_message_that_does_not_come_back_is_named_by_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the payload, not of its text."""
    monkeypatch.setattr(broker_probes, "ANSWER_SECONDS", 0.01)
    link = Kept()
    link.silent = True
    assert await try_size(link.link, "base/n") == 65_536
    assert (link.open, [each[2:] for each in link.sent]) == ([], [(1, False)])


def test_a_client_that_was_not_accepted_has_nothing_in_order_but_the_way() -> None:
    """What comes behind the login is not known."""
    facts = replace(good(), login=Login(kind="silent", cause="x"))
    lines = [line for line in lines_of(facts, [], [], 100) if line.startswith("ok")]
    assert lines == [
        "ok       broker.example:8883 accepts connections",
        "ok       TLS: the certificate is valid",
    ]
