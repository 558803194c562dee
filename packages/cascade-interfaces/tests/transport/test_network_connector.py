"""What every networked connector does with what it is given, on a network in memory."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import UserDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from leaping_loop import leaping
from network_in_memory import TELEMETRY, MemoryConnector, Peer, connected, until

from cascade.interfaces.errors import (
    ConfigurationError,
    InvalidPayloadError,
    InvalidTopicError,
    WrongThreadError,
)
from cascade.interfaces.topics import state_topic
from cascade.transport.outbox import FULL, NOT_CONNECTED, TOO_LARGE

RUNS = state_topic("s", "runs")


async def ignore(topic: str, data: dict[str, Any]) -> None:
    """Do nothing with a message."""


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("awaits", [True, False])
@leaping
async def test_what_can_be_published_does_not_depend_on_the_link(linked: bool, awaits: bool) -> None:
    """Any mapping and None can be; a wrong topic, payload or QoS is an error of the caller, and counted nowhere."""
    peer = Peer()
    connector = await connected(peer) if linked else MemoryConnector(peer)

    async def publish(topic: str, payload: Any, qos: int = 0) -> None:
        if awaits:
            await connector.publish(topic, payload, qos)
        else:
            connector.publish_nowait(topic, payload, qos)

    for each in ({"a": 1}, MappingProxyType({"a": 2}), UserDict({"a": 3}), None):
        await publish(TELEMETRY, each)
    for topic, payload, qos, error in (
        ("a/#", {}, 0, InvalidTopicError),
        ("", None, 0, InvalidTopicError),
        (["a"], {}, 0, InvalidTopicError),
        (TELEMETRY, [], 0, InvalidPayloadError),
        (TELEMETRY, "{}", 0, InvalidPayloadError),
        (TELEMETRY, {}, 3, ConfigurationError),
        (TELEMETRY, {}, -1, ConfigurationError),
    ):
        with pytest.raises(error):
            await publish(topic, payload, qos)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        await connector.subscribe("a", ignore, 3)
    assert connector.statistics().accepted == 4
    await connector.flush(5.0)
    await connector.disconnect()
    expected = ['{"a": 1}', '{"a": 2}', '{"a": 3}', ""]
    assert peer.published() == (expected if linked else [])
    assert connector.statistics().dropped == ({} if linked else {NOT_CONNECTED: 4})


@leaping
async def test_what_json_has_not_is_replaced_and_counted() -> None:
    """By messages, whether they are encoded at once or later."""
    connector = await connected(peer := Peer())
    for _ in range(40):
        await connector.publish(TELEMETRY, {"a": float("nan"), "b": object()})
    connector.publish_nowait(TELEMETRY, {"a": 1})
    await connector.flush(5.0)
    assert connector.statistics().sanitized == 40
    assert len(peer.published()) == 41
    await connector.disconnect()


@leaping
async def test_what_the_outbox_drops_is_logged_with_the_keyword_that_helps(
    warnings: Callable[[], list[str]],
) -> None:
    """Once for each link, or session."""
    peer = Peer()
    peer.silent.add("publish")
    connector = await connected(peer, outbox_messages=30, outbox_bytes=10_000)
    for n in range(60):
        connector.publish_nowait(TELEMETRY, {"n": n}, 1)
    for _ in range(2):
        connector.publish_nowait(TELEMETRY, {"n": "x" * 10_000}, 1)
    full = "memory:1: the outbox is full: the oldest messages are dropped and counted until there is room"
    assert warnings() == [
        f"{full}; publish less, or pass outbox_messages= or outbox_bytes=",
        "memory:1: a message is dropped: it is too large for outbox_bytes=",
    ]
    assert connector.statistics().dropped == {FULL: 30, TOO_LARGE: 2}
    await connector.disconnect()


@leaping
async def test_reports_of_an_engine_are_not_replaced_on_the_next_link() -> None:
    """Neither of its two reports; in the next session of the connector there is no engine yet."""
    for kind in ("runs", "constraints"):
        peer = Peer()
        connector = await connected(peer, source_id="s")
        await until(lambda: len(peer.published(RUNS)) == 1)  # noqa: B023
        connector.publish_nowait(state_topic("other", kind), {"of": "another"}, 1, retain=True)
        peer.client.lose()
        await until(lambda: len(peer.published(RUNS)) == 2)  # noqa: B023
        connector.publish_nowait(state_topic("s", kind), {"of": "engine"}, 1, retain=True)
        await connector.flush(5.0)
        before = len(peer.calls("publish"))
        peer.client.lose()
        await until(lambda: connector.statistics().connections == 3)  # noqa: B023
        await asyncio.sleep(1.0)
        assert [each[1] for each in peer.calls("publish")[before:]] == ["cascade/status/s"]
        await connector.disconnect()
        reports = len(peer.published(RUNS))
        await connector.connect()
        await until(lambda: len(peer.published(RUNS)) == reports + 1)  # noqa: B023
        await connector.disconnect()


ENDED_RUN = {
    "run_id": "77fe",
    "target": "report",
    "status": "Failed",
    "error": "ValueError: no such file",
    "started": "2026-07-01T00:00:00.000000+00:00",
    "ended": "2026-07-01T00:00:08.123000+00:00",
    "attempt": 1,
    "duration_ms": 8123.0,
    "counts": {"COMPLETED": 40},
}


def report(presence: str | None, ended: dict[str, Any] = ENDED_RUN) -> str:
    """Return a report with a run that has ended, of the process with this session of presence."""
    made: dict[str, Any] = {"v": "1.0", "source": "s", "session": "x", "presence": presence, "runs": []}
    return json.dumps({**made, "recent": [ended], "ts": "2026-07-01T00:00:09+00:00"})


def earlier_runs(connector: MemoryConnector) -> list[dict[str, Any]] | None:
    return connector.earlier_runs


@leaping
async def test_runs_that_ended_in_an_earlier_process_are_read_once_and_carried_over() -> None:
    """From what the topic holds, not from live messages; the next session carries them over as well."""
    peer = Peer()
    connector = await connected(peer, source_id="s")
    await asyncio.sleep(1.0)
    assert earlier_runs(connector) is None
    peer.client.deliver(RUNS, report("another"))
    peer.client.lose()
    await until(lambda: connector.statistics().connections == 2)
    assert earlier_runs(connector) is None
    assert peer.calls("subscribe").count(("subscribe", RUNS)) == 2
    await asyncio.sleep(1.0)
    peer.client.deliver(RUNS, report("another"), retain=True)
    assert earlier_runs(connector) == [ENDED_RUN]
    await until(lambda: peer.calls("unsubscribe") == [("unsubscribe", RUNS)])
    await connector.flush(5.0)
    assert json.loads(peer.published(RUNS)[-1])["recent"] == [ENDED_RUN]
    assert peer.calls("publish")[-2][1] == state_topic("s", "constraints")
    assert {each[3:] for each in peer.calls("publish")} == {(1, True)}
    count = len(peer.calls("publish"))
    peer.client.deliver(RUNS, report("another"), retain=True)
    await asyncio.sleep(1.0)
    assert len(peer.calls("publish")) == count
    await connector.disconnect()
    before = len(peer.published(RUNS))
    await connector.connect()
    await until(lambda: len(peer.published(RUNS)) > before)
    assert json.loads(peer.published(RUNS)[-1])["recent"] == [ENDED_RUN]
    await asyncio.sleep(1.0)
    later = ENDED_RUN | {"run_id": "88aa"}
    peer.client.deliver(RUNS, report("a third", later), retain=True)
    assert earlier_runs(connector) == [later]
    await connector.disconnect()


@pytest.mark.parametrize("payload", [None, "", "garbage"], ids=["own", "empty", "garbage"])
@leaping
async def test_no_earlier_run_is_taken_from_the_own_report_or_from_none(payload: str | None) -> None:
    """Then none is expected any more, and no report is published again."""
    peer = Peer()
    connector = await connected(peer, source_id="s")
    await until(lambda: len(peer.published(RUNS)) == 1)
    await asyncio.sleep(1.0)
    text = report(connector.presence) if payload is None else payload
    peer.client.deliver(RUNS, text, retain=payload is not None)
    await until(lambda: peer.calls("unsubscribe") == [("unsubscribe", RUNS)])
    await asyncio.sleep(1.0)
    assert not connector.earlier_runs
    assert len(peer.published(RUNS)) == 1
    await connector.disconnect()


@pytest.mark.parametrize("keywords", [{}, {"source_id": "s", "presence": False}], ids=["unnamed", "without"])
@leaping
async def test_without_presence_nothing_is_published_or_read_unasked(keywords: dict[str, Any]) -> None:
    """Neither a birth nor a report, and no message of the own topics is subscribed to."""
    peer = Peer()
    connector = await connected(peer, **keywords)
    await asyncio.sleep(100.0)
    assert connector.presence is None
    assert peer.calls("subscribe") == []
    assert [each for each in peer.calls("publish") if each[3]] == []
    await connector.disconnect()


@leaping
async def test_what_cannot_be_published_is_an_error_at_the_call_and_nothing_is_sent() -> None:
    """A mapping of any type can be, and None clears."""
    peer = Peer()
    async with MemoryConnector(peer) as connector:
        for topic, payload, qos, error in (
            ("a/#", {}, 0, InvalidTopicError),
            (TELEMETRY, [], 0, InvalidPayloadError),
            (TELEMETRY, "{}", 0, InvalidPayloadError),
            (TELEMETRY, {}, 3, ConfigurationError),
        ):
            with pytest.raises(error):
                await connector.publish(topic, payload, qos)  # type: ignore[arg-type]
        for each in (MappingProxyType({"a": 2}), UserDict({"a": 3}), None):
            await connector.publish(TELEMETRY, each, 1)
        assert connector.statistics().accepted == 3
    assert peer.published() == ['{"a": 2}', '{"a": 3}', ""]


@leaping
async def test_a_task_that_publishes_in_a_row_lets_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has published for a while; one that publishes a single message does not wait."""
    monkeypatch.setattr("cascade.transport.session.PUBLISHING", -1.0)
    async with MemoryConnector(Peer()) as connector:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        await connector.publish(TELEMETRY, {})
        assert turns == 0
        for _ in range(100):
            await connector.publish(TELEMETRY, {})
        assert turns > 10
        counting.cancel()
        await asyncio.wait({counting})


