"""Callbacks of a connector that is about to disconnect."""

import logging

import pytest

from cascade.transport.lifecycle import BeforeDisconnect


def test_callbacks_are_called_in_order_until_they_are_removed(caplog: pytest.LogCaptureFixture) -> None:
    """One that fails is logged and affects no other; one may remove itself while it is called."""
    called: list[str] = []
    callbacks = BeforeDisconnect(logging.getLogger("cascade.test"))

    def fail() -> None:
        raise ValueError("no such file")

    def once() -> None:
        called.append("once")
        remove_once()

    remove_first = callbacks.add(lambda: called.append("first"))
    callbacks.add(fail)
    remove_once = callbacks.add(once)
    callbacks.add(lambda: called.append("last"))
    callbacks.call()
    assert called == ["first", "once", "last"]
    assert "a callback before the disconnect has failed: ValueError: no such file" in caplog.text
    remove_first()
    remove_first()
    callbacks.call()
    assert called == ["first", "once", "last", "last"]
