"""A connector on a network in memory: its attempts, links and ends. The loop's clock leaps, so no test waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from leaping_loop import LeapingLoop, leaping
from network_in_memory import TELEMETRY, Fails, MemoryConnector, Peer, connected, now, other_tasks, until

from cascade.interfaces.topics import status_topic
from cascade.interfaces.watch import Linked, Lost
from cascade.transport.faults import Kind
from cascade.transport.outbox import NOT_CONNECTED, UNSENT

CLOSED, CREDENTIALS, TAKEN_OVER, UNREACHABLE = (
    Fails(kind) for kind in (Kind.CLOSED, Kind.CREDENTIALS, Kind.TAKEN_OVER, Kind.UNREACHABLE)
)
STATUS = status_topic("s")
FOREIGN = '{"status": "online", "session": "foreign"}'


pytestmark = pytest.mark.usefixtures("longest_pauses")


@leaping
async def test_a_peer_is_asked_until_it_is_there_and_each_absence_is_logged_once(
    warnings: Callable[[], list[str]],
) -> None:
    """The pauses double; a link that was up begins them anew, and what follows is a lost connection."""
    peer = Peer()
    peer.fail("connect", *[UNREACHABLE] * 5)
    connector = await connected(peer)
    assert (connector.connected, connector.statistics().linked) == (True, False)
    absent = "no connection to memory:1: it is unreachable; trying again in the background"
    assert warnings() == [absent]
    connector.publish_nowait(TELEMETRY, {"n": 1}, 1)
    await until(lambda: connector.statistics().sent)
    assert (peer.published(), peer.gaps("connect")) == (['{"n": 1}'], [0.5, 1.0, 2.0, 4.0, 5.0])
    peer.fail("connect", UNREACHABLE)
    peer.client.lose()
    await until(lambda: connector.statistics().linked and connector.statistics().connections == 2)
    assert peer.gaps("connect")[-1] == 1.0
    lost = "lost the connection to memory:1: the connection was closed; trying again in the background"
    assert warnings() == [absent, lost]
    await connector.disconnect()
    assert not other_tasks()


@leaping
async def test_a_fault_that_needs_a_person_is_logged_and_asked_about_twice_a_minute(
    warnings: Callable[[], list[str]],
) -> None:
    """Also behind another fault, and once only."""
    peer = Peer()
    peer.fail("connect", UNREACHABLE, CREDENTIALS, CREDENTIALS, UNREACHABLE)
    connector = await connected(peer)
    await until(lambda: connector.statistics().linked)
    assert warnings() == [
        "no connection to memory:1: it is unreachable; trying again in the background",
        "no connection to memory:1: it is credentials; trying again once every 30 s",
    ]
    assert peer.gaps("connect") == [0.5, 30.0, 30.0, 4.0]
    await connector.disconnect()


@leaping
async def test_connect_returns_in_time_and_slow_peers_get_more_time_with_each_attempt(
    warnings: Callable[[], list[str]],
) -> None:
    """The attempt goes on behind it."""
    peer = Peer()
    peer.silent.add("connect")
    connector = await connected(peer, connect_timeout=3.0)
    assert now() == pytest.approx(3.0)
    assert warnings() == ["no connection to memory:1: the peer is silent; trying again in the background"]
    assert "close" not in peer.names()
    peer.silent.clear()
    await connector.disconnect()
    assert peer.client.closed
    peer.fail("connect", *[Fails(Kind.SILENT)] * 3)
    await connector.connect()
    await until(lambda: connector.statistics().linked)
    assert [client.answer_timeout for client in peer.clients[1:]] == [3.0, 6.0, 10.0, 10.0]
    await connector.disconnect()


@pytest.mark.parametrize(("drain_timeout", "sent", "seconds"), [(5.0, 0, 0.3), (60.0, 1, 30.0)])
@leaping
async def test_a_drain_waits_for_a_later_attempt_only_if_that_comes_in_time(
    drain_timeout: float, sent: int, seconds: float, warnings: Callable[[], list[str]]
) -> None:
    """While a person has to act there is one attempt in 30 s."""
    peer = Peer()
    connector = await connected(peer, drain_timeout=drain_timeout)
    peer.client.lose(CREDENTIALS)
    await asyncio.sleep(0.01)
    connector.publish_nowait(TELEMETRY, {}, 1)
    began = now()
    await connector.disconnect()
    assert now() - began == pytest.approx(seconds, abs=0.05)
    assert connector.statistics().sent == sent
    assert len(warnings()) == (1 if sent else 2)


@pytest.mark.parametrize("named", [True, False])
@leaping
async def test_an_end_is_clean_if_everything_was_sent(named: bool) -> None:
    """A named process takes its leave behind its last message; its will announces any other end."""
    peer = Peer()
    connector = await connected(peer, source_id="s", presence=named)
    await connector.publish(TELEMETRY, {}, 1)
    await connector.disconnect()
    assert (peer.published(STATUS)[-1:] != []) is named
    expected = ["publish"] if named else []
    assert peer.names()[-len(expected) - 3 :] == [*expected, "ignore_answers", "disconnect", "close"]
    if named:
        assert '"reason": "ended"' in peer.published(STATUS)[-1]


@pytest.mark.parametrize("named", [True, False])
@leaping
async def test_an_end_with_messages_left_is_not_clean_for_a_name(named: bool) -> None:
    """The socket is closed first, so that others get the will."""
    peer = Peer()
    connector = await connected(peer, source_id="s", presence=named, drain_timeout=0.1)
    peer.silent.add("publish")
    await connector.publish(TELEMETRY, {}, 1)
    await connector.disconnect()
    assert not any("offline" in each for each in peer.published(STATUS))
    order = ["close", "disconnect"] if named else ["disconnect", "close"]
    assert peer.names()[-2:] == order


@leaping
async def test_an_offline_message_that_is_not_acknowledged_makes_no_clean_end() -> None:
    """It is waited for half a second, and so is the client's leave."""
    peer = Peer()
    connector = await connected(peer, source_id="s")
    await asyncio.sleep(1.0)
    peer.silent |= {"publish", "disconnect"}
    began = now()
    await connector.disconnect()
    assert peer.names()[-4:] == ["publish", "ignore_answers", "close", "disconnect"]
    assert now() - began == pytest.approx(1.0)
    assert not other_tasks()


