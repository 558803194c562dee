"""A forked child has a copy of its parent's open outbox: it sends, writes, closes and unlocks nothing of it."""

import asyncio
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_link import TOPIC, FakeLink, event
from outbox_files import acknowledge, change, left_open

from cascade.interfaces import Delivery
from cascade.runtime import Outbox
from cascade.testkit.waiting import eventually

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]


class NotedLink(FakeLink):
    """Notes every call that it gets, in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def subscribe(self, topic: str, callback: Callable[..., Any], qos: int = 0) -> Any:
        self.calls.append("subscribe")
        return await super().subscribe(topic, callback, qos)

    async def unsubscribe(self) -> None:
        self.calls.append("unsubscribe")
        await super().unsubscribe()

    def deliver_nowait(
        self, topic: str, payload: str, qos: int = 1, *, settled: Callable[[Delivery], None]
    ) -> None:
        self.calls.append("deliver")
        super().deliver_nowait(topic, payload, qos, settled=settled)


async def in_a_child(work: Callable[[], None]) -> None:
    """Do something in a forked child, and wait for its end; it leaves as the children of multiprocessing do."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Return the content of the files of an outbox."""
    return ((path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.suffix != ".db-shm")


def left(folder: Path) -> list[tuple[int, int, bool]]:
    """Return how many events of each sender wait, how many were sent, and whether its file is in use."""
    senders = Outbox(folder).senders() if folder.is_dir() else []
    return [(each.waiting, each.sent, each.in_use) for each in senders]


@pytest.mark.parametrize("up", [True, False], ids=["sent", "waiting"])
@pytest.mark.parametrize("used", [True, False], ids=["used", "left"])
async def test_a_child_leaves_the_outbox_of_its_parent_alone(
    folder: Path, used: bool, up: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it uses the same object on a loop of its own; the parent's messages still go their way."""
    change(monkeypatch, RESEND_AFTER=3_600.0)
    link, given = NotedLink(), Outbox(folder, ack="c-1", delay=0.0)
    link.up = up
    attached = given.attached(link)
    sender = await attached.__aenter__()
    sender.publish(TOPIC, event(0), 1)
    kept = [(0, 1, True)] if up else [(1, 0, True)]
    await eventually(lambda: left(folder) == kept)
    if not used:
        await attached.__aexit__(None, None, None)
    before = dict(files(folder))

    async def use() -> None:
        """Publish through the same outbox and connector; then close that."""
        async with given.attached(link) as own:
            own.publish(TOPIC, event(9), 1)

    def work() -> None:
        caplog.clear()
        link.calls.clear()
        sender.publish(TOPIC, event(1), 1)
        sender.stop()
        assert link.calls == []
        assert left_open == {}
        asyncio.run(use())
        assert link.calls == ["subscribe", "deliver"]  # of its own message
        assert not [text for text in caplog.messages if "lost" in text]

    await in_a_child(work)
    assert dict(files(folder)) == before
    assert left(folder) == kept
    assert link.numbers() == ([0] if up else [])
    if not used:
        attached = given.attached(link)
        sender = await attached.__aenter__()
    link.up = True
    link.settle()
    assert link.numbers() == [0]
    await acknowledge(link, 0)
    await attached.__aexit__(None, None, None)
    await eventually(lambda: not [*folder.glob("*")])