@leaping
async def test_a_filter_is_subscribed_at_the_highest_qos_that_a_callback_asks_for() -> None:
    """At 0 without a word about it, and if it is watched: a watch is in order only among messages of one QoS."""
    peer = Peer()
    async with MemoryConnector(peer) as connector:
        for qos in ((), (2,), (1,)):
            await connector.subscribe("a", ignore, *qos)
            await connector.subscribe(f"only/{qos}", ignore, *qos)
            assert peer.qos["a"] == (2 if len(peer.qos) > 2 else 0)
        assert [peer.qos[f"only/{qos}"] for qos in ((), (2,), (1,))] == [0, 2, 1]
        await anext(connector.watch("a"))
        assert peer.qos["a"] == 0


@leaping
async def test_filters_that_a_network_does_not_have_are_refused_before_anything_is_sent() -> None:
    """A shared subscription needs a network that shares out; others have wrong filters and none at all."""
    peer = Peer()
    async with MemoryConnector(peer) as connector:
        for wrong in ("$share/group/a", "a/#/b", ""):
            with pytest.raises(InvalidTopicError):
                await connector.subscribe(wrong, ignore)
            with pytest.raises(InvalidTopicError):
                connector.watch("a", wrong)
        with pytest.raises(ConfigurationError, match="name at least one topic filter"):
            connector.watch()
        assert peer.qos == {}