@leaping
async def test_a_network_without_wills_gets_births_again_and_withdrawals_also_without_a_name() -> None:
    """What stands for the will of a process ends by itself."""
    peer = Peer()
    connector = await connected(peer, lifetime=12.0)
    await connector.disconnect()
    topic = peer.calls("publish")[-1][1]
    assert topic == status_topic(connector.source_id)
    assert "offline" in peer.published(topic)[-1]


@leaping
async def test_the_birth_answers_others_once_a_second_and_not_at_the_end(
    warnings: Callable[[], list[str]],
) -> None:
    """One that goes on is reported once."""
    peer = Peer()
    connector = await connected(peer, source_id="s")
    await asyncio.sleep(0.1)
    birth = peer.published(STATUS)[0]
    for _ in range(5):
        peer.client.deliver(STATUS, FOREIGN)
    await asyncio.sleep(0.8)
    assert peer.published(STATUS) == [birth]
    await asyncio.sleep(0.2)
    assert peer.published(STATUS) == [birth, birth]
    peer.client.deliver(STATUS, birth)
    await asyncio.sleep(5.0)
    assert len(peer.published(STATUS)) == 2
    assert warnings() == [
        "memory:1: another process announces itself as s: give every process a name (source_id) of its own"
    ]
    peer.client.deliver(STATUS, FOREIGN)
    peer.silent.add("publish")
    connector.publish_nowait(TELEMETRY, {}, 1)
    await connector.disconnect()
    assert len(peer.published(STATUS)) <= 3


@pytest.mark.parametrize(
    ("fault", "keywords", "text"),
    [
        (TAKEN_OVER, {}, "another process uses the name s|name (source_id)"),
        (CLOSED, {"client_id": "c"}, "another process seems to use the client id c|client_id"),
        (CLOSED, {}, ""),
        (UNREACHABLE, {"client_id": "c"}, ""),
    ],
    ids=["stated", "client id", "closed", "unreachable"],
)
@leaping
async def test_two_processes_that_disconnect_each_other_slow_down(
    fault: Fails, keywords: dict[str, Any], text: str, warnings: Callable[[], list[str]]
) -> None:
    """The fourth time within a minute shows it; the log states what to do."""
    peer = Peer()
    connector = await connected(peer, source_id="s", presence=False, **keywords)
    for links in range(1, 5):
        await until(lambda: connector.statistics().connections == links)  # noqa: B023
        connector.publish_nowait(TELEMETRY, {}, 1)
        await until(lambda: not connector.statistics().pending)
        peer.client.lose(fault)
    await until(lambda: connector.statistics().connections == 5)
    assert peer.gaps("connect")[-1] == pytest.approx(30.0 if text else 0.5, abs=0.1)
    errors = [each for each in warnings() if "each disconnects" in each]
    who, _, keyword = text.partition("|")
    advice = f"each disconnects the other; give every process a {keyword} of its own; trying again in 30 s"
    assert errors == ([f"{who} at memory:1: {advice}"] if text else [])
    await connector.disconnect()


