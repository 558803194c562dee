"""What a steering command does with a broker that answers oddly: with a link and a clock of the test."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from io import StringIO
from typing import Any, cast

import pytest
from cli_modules import Wait, setting, steer

from cascade.cli.errors import CommandError
from cascade.cli.link import Link
from cascade.cli.output import Output
from cascade.interfaces import Message
from cascade.interfaces.topics import STORE_TOPIC, constraint_topic, state_topic, status_topic
from cascade.interfaces.watch import Complete, Linked, Lost
from cascade.interfaces.wire import timestamp

PAUSE = constraint_topic("global", "pause")
ALL = Complete(proved=True, topics=frozenset())
Item = Linked | Lost | Complete | Message | float
"""A number: so many seconds pass."""


class OddLink:
    """Delivers what the test lists; where nothing is left, time passes. It is its own stream.

    :param retained: what comes until the command writes.
    :param after: what comes when it has written, in place of what it wrote.

    With a ``flood``, more comes each millisecond without an end, and nothing ever waits.
    """

    def __init__(
        self, *retained: Item, after: list[Item], monkeypatch: pytest.MonkeyPatch, takes: bool = True
    ) -> None:
        self.written: list[str] = []
        self._items, self._after, self._takes = deque(retained), after, takes
        self.flood: Callable[[], Message] | None = None
        self._now = 100.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self._now)
        monkeypatch.setattr("time.monotonic", lambda: self._now)

    def watch(self, *_filters: str) -> AsyncIterator[Linked | Lost | Complete | Message]:
        return self

    def __aiter__(self) -> AsyncIterator[Linked | Lost | Complete | Message]:
        return self

    async def __anext__(self) -> Linked | Lost | Complete | Message:
        while True:
            if not self._items and self.flood is not None:
                self._now += 0.001
                return self.flood()
            item = self._items.popleft() if self._items else 0.05
            if not isinstance(item, float):
                return item
            self._now += item
            for _ in range(3):  # turns of the loop in which a time limit ends
                await asyncio.sleep(0)

    async def aclose(self) -> None:
        pass

    async def publish(
        self, topic: str, _payload: Mapping[str, Any] | None, qos: int, *, retain: bool
    ) -> None:
        assert (qos, retain) == (1, True), "only so the broker acknowledges and keeps it"
        self.written.append(topic)

    async def flush(self, _timeout: float | None = None) -> bool:
        self._items.extend(self._after)
        return self._takes


def message(topic: str, content: Mapping[str, Any]) -> Message:
    return Message(topic, json.dumps(content).encode(), retain=False)


def returned(scope: str = "global") -> Message:
    """The message of the command, as the broker returns it."""
    change = setting(scope, "pause", {})
    assert change.message is not None
    return message(change.topic, change.message)


def report(source: str, *, running: int = 0) -> Message:
    """A report of an engine that obeys."""
    return message(
        state_topic(source, "constraints"),
        {
            "v": "1.0",
            "source": source,
            "session": "s",
            "sync": "synced",
            "applied": {PAUSE: {"id": "pause-global", "status": "applied"}},
            "effective": [],
            "in_scope_running": running,
            "ts": timestamp(1e9),
        },
    )


def birth(source: str) -> Message:
    return message(status_topic(source), {"status": "online", "session": "s"})


async def pause(link: OddLink, *, scope: str = "global", wait: Wait | None = None) -> tuple[int, list[str]]:
    """The exit code of a pause, and the lines that it prints."""
    screen = StringIO()
    change = setting(scope, "pause", {})
    code = await steer(cast(Link, link), [change.topic], lambda _registers: change, Output(screen), wait=wait)
    return code, screen.getvalue().splitlines()


@pytest.mark.parametrize(
    ("retained", "written"),
    [((Linked(), ALL), [STORE_TOPIC, PAUSE]), ((Linked(),), [PAUSE])],
)
async def test_the_store_is_written_only_where_the_broker_is_known_to_hold_none(
    retained: tuple[Item, ...], written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who may only read gets no proof of it: another id would say that the broker has lost its store."""
    link = OddLink(*retained, after=[returned()], monkeypatch=monkeypatch)
    assert await pause(link) == (0, [PAUSE])
    assert link.written == written


async def test_a_broker_that_does_not_take_the_message_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command does not claim that it has written."""
    link = OddLink(Linked(), ALL, after=[], takes=False, monkeypatch=monkeypatch)
    with pytest.raises(CommandError, match="the broker does not acknowledge the message") as caught:
        await pause(link)
    assert caught.value.code == 3


@pytest.mark.parametrize(
    ("theirs", "note"),
    [
        (None, "another client has cleared it"),
        ({"type": "pause", "id": "theirs", "by": "eva"}, "another client (eva) has replaced it"),
    ],
)
async def test_a_wait_ends_when_another_client_has_changed_the_constraint(
    theirs: Mapping[str, Any] | None,
    note: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No engine will ever answer this command, which would else call each of them silent in the end."""
    payload = b"" if theirs is None else json.dumps(theirs).encode()
    after: list[Item] = [returned(), Message(PAUSE, payload, retain=False), 0.7]
    link = OddLink(birth("press"), Linked(), ALL, after=after, monkeypatch=monkeypatch)
    assert await pause(link, wait=Wait(15.0)) == (1, [PAUSE, "unknown\tpress\tsilent"])
    assert f"{note} meanwhile; cascade constraints shows" in capsys.readouterr().err


