"""What LocalConnector does beyond the contract that every connector keeps."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import Complete, InvalidTopicError, Linked, Lost, Message
from cascade.runtime import LocalConnector
from cascade.testkit import eventually, time_limit
from cascade.testkit.connector import Inbox
from cascade.testkit.waiting import busyness


async def ignore(topic: str, data: dict[str, Any]) -> None:
    """A callback that does nothing."""


@pytest.mark.process
def test_the_readmes_example_prints_what_it_says() -> None:
    """A subscriber receives the message, although disconnect follows at once."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## LocalConnector")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30 * busyness(), check=True
    )
    assert done.stdout == "cascade/demo {'hello': 'world'}\n"
    assert done.stdout.strip() in section


async def test_a_burst_beyond_the_inbox_drops_the_oldest_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, unhurried: None
) -> None:
    """Memory is bounded also when the loop gets no turn; the count and the watch tell the loss."""
    monkeypatch.setattr("cascade.runtime.local._hub.INBOX_ITEMS", 2_000)
    async with LocalConnector() as connector:
        await connector.subscribe("a", ignore)
        stream = connector.watch("a")
        assert await anext(stream) == Linked()
        assert await anext(stream) == Complete(True, frozenset())
        for n in range(2_010):
            connector.publish_nowait("a", {"n": n})
        assert isinstance(await anext(stream), Lost)
        for n in range(10, 2_010):
            assert await anext(stream) == Message("a", b'{"n": %d}' % n, retain=False)
        assert await anext(stream) == Complete(True, frozenset())
        assert connector.statistics().received == 2_000
        assert connector.statistics().discarded == {"queue full": 20}
        await stream.aclose()
    assert caplog.text.count("too slow") == 1


async def test_disconnect_lets_callbacks_finish_what_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook the last event of a run is seen although the run disconnects at once."""
    monkeypatch.setattr("cascade.runtime.local.connector._DRAIN_SECONDS", 60.0)
    inbox = Inbox()

    async def slow(topic: str, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        await inbox(topic, data)

    async with LocalConnector() as connector:
        await connector.subscribe("a", slow)
        for n in range(500):
            connector.publish_nowait("a", {"n": n})
    assert inbox.numbers() == list(range(500))


async def test_what_a_hung_callback_did_not_get_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disconnect waits for so long, and tells what was given up; nothing of it comes later."""
    monkeypatch.setattr("cascade.runtime.local.connector._DRAIN_SECONDS", 0.05)
    inbox, hang = Inbox(), asyncio.Event()

    async def callback(topic: str, data: dict[str, Any]) -> None:
        await inbox(topic, data)
        await hang.wait()

    async with LocalConnector() as connector:
        await connector.subscribe("a", callback)
        for n in range(5):
            connector.publish_nowait("a", {"n": n})
        await eventually(inbox.seen)
    assert connector.statistics().discarded == {"disconnected": 4}
    hang.set()
    async with connector:
        await connector.publish("a", {"n": 5})
        await eventually(lambda: len(inbox.seen()) == 2)
    assert inbox.numbers() == [0, 5]


async def test_a_callback_may_disconnect() -> None:
    """It does not wait for itself."""
    connector, done = LocalConnector(), asyncio.Event()

    async def callback(topic: str, data: dict[str, Any]) -> None:
        await connector.disconnect()
        done.set()

    await connector.connect()
    await connector.subscribe("a", callback)
    await connector.publish("a", {})
    async with time_limit(50):
        await done.wait()
    assert not connector.connected


@pytest.mark.parametrize("error", [RuntimeError("no"), asyncio.CancelledError()], ids=repr)
async def test_a_failing_callback_is_logged_once_until_it_works_again(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins to fail, however often it does; a CancelledError of its own is a failure too."""
    calls: list[int] = []

    async def callback(topic: str, data: dict[str, Any]) -> None:
        calls.append(data["n"])
        if data["n"] not in (3, 6):
            raise error

    async with LocalConnector() as connector:
        await connector.subscribe("a", callback)
        for n in range(6):
            await connector.publish("a", {"n": n})
        await eventually(lambda: calls == list(range(6)))
    assert caplog.text.count("other ones go on") == 2


async def test_publish_before_connect_warns_once_and_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a log full of lines nor a count of what was never accepted."""
    connector = LocalConnector()
    for _ in range(3):
        await connector.publish("a", {})
    assert caplog.text.count("before connect") == 1
    assert connector.statistics().accepted == 0


async def test_a_shared_subscription_is_refused() -> None:
    """Without a broker there are no groups; treating it as an ordinary one would be wrong silently."""
    async with LocalConnector() as connector:
        with pytest.raises(InvalidTopicError, match="needs a broker"):
            await connector.subscribe("$share/group/a", ignore)
        with pytest.raises(InvalidTopicError, match="needs a broker"):
            connector.watch("$share/group/a")