@leaping
async def test_a_watch_reads_each_end_of_a_link_and_the_next_beginning() -> None:
    """It is subscribed on the next link again."""
    peer = Peer()
    connector = await connected(peer)
    watch = connector.watch("a/#")
    assert await anext(watch) == Linked()
    peer.client.lose()
    assert await anext(watch) == Lost("the link is down")
    assert await anext(watch) == Linked()
    assert peer.calls("subscribe") == [("subscribe", "a/#")] * 2
    await watch.aclose()
    await until(lambda: peer.calls("unsubscribe") == [("unsubscribe", "a/#")])
    await connector.disconnect()


@leaping
async def test_messages_wait_until_the_caller_of_connect_could_subscribe() -> None:
    """What the peer sends while ``connect`` runs reaches a subscription right behind it."""
    peer = Peer()
    connector = MemoryConnector(peer)
    got = list[str]()

    async def receive(topic: str, data: dict[str, Any]) -> None:
        got.append(topic)

    make_link = connector.make_link

    def linked(client: Any, parts: Any) -> Any:
        link = make_link(client, parts)
        client.deliver("a/early", "{}")
        return link

    connector.make_link = linked  # type: ignore[method-assign]
    await connector.connect()
    await connector.subscribe("a/#", receive)
    await until(lambda: got == ["a/early"])
    await connector.disconnect()


@leaping
async def test_an_error_of_the_connector_itself_is_logged_and_tried_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its traceback: it is to be reported."""
    peer = Peer()
    connector = await connected(peer)
    errors = [RuntimeError("no client")]
    make = connector.make_client

    def make_client() -> Any:
        if errors:
            raise errors.pop()
        return make()

    session = connector._lifecycle.session
    assert session is not None
    session._parts = session._parts._replace(make_client=make_client)
    peer.client.lose()
    await until(lambda: connector.statistics().connections == 2)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "unexpected error while connecting to memory:1; please report it" in record.getMessage()
    assert record.exc_info is not None
    await connector.disconnect()


@leaping
async def test_nothing_is_sent_before_connect_or_behind_disconnect(
    warnings: Callable[[], list[str]],
) -> None:
    """It is counted, and logged once for each of these times."""
    peer = Peer()
    connector = MemoryConnector(peer)
    connector.publish_nowait(TELEMETRY, {})
    connector.publish_nowait(TELEMETRY, {})
    assert connector.statistics().dropped == {NOT_CONNECTED: 2}
    await connector.connect()
    await connector.disconnect()
    await connector.disconnect()
    connector.publish_nowait(TELEMETRY, {})
    assert connector.statistics().dropped == {NOT_CONNECTED: 3}
    assert connector.statistics().sanitized == 0
    text = "memory:1: nothing is sent: call connect() first, in the process that uses the connector"
    assert warnings() == [text, text]
    assert not peer.published()


@leaping
async def test_a_connect_waits_for_the_disconnect_before_it_and_does_nothing_when_connected() -> None:
    """The two sessions do not overlap."""
    peer = Peer()
    connector = await connected(peer)
    await connector.connect()
    assert len(peer.clients) == 1
    peer.silent.add("disconnect")
    ending = asyncio.create_task(connector.disconnect())
    await asyncio.sleep(0.1)
    assert not ending.done()
    again = asyncio.create_task(connector.disconnect())
    await asyncio.sleep(0.1)
    assert not again.done()
    await connector.connect()
    assert ending.done()
    assert peer.names()[-4:] == ["disconnect", "close", "connect", "prepare"]
    assert connector.statistics().connections == 2
    await again
    await connector.disconnect()
    assert not connector.connected


@leaping
async def test_a_disconnect_that_is_cancelled_ends_at_once() -> None:
    """Nothing runs on behind it, and what waited is counted."""
    peer = Peer()
    connector = await connected(peer)
    peer.silent.add("publish")
    await connector.publish(TELEMETRY, {}, 1)
    ending = asyncio.create_task(connector.disconnect())
    await asyncio.sleep(0.1)
    began = now()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert now() == began
    assert peer.client.closed
    assert connector.statistics().dropped == {UNSENT: 1}
    assert not other_tasks()


@leaping
async def test_a_callback_may_disconnect_its_own_connector() -> None:
    """Its call goes on; all other calls end."""
    peer = Peer()
    connector = await connected(peer)
    ended, cancelled = asyncio.Event(), asyncio.Event()

    async def leave(topic: str, data: dict[str, Any]) -> None:
        await connector.disconnect()
        ended.set()

    async def stay(topic: str, data: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await connector.subscribe("a", stay)
    await connector.subscribe("b", leave)
    peer.client.deliver("a", "{}")
    await asyncio.sleep(0)
    peer.client.deliver("b", "{}")
    await ended.wait()
    assert cancelled.is_set()
    assert not connector.connected
    await until(lambda: not other_tasks())


def test_a_session_whose_loop_was_closed_is_forgotten() -> None:
    """Its client is closed without a word, its messages wait for the next session."""
    peer = Peer()
    connector = MemoryConnector(peer)
    loop = LeapingLoop()
    loop.run_until_complete(connector.connect())
    peer.silent.add("publish")
    loop.run_until_complete(connector.publish(TELEMETRY, {}, 1))
    loop.run_until_complete(asyncio.sleep(0))
    loop.set_exception_handler(lambda *_: None)  # its tasks are destroyed unfinished
    loop.close()
    assert not connector.connected
    peer.silent.clear()

    @leaping
    async def again() -> None:
        await connector.connect()
        assert peer.clients[0].in_child
        await connector.disconnect()
        assert len(peer.published()) == 2

    again()


@leaping
async def test_a_forked_child_sends_nothing_and_leaves_the_link_to_its_parent(
    warnings: Callable[[], list[str]],
) -> None:
    """The child's copy of the socket is closed; what it publishes is counted."""
    peer = Peer()
    connector = await connected(peer, source_id="s")
    await asyncio.sleep(0)
    before = len(peer.heard)
    connector.become_inert()
    await asyncio.sleep(1.0)
    assert peer.client.in_child
    assert not peer.client.closed
    await connector.connect()
    connector.publish_nowait(TELEMETRY, {})
    assert not connector.connected
    assert connector.statistics().dropped == {"forked process": 1}
    assert peer.heard[before:] == []
    assert len(peer.clients) == 1
    assert [each for each in warnings() if "memory:1" in each] == [
        "memory:1: this is a forked process; its copy of the connector does nothing"
    ]
    rest = other_tasks()
    for task in rest:
        task.cancel()
    await asyncio.wait(rest)
    await connector.disconnect()