async def test_a_message_of_another_program_does_not_prove_that_the_broker_took_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another operator may write the same register; a broker drops what this user may not write."""
    theirs = message(PAUSE, {"type": "pause", "id": "theirs"})
    link = OddLink(Linked(), ALL, after=[theirs], monkeypatch=monkeypatch)
    with pytest.raises(CommandError, match=f"the broker has dropped the message on {PAUSE}") as caught:
        await pause(link)
    assert caught.value.code == 3


async def test_an_engine_without_a_name_has_a_moment_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker retains nothing of it, so that the command knows it only when it answers."""
    link = OddLink(Linked(), ALL, after=[returned(), report("vm-1")], monkeypatch=monkeypatch)
    assert await pause(link, wait=Wait()) == (0, [PAUSE, "applied\tvm-1"])


@pytest.mark.parametrize(
    ("known", "note"), [("press-1", ""), ("press-2", "no engine named press-1 is known")]
)
async def test_a_source_that_the_broker_does_not_know_is_named(
    known: str, note: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And only such a one: a warning about an engine that is there would mislead."""
    link = OddLink(Linked(), birth(known), ALL, after=[returned("source:press-1")], monkeypatch=monkeypatch)
    code, _ = await pause(link, scope="source:press-1")
    assert (code, capsys.readouterr().err[: len(note) or None]) == (0, note)


async def test_drained_ends_with_0_when_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last task has ended during the wait."""
    after: list[Item] = [returned(), report("a", running=1), 0.3, report("a")]
    link = OddLink(Linked(), birth("a"), ALL, after=after, monkeypatch=monkeypatch)
    assert await pause(link, wait=Wait(drained=True)) == (0, [PAUSE, "applied\ta"])


async def test_in_a_pipe_drained_says_what_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is 1, and a program reads why."""
    after: list[Item] = [returned(), report("a", running=2)]
    link = OddLink(Linked(), birth("a"), ALL, after=after, monkeypatch=monkeypatch)
    found = await pause(link, wait=Wait(0.4, drained=True))
    assert found == (1, [PAUSE, "applied\ta", "running\t2"])


async def test_a_link_that_breaks_during_the_wait_is_named_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engines report again when it is back."""
    after: list[Item] = [returned(), 0.3, Lost("cut"), report("a")]
    link = OddLink(Linked(), birth("a"), ALL, after=after, monkeypatch=monkeypatch)
    assert await pause(link, wait=Wait()) == (0, [PAUSE, "applied\ta"])
    assert capsys.readouterr().err.startswith("the broker does not deliver: cut; waiting for it\n")


async def test_an_engine_without_a_name_that_is_far_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tasks start, so it reports its runs every half second; its answer comes a round trip later."""
    runs = {"v": "1.0", "source": "vm-1", "session": "s", "runs": [], "ts": timestamp(1e9)}
    after: list[Item] = [returned(), 0.45, message(state_topic("vm-1", "runs"), runs), 2.0, report("vm-1")]
    link = OddLink(Linked(), ALL, after=after, monkeypatch=monkeypatch)
    assert await pause(link, wait=Wait()) == (0, [PAUSE, "applied\tvm-1"])
    assert "engines without a name may not have answered" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "answer"), [(50, "applied"), (70, "unknown")])
async def test_an_answer_is_waited_for_until_the_time_is_over(
    seconds: int, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes behind it is too late."""
    after: list[Item] = [returned(), *[0.5] * 2 * seconds, report("a")]
    link = OddLink(Linked(), birth("a"), ALL, after=after, monkeypatch=monkeypatch)
    code, lines = await pause(link, wait=Wait(60.0))
    assert (code, lines[-1].split("\t")[:2]) == (answer != "applied", [answer, "a"])


async def test_a_flood_of_invented_engines_does_not_delay_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Messages are always waiting, so that no time limit interrupts the reading; each invented engine is one more to check."""
    link = OddLink(Linked(), birth("a"), ALL, after=[returned()], monkeypatch=monkeypatch)
    number = itertools.count()
    link.flood = lambda: report(f"x{next(number)}")
    code, lines = await pause(link, wait=Wait(0.5))
    assert (code, lines[-1][:10]) == (1, "unknown\ta\t")
    assert next(number) < 2_000  # one each millisecond: half a second, and one to read what had come before
