"""One link on a network in memory: calls that fail or are not answered, refusals, and its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from leaping_loop import leaping
from network_in_memory import (
    TELEMETRY,
    Fails,
    MemoryLink,
    Peer,
    connected,
    now,
    other_tasks,
    until,
)

from cascade.interfaces.abilities import Lacking, Limitation
from cascade.interfaces.topics import state_topic, status_topic
from cascade.transport.faults import Kind, LinkLost, MessageRejected, MessageTooLarge
from cascade.transport.outbox import NOT_ALLOWED, POISON, REFUSED, TOO_LARGE

STATUS = status_topic("s")


pytestmark = pytest.mark.usefixtures("longest_pauses")


async def ignore(topic: str, data: dict[str, Any]) -> None:
    """Do nothing with a message."""


def link_of(peer: Peer) -> MemoryLink:
    assert peer.client.link is not None
    return peer.client.link


@leaping
async def test_a_birth_comes_first_and_reports_of_no_run_behind_it() -> None:
    """They are retained, and name the session of the birth; nothing waits for the subscriptions."""
    peer = Peer()
    peer.silent.add("subscribe")
    connector = await connected(peer, source_id="s", connect_timeout=1.0)
    await until(lambda: len(peer.calls("publish")) == 3)
    published = peer.calls("publish")
    assert [each[1] for each in published] == [
        STATUS,
        state_topic("s", "constraints"),
        state_topic("s", "runs"),
    ]
    assert {each[3:] for each in published} == {(1, True)}
    birth, *reports = (json.loads(each[2]) for each in published)
    assert birth["status"] == "online"
    assert {report["presence"] for report in reports} == {birth["session"]} == {connector.presence}
    assert not connector.statistics().linked
    await connector.disconnect()


@pytest.mark.parametrize(
    ("call", "what"), [("subscribe", "SUBSCRIBE"), ("unsubscribe", "UNSUBSCRIBE"), ("publish", "PUBLISH")]
)
@leaping
async def test_a_call_without_an_answer_ends_the_link(
    call: str, what: str, warnings: Callable[[], list[str]]
) -> None:
    """After ten seconds; the next link goes on."""
    peer = Peer()
    connector = await connected(peer, source_id="s")
    subscription = await connector.subscribe("a", ignore)
    await asyncio.sleep(2.0)
    peer.silent.add(call)
    began = now()
    if call == "publish":  # a birth: messages of the outbox have longer
        peer.client.deliver(STATUS, "")
        await until(lambda: len(peer.published(STATUS)) == 2)
    elif call == "subscribe":
        await connector.subscribe("b", ignore)
    else:
        await subscription.unsubscribe()
    peer.silent.clear()
    await until(lambda: connector.statistics().connections == 2)
    assert now() - began == pytest.approx(10.5, abs=0.1)
    assert warnings() == [
        f"lost the connection to memory:1: the broker does not answer {what}; trying again in the background"
    ]
    await connector.disconnect()


REJECTS = "the broker rejects messages (code 135) and they are lost, the first for {topic}; check its access list; cascade acl prints the rules of an engine"
LOST = (LinkLost(Fails(Kind.CREDENTIALS)), "it is credentials; trying again once every 30 s", 2)


@pytest.mark.parametrize(
    ("call", "error", "text", "links"),
    [
        ("subscribe", *LOST),
        ("publish", *LOST),
        ("publish", MessageRejected(135), REJECTS.format(topic=STATUS), 1),
        ("subscribe", ValueError("no"), "subscribe failed: ValueError('no')", 1),
        ("publish", ValueError("no"), "publish failed: ValueError('no')", 1),
    ],
)
@leaping
async def test_a_call_that_fails_ends_the_link_only_if_that_is_lost(
    call: str, error: Exception, text: str, links: int, warnings: Callable[[], list[str]]
) -> None:
    """The log states the cause that the client has raised."""
    peer = Peer()
    connector = await connected(peer, source_id="s")
    await asyncio.sleep(2.0)
    peer.fail(call, error)
    if call == "publish":
        peer.client.deliver(STATUS, "")
        await until(lambda: len(peer.published(STATUS)) == 2)
    else:
        await connector.subscribe("b", ignore)
    await asyncio.sleep(40.0)
    assert connector.statistics().connections == links
    (warning,) = warnings()
    assert warning.endswith(text)
    await connector.disconnect()


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (MessageRejected(135), NOT_ALLOWED, REJECTS.format(topic=TELEMETRY)),
        (MessageTooLarge(9_000, 10), TOO_LARGE, f"a message for {TELEMETRY} is dropped: it has 9,000 bytes, and the broker accepts at most 10"),
        (ValueError("no"), REFUSED, f"a message for {TELEMETRY} cannot be sent and is dropped: ValueError('no')"),
    ],
    ids=["rejected", "too large", "refused"],
)  # fmt: skip
@leaping
async def test_a_message_that_cannot_be_sent_costs_no_other(
    error: Exception, reason: str, text: str, warnings: Callable[[], list[str]]
) -> None:
    """It is counted, and each cause logged once; a client that took messages again may say so once more."""
    peer = Peer()
    connector = await connected(peer)
    peer.fail("publish", error, error)
    for n in range(3):
        connector.publish_nowait(TELEMETRY, {"n": n}, 1)
    await connector.flush(5.0)
    peer.fail("publish", error)
    connector.publish_nowait(TELEMETRY, {}, 1)
    await connector.flush(5.0)
    counts = connector.statistics()
    assert (counts.sent, counts.dropped, counts.connections) == (1, {reason: 3}, 1)
    assert warnings() == [text] * (2 if reason == REFUSED else 1)
    await connector.disconnect()


@leaping
async def test_a_link_on_which_a_message_is_never_acknowledged_ends(
    warnings: Callable[[], list[str]],
) -> None:
    """After 30 to 60 seconds; the message is tried alone on two links, then put aside."""
    peer = Peer()
    connector = await connected(peer)
    peer.silent.add("publish")
    await asyncio.sleep(29.0)
    connector.publish_nowait(TELEMETRY, {}, 1)
    await asyncio.sleep(30.5)
    assert connector.statistics().connections == 1
    await until(lambda: connector.statistics().connections == 2)
    assert now() == pytest.approx(60.5, abs=0.1)
    await until(lambda: not connector.statistics().pending)
    assert connector.statistics().dropped == {POISON: 1}
    assert len(peer.published()) == 2
    assert warnings()[0].startswith("lost the connection to memory:1: the broker does not answer a message;")
    await connector.disconnect()


@leaping
async def test_a_refused_subscription_is_counted_and_logged_once_for_each_link(
    warnings: Callable[[], list[str]],
) -> None:
    """Until it is granted, or nobody needs it any more."""
    peer = Peer()
    peer.codes = {"a": 135, "b": 128}
    connector = await connected(peer)
    one = await connector.subscribe("a", ignore)
    other = await connector.subscribe("b", ignore)
    assert connector.statistics().refused == {"a": 135, "b": 128}
    assert "2 subscriptions refused" in repr(connector)
    text = "memory:1 refuses the subscription to {} (code {}); check the broker's access list"
    logged = [text.format("a", 135), text.format("b", 128)]
    assert warnings() == logged
    again = await connector.subscribe("a", ignore)
    assert warnings() == logged
    del peer.codes["a"]
    further = await connector.subscribe("a", ignore)
    await other.unsubscribe()
    assert connector.statistics().refused == {}
    peer.codes["a"] = 135
    await connector.subscribe("a", ignore)
    assert warnings() == [*logged, text.format("a", 135)]
    peer.client.lose(Fails(Kind.UNREACHABLE))
    await until(lambda: connector.statistics().connections == 2)
    assert warnings()[4:] == [text.format("a", 135)]
    assert connector.statistics().refused == {"a": 135}
    for each in (one, again, further):
        await each.unsubscribe()
    assert connector.statistics().refused == {"a": 135}
    await connector.disconnect()


@pytest.mark.parametrize("how", ["silent", "raises"])
@leaping
async def test_a_client_that_does_not_leave_is_closed_all_the_same(how: str) -> None:
    """After half a second at most, and without a word."""
    peer = Peer()
    connector = await connected(peer)
    if how == "silent":
        peer.silent.add("disconnect")
    else:
        peer.fail("disconnect", OSError("gone"))
    began = now()
    await connector.disconnect()
    assert now() - began == pytest.approx(0.5 if how == "silent" else 0.0)
    assert peer.client.closed
    await asyncio.sleep(0)
    assert not other_tasks()


def limitation(lacking: Lacking) -> Limitation:
    return Limitation(lacking, f"no {lacking}", "allow it")


@leaping
async def test_what_a_peer_cannot_do_is_logged_once_and_again_after_it_could(
    warnings: Callable[[], list[str]],
) -> None:
    """Without a store nothing else is kept either; a new link does not repeat what the last one has logged."""
    peer = Peer()
    connector = await connected(peer)
    store, presence, telemetry = (
        "memory:1: no constraints, presence and retained messages: no store rights; allow it; telemetry is sent",
        "memory:1: no presence: no presence; allow it",
        "memory:1: telemetry is not kept by the server: no telemetry; allow it",
    )
    without_store = [limitation(Lacking.STORE_RIGHTS), limitation(Lacking.TELEMETRY)]
    for _ in range(2):
        link_of(peer)._report_limitations(without_store)
    assert warnings() == [store]
    link_of(peer)._report_limitations([limitation(Lacking.PRESENCE), limitation(Lacking.TELEMETRY)])
    assert warnings() == [store, presence, telemetry]
    peer.client.lose(Fails(Kind.UNREACHABLE))
    await until(lambda: connector.statistics().connections == 2)
    link_of(peer)._report_limitations([limitation(Lacking.PRESENCE)])
    assert len(warnings()) == 4
    link_of(peer)._report_limitations(without_store)
    assert warnings()[4:] == [store]
    await connector.disconnect()