@leaping
async def test_a_subscription_that_is_cancelled_before_its_answer_is_none() -> None:
    """It is ended at the peer, and its callback is not called."""
    peer = Peer()
    got = list[str]()

    async def receive(topic: str, data: dict[str, Any]) -> None:
        got.append(topic)

    async with MemoryConnector(peer) as connector:
        await connector.subscribe("b", receive)
        peer.silent.add("subscribe")
        for topic_filter in ("a", "b"):
            subscribing = asyncio.ensure_future(connector.subscribe(topic_filter, receive))
            await asyncio.sleep(0.1)
            subscribing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await subscribing
        peer.resume()
        await asyncio.sleep(0.1)
        peer.client.deliver("a", "{}")
        peer.client.deliver("b", "{}")
        await asyncio.sleep(0.1)
        assert peer.calls("unsubscribe") == [("unsubscribe", "a")]
        assert got == ["b"]


@leaping
async def test_a_synchronous_call_from_another_thread_names_itself() -> None:
    """It sends nothing, and the connector goes on."""
    connector = await connected(Peer())
    calls: dict[str, Callable[[], object]] = {
        "publish": lambda: connector.publish_nowait(TELEMETRY, {}),
        "deliver_nowait": lambda: connector.deliver_nowait(TELEMETRY, "{}", settled=print),
        "watch": lambda: connector.watch("a"),
    }
    for name, call in calls.items():
        errors: list[WrongThreadError] = []

        def run(call: Callable[[], object] = call, errors: list[WrongThreadError] = errors) -> None:
            try:
                call()
            except WrongThreadError as exc:
                errors.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert [each.operation for each in errors] == [name]
    assert (connector.statistics().accepted, connector.connected) == (0, True)
    await connector.disconnect()
