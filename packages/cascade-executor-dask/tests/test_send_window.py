"""How many characters a call may send before the engine confirms them, and what happens when confirmations come late."""

from __future__ import annotations

import threading

import pytest

from cascade.executors.dask import _send_window
from cascade.executors.dask._send_window import SendWindow
from cascade.testkit import eventually


class Sender:
    """A thread that sends texts through a window; the texts that left."""

    def __init__(self, window: SendWindow, *texts: str) -> None:
        self.sent: list[str] = []
        self._thread = threading.Thread(target=self._send, args=(window, texts), daemon=True)
        self._thread.start()

    def _send(self, window: SendWindow, texts: tuple[str, ...]) -> None:
        for text in texts:
            window.send(text, self.sent.append)

    def ended(self) -> list[str]:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.sent


async def held_back(window: SendWindow, sender: Sender, sent: list[str]) -> None:
    """Wait until the sender waits for room; nothing but ``sent`` has left."""
    await eventually(lambda: window.waiting == 1)
    assert sender.sent == sent


async def test_a_window_is_filled_to_its_last_character() -> None:
    """What fits exactly leaves at once; the next text waits until there is room for all of it."""
    window = SendWindow(10, lambda: True)
    sender = Sender(window, "aaaa", "bbbbbb", "cccc", "d")
    await held_back(window, sender, ["aaaa", "bbbbbb"])
    window.confirm(3)
    await eventually(lambda: window.waiting == 1)
    assert sender.sent == ["aaaa", "bbbbbb"]
    window.confirm(4)
    await eventually(lambda: sender.sent == ["aaaa", "bbbbbb", "cccc"])
    await eventually(lambda: window.waiting == 1)
    window.confirm(10)
    assert sender.ended() == ["aaaa", "bbbbbb", "cccc", "d"]
    assert window.waiting == 0


async def test_a_confirmation_that_comes_late_takes_no_room_away() -> None:
    """It states a total: the highest one counts, whatever order they come in."""
    window = SendWindow(10, lambda: True)
    assert Sender(window, "a" * 10).ended() == ["a" * 10]
    window.confirm(10)
    window.confirm(2)
    assert Sender(window, "b" * 9, "c").ended() == ["b" * 9, "c"]


async def test_a_text_that_is_larger_than_the_window_leaves_alone() -> None:
    """After everything before it was taken; what follows waits for it."""
    window = SendWindow(10, lambda: True)
    sender = Sender(window, "a", "b" * 50, "c")
    await held_back(window, sender, ["a"])
    window.confirm(1)
    await eventually(lambda: len(sender.sent) == 2)
    await eventually(lambda: window.waiting == 1)
    window.confirm(51)
    assert sender.ended() == ["a", "b" * 50, "c"]


async def test_a_call_that_is_to_stop_waits_no_more() -> None:
    """What has no room is dropped from then on, what has room still leaves."""
    window = SendWindow(10, lambda: True)
    sender = Sender(window, "aaaaaa", "bbbbbb", "cccccc", "dddd")
    await held_back(window, sender, ["aaaaaa"])
    window.end()
    assert sender.ended() == ["aaaaaa", "dddd"]


async def test_a_call_that_no_engine_awaits_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds that out by itself, once."""
    monkeypatch.setattr(_send_window, "_CHECK_INTERVAL", 0.01)
    asked: list[None] = []

    def is_awaited() -> bool:
        asked.append(None)
        return len(asked) < 2

    window = SendWindow(5, is_awaited)
    assert Sender(window, "aaaaa", "b", "c", "d").ended() == ["aaaaa"]
    assert len(asked) == 2