@leaping
async def test_a_fork_while_the_parent_connects_leaves_the_attempt_to_the_parent() -> None:
    """The child closes its copy of the socket and ends what it has begun, without a packet."""
    peer = Peer()
    peer.silent.add("connect")
    connector = MemoryConnector(peer)
    await connector.subscribe("a", ignore)
    connecting = asyncio.create_task(connector.connect())
    await asyncio.sleep(0.5)
    before = [*peer.heard]
    connector.become_inert()
    await asyncio.sleep(0.5)
    assert (peer.client.in_child, peer.client.closed, len(peer.clients)) == (True, False, 1)
    assert (peer.heard, connector.connected) == (before, False)
    assert not [each for each in other_tasks() if each.get_name().startswith("cascade-session")]
    rest = other_tasks()
    for task in rest:
        task.cancel()
    await asyncio.wait({*rest, connecting})


@leaping
async def test_statistics_add_up_over_links_and_sessions(warnings: Callable[[], list[str]]) -> None:
    """What was published is sent, dropped or pending at any time; what each session has lost is logged for itself."""
    peer = Peer()
    connector = await connected(peer)

    def counts() -> tuple[int, int, int, int]:
        found = connector.statistics()
        assert found.accepted == found.sent + found.pending + sum(found.dropped.values())
        return found.connections, found.sent, found.pending, sum(found.dropped.values())

    await connector.publish(TELEMETRY, {"x": float("nan")}, 1)
    await until(lambda: counts() == (1, 1, 0, 0))
    peer.fail("connect", UNREACHABLE)
    peer.client.lose()
    for _ in range(3):
        connector.publish_nowait(TELEMETRY, {"x": float("inf"), "y": float("nan")}, 1)
    assert counts() == (1, 1, 3, 0)
    await until(lambda: counts() == (2, 4, 0, 0))
    for lost in (2, 3):
        peer.fail("connect", *[UNREACHABLE] * 99)
        peer.client.lose()
        await asyncio.sleep(0.01)
        for _ in range(lost):
            connector.publish_nowait(TELEMETRY, {}, 1)
        await connector.disconnect()
        assert warnings()[-1] == f"messages for memory:1 that were not delivered: {lost} unsent at disconnect"
        peer.errors.clear()
        await connector.connect()
    assert counts() == (4, 4, 0, 5)
    found = connector.statistics()
    assert (found.sanitized, found.dropped, found.linked) == (4, {UNSENT: 5}, True)
    await connector.subscribe("a", ignore)
    peer.client.deliver("a", "{}")
    peer.client.deliver("a", "odd")
    await until(lambda: connector.statistics().delivered and connector.statistics().discarded)
    found = connector.statistics()
    assert (found.delivered, found.discarded) == (1, {"undecodable": 1})
    assert repr(connector) == (
        "<MemoryConnector memory:1 linked, window 20 of 400, 4 sent, 0 pending, 5 dropped, 0 received>"
    )
    await connector.disconnect()
    assert repr(connector) == (
        "<MemoryConnector memory:1 disconnected, 4 sent, 0 pending, 5 dropped, 0 received>"
    )


async def ignore(topic: str, data: dict[str, Any]) -> None:
    """Do nothing with a message."""
