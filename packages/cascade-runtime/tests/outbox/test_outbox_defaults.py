"""The defaults of an outbox, and the bounds of its settings."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_link import TOPIC, FakeLink, event
from outbox_files import replace

from cascade.interfaces import ConfigurationError, Delivery
from cascade.runtime import Outbox
from cascade.testkit.waiting import eventually


class WholeLink(FakeLink):
    """Notes topic and QoS, too."""

    def __init__(self, source_id: str = "press", *, up: bool = True) -> None:
        super().__init__(source_id, up=up)
        self.sent: list[tuple[str, int]] = []

    def deliver_nowait(
        self, topic: str, payload: str, qos: int = 1, *, settled: Callable[[Delivery], None]
    ) -> None:
        self.sent.append((topic, qos))
        super().deliver_nowait(topic, payload, qos, settled=settled)


async def test_a_message_of_another_program_is_sent_at_qos_1_unless_it_says_otherwise(tmp_path: Path) -> None:
    """The broker's acknowledgement is what deletes it."""
    link = WholeLink()
    async with Outbox(tmp_path / "events").sender(link) as sender:
        sender.send("plant/line-3", {"celsius": 21.5})
        sender.send("plant/line-4", {"celsius": 21.5}, 0)
        sender.send("plant/line-5", {"celsius": 21.5}, qos=2)
        assert await sender.flush(60.0)
    assert link.sent == [("plant/line-3", 1), ("plant/line-4", 0), ("plant/line-5", 2)]
    assert await sender.flush(60.0)  # nothing is left after the end


@pytest.mark.parametrize(("used", "dropped"), [(256 << 20, 0), ((256 << 20) + 1, 1)])
async def test_a_file_may_have_256_mib_by_default(
    used: int, dropped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond that the oldest message is dropped and counted."""
    link = FakeLink(up=False)
    sizes = [used]
    replace(monkeypatch, "_used", lambda *_: sizes.pop() if sizes else 0)
    async with Outbox(tmp_path / "events", delay=0.0).attached(link) as sender:
        sender.publish(TOPIC, event(0), 1)
        await eventually(lambda: not sizes)
        await sender.reached(60.0)
        assert sender.dropped == dropped
        await link.disconnect()


async def test_a_sender_without_a_name_sends_its_own_messages_only_unless_it_is_asked_to(
    tmp_path: Path,
) -> None:
    """What dead processes of other names have left is for senders with a name, or for ``adopt=True``."""
    from cascade.interfaces.wire import default_source

    for adopt, expected in ((None, []), (False, []), (True, [0])):
        folder = tmp_path / str(adopt)
        dead = FakeLink("box", up=False)
        async with Outbox(folder, delay=0.0).attached(dead, adopt=False) as left:
            left.publish(TOPIC, event(0, source="box"), 1)
            await left.drain(0.05)
            await dead.disconnect()
        link = FakeLink(default_source())
        async with Outbox(folder).sender(link, adopt=adopt) as sender:
            assert await sender.flush(60.0)
        assert link.numbers() == expected


def refused(**settings: Any) -> str:
    """Return why an outbox cannot be made; "" if it can."""
    try:
        Outbox(settings.pop("folder", "events"), **settings)
    except ConfigurationError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize(
    ("name", "needs", "good", "bad"),
    [
        ("folder", "a folder, such as 'events'", ["e", Path("e")], ["", 5, None, b"e"]),
        ("max_bytes=", "a number of bytes from 65536", [65_536, 1 << 40], [65_535, 0, -1, True, 1e6, "1"]),
        (
            "max_age=",
            "a timedelta above 0",
            [dt.timedelta(microseconds=1), dt.timedelta(days=400)],
            [dt.timedelta(0), -dt.timedelta(1), 5, None],
        ),
        ("delay=", "seconds from 0 to 60", [0, 0.5, 60, 60.0], [-0.1, 60.1, True, "1", None, float("nan")]),
        ("order=", "'oldest' or 'live-first'", ["oldest", "live-first"], ["newest", "", None, 1]),
        ("ack=", "the name of the collector, such as 'collector-1'", [None, "c"], ["", 5, b"c", True]),
    ],
)
def test_each_setting_is_taken_up_to_its_bounds(
    name: str, needs: str, good: list[Any], bad: list[Any]
) -> None:
    """And refused beyond them, with what it needs and what was given."""
    keyword = name.rstrip("=")
    assert [refused(**{keyword: value}) for value in good] == [""] * len(good)
    for value in bad:
        said = refused(**{keyword: value})
        assert f"Outbox({name}): needs {needs}" in said
        assert repr(value) in said or not value


def test_an_outbox_shows_its_folder_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder is that of the working directory of its declaration."""
    monkeypatch.chdir(tmp_path)
    given = Outbox("events")
    monkeypatch.chdir("/")
    assert given.folder == tmp_path / "events"
    assert repr(given) == f"<Outbox {tmp_path / 'events'}>"
