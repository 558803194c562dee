"""One examination of ``cascade doctor``, from the first step to the last: with a broker within the test."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ops_modules import (
    EVENTS,
    OWN_SYNC,
    PRESENCE,
    PROGRESS,
    STEERING,
    SYNC,
    Certificate,
    Examination,
    Facts,
    Login,
    Reachability,
    Retained,
    Right,
    broker_probes,
    examination,
)

from cascade.cli.link import Address
from cascade.interfaces.errors import ConnectorUnavailable
from cascade.interfaces.topics import constraint_topic, matches, state_topic, status_topic
from cascade.interfaces.watch import Complete, Linked, Lost, Message, WatchItem
from cascade.interfaces.wire import encode_payload, timestamp

NAME = "doctor-00c0ffee"
URL = "mqtt://press@127.0.0.1:1"
SYNCS = (f"cascade/sync/{NAME}/", "cascade/sync/press/")


class TriedBroker:
    """Keeps, returns and denies what the test says."""

    def __init__(self) -> None:
        self.retained: dict[str, Any] = {}
        self.sent: list[tuple[str, Any, bool]] = []
        self.keywords: list[dict[str, Any]] = []
        """Of each connector that was made."""
        self.mqtt5 = True
        self.denies: Callable[[str], bool] = lambda topic: False
        self.most_queued = 1_000
        """Retained messages that a subscription at QoS 1 gets."""
        self.late = self.lost = 0
        """How many of the retained messages a filter gets behind the echo, and how many it does not get."""
        self.refuses: Callable[[], bool] = lambda: False
        """Whether no further link may be made now."""
        self.unread: frozenset[str] = frozenset()
        self.too_many = False
        """Whether there are too many topics to list."""
        self.early: list[Message] = []
        """What comes as soon as the watch has begun."""
        self.live: list[Message] = []
        """What comes once the watch has begun."""
        self.made = 0
        self.open = 0
        self.linked, self.connections = True, 1
        """What each link says of itself."""


class TriedLink:
    """A connector to it."""

    def __init__(self, broker: TriedBroker, keywords: dict[str, Any]) -> None:
        self._broker, self._keywords = broker, keywords
        self._callbacks: dict[str, Any] = {}
        self._dropped: dict[str, int] = {"denied": 0}
        self._rest: list[tuple[str, Any]] = []
        broker.keywords.append(keywords)

    async def connect(self) -> None:
        self._broker.made += 1
        await asyncio.sleep(0)
        if self._keywords.get("protocol") == "5" and not self._broker.mqtt5:
            raise ConnectorUnavailable("b", 1, "it does not speak MQTT 5", kind="protocol")
        if self._broker.refuses():
            raise ConnectorUnavailable("b", 1, "the broker is full; wait", kind="closed")
        self._broker.open += 1

    async def disconnect(self) -> None:
        self._broker.open -= 1

    async def subscribe(self, topic: str, callback: Any, qos: int = 0) -> Any:
        self._callbacks[topic] = callback
        found = [each for each in self._broker.retained.items() if matches(topic, each[0])]
        if topic.endswith("/+"):
            found = found[self._broker.lost :]
            self._rest = found[len(found) - self._broker.late :]
            found = found[: len(found) - self._broker.late]
        for each in found[: self._broker.most_queued] if qos else found:
            await callback(*each)

        async def unsubscribe() -> None:
            del self._callbacks[topic]

        return SimpleNamespace(unsubscribe=unsubscribe)

    async def publish(self, topic: str, payload: Any, qos: int, *, retain: bool = False) -> None:
        self._broker.sent.append((topic, payload, retain))
        if self._broker.denies(topic):
            self._dropped["denied"] += self._keywords.get("protocol") == "5"
            return
        if retain:
            self._broker.retained.pop(topic, None)
        if retain and payload is not None:
            self._broker.retained[topic] = payload
        for topic_filter, callback in [*self._callbacks.items()]:
            if matches(topic_filter, topic):
                await callback(topic, payload or {})
                for each in self._rest if "-echo-" in topic and topic_filter.endswith("/+") else ():
                    await callback(*each)

    async def flush(self, timeout: float | None = None) -> bool:
        return True

    async def watch(self, *filters: str) -> Any:
        yield Linked()
        for message in self._broker.early:
            yield message
        for topic, payload in [*self._broker.retained.items()]:
            if any(matches(each, topic) for each in filters):
                yield Message(topic, json.dumps(payload).encode(), retain=True)
        topics = None if self._broker.too_many else frozenset(self._broker.retained)
        items: list[WatchItem] = [Complete(proved=True, topics=topics)]
        if self._broker.unread:
            items = [Lost("refused")]
        for item in [*items, *self._broker.live]:
            yield item
        await asyncio.Event().wait()

    def statistics(self) -> Any:
        return SimpleNamespace(
            dropped=self._dropped,
            refused=self._broker.unread,
            linked=self._broker.linked,
            connections=self._broker.connections,
            receive_maximum=20 if self._keywords.get("protocol") == "5" else None,
        )


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> TriedBroker:
    """A broker that permits and keeps everything; every connector of the examination is one to it."""
    made = TriedBroker()

    def connector(address: Address, **keywords: Any) -> TriedLink:
        assert (keywords.pop("presence"), keywords.pop("required")) == (False, True)
        return TriedLink(made, {"url": address.url, **keywords})

    async def way(*_: object) -> Reachability:
        return Reachability()

    async def websocket(host: str, ports: tuple[int, ...]) -> bool:
        return ports == (8080, 8083, 9001)

    monkeypatch.setattr(Address, "connector", connector)
    monkeypatch.setattr(examination, "try_port", way)
    monkeypatch.setattr(examination, "find_websocket", websocket)
    monkeypatch.setattr(examination, "local_configuration", lambda port: None)
    monkeypatch.setattr("secrets.token_hex", lambda size: "00c0ffee")
    monkeypatch.setattr(examination, "MESSAGES", 5)
    monkeypatch.setattr(examination, "LISTEN_SECONDS", 0.05)
    monkeypatch.setattr(examination, "RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr(broker_probes, "RETURN_SECONDS", 0.05)
    monkeypatch.setattr(broker_probes, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(broker_probes, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(examination, "ANSWER_SECONDS", 0.5)
    return made


async def examined(broker: TriedBroker, url: str = URL, *, probe_write: bool = False) -> Facts:
    """What an examination finds; it leaves no link and no message of its own."""
    before = dict(broker.retained)
    facts = await Examination(Address(url), probe_write=probe_write).run()
    assert broker.open == 0
    assert broker.retained == before
    return facts


async def test_of_a_broker_in_order_everything_is_tried(broker: TriedBroker) -> None:
    """Every right with a message of its kind, all retained messages, a large one, and a login without a user."""
    facts = await examined(broker)
    telemetry = f"cascade/telemetry/local/default/{NAME}"
    topics = {
        PRESENCE: f"cascade/status/{NAME}",
        EVENTS: f"{telemetry}/events",
        PROGRESS: f"{telemetry}/progress",
        SYNC: f"cascade/sync/{NAME}/{NAME}",
        OWN_SYNC: f"cascade/sync/press/{NAME}",
    }
    assert facts.rights == {name: Right(topic, returned=True) for name, topic in topics.items()}
    first = {topic: retain for topic, _, retain in reversed(broker.sent)}
    assert {name for name, topic in topics.items() if first[topic]} == {PRESENCE, SYNC, OWN_SYNC}
    assert facts.retained == Retained(5, exact=True, received=5, queued=5)
    assert facts.login == Login(linked=True, mqtt5=True, anonymous=True)
    (large,) = [payload for _, payload, _ in broker.sent if payload is not None and "text" in payload]
    assert len(encode_payload(large)[0]) == 64 * 1024, "as many as a report may have"
    assert (facts.size, facts.untried, facts.cut, facts.inflight, facts.leftovers) == (None, "", False, 20, 0)
    assert (facts.websocket, facts.refused, facts.unread, facts.keeps_none) == (True, "", (), False)
    assert {"url": "mqtt://127.0.0.1:1"} in broker.keywords


async def test_a_denied_message_is_told_from_one_that_is_late(broker: TriedBroker) -> None:
    """MQTT 5 says so."""
    broker.denies = lambda topic: topic.startswith("cascade/status/")
    facts = await examined(broker)
    assert facts.rights[PRESENCE] == Right(f"cascade/status/{NAME}", returned=False, refused=True)
    assert facts.rights[EVENTS].returned


async def test_a_version_is_one_short_line(broker: TriedBroker) -> None:
    """80 characters at most."""
    broker.retained["$SYS/broker/version"] = "x" * 100
    assert (await examined(broker)).version == '"' + "x" * 79


@pytest.mark.parametrize(
    ("status", "untried"), [("online", "press"), ("offline", ""), ("", "")], ids=["online", "offline", "none"]
)
async def test_an_engine_that_is_online_is_not_disturbed(
    status: str, untried: str, broker: TriedBroker
) -> None:
    """Only its own sync topic may be written, and the engine listens there."""
    broker.denies = lambda topic: topic.startswith(SYNCS[0])
    if status:
        broker.retained[status_topic("press")] = {"status": status, "session": "s"}
    facts = await examined(broker)
    assert facts.untried == untried
    assert (facts.retained is None) == bool(untried)
    kept = [topic for topic, payload, retain in broker.sent if retain and payload is not None]
    assert all(topic.startswith(f"{SYNCS[1]}{NAME}-") for topic in kept)
    assert len(kept) == (0 if untried else 5)


async def test_a_constraint_is_written_only_when_that_is_asked_for(broker: TriedBroker) -> None:
    """It has expired, and it is cleared whatever becomes of it."""
    topic = constraint_topic(f"source:{NAME}", "pause")
    facts = await examined(broker)
    assert STEERING not in facts.rights
    assert topic not in [sent for sent, _, _ in broker.sent]
    facts = await examined(broker, probe_write=True)
    assert facts.rights[STEERING] == Right(topic, returned=True)
    written = [(payload, retain) for sent, payload, retain in broker.sent if sent == topic]
    assert written == [({"type": "pause", "expires_at": 1.0}, True), (None, True)]


async def test_a_broker_that_refuses_a_further_link_is_named_with_what_is_known(broker: TriedBroker) -> None:
    """What was found before stays, leftovers are counted, and what is retained for a trial is cleared."""
    broker.retained[status_topic("dead")] = {"status": "offline", "session": "s"}
    broker.refuses = lambda: broker.open == 0 and broker.made > 3  # after the three of the login
    facts = await examined(broker)
    assert facts.login == Login(linked=True, mqtt5=True, anonymous=True)
    assert (facts.refused, facts.rights, facts.view) == ("the broker is full; wait", {}, None)
    assert facts.websocket
    broker.refuses = lambda: any(topic.startswith("cascade/sync/") for topic in broker.retained)
    facts = await examined(broker)
    assert (facts.refused, facts.retained, facts.leftovers) == ("the broker is full; wait", None, 1)
    assert len(facts.rights) == 5


async def test_what_engines_say_meanwhile_is_noted(
    broker: TriedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Births by session, and how late a live message is; a retained one is as old as it is."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)

    def birth(session: str, age: float) -> Any:
        return {"status": "online", "session": session, "ts": timestamp(now - age)}

    broker.retained[status_topic("oven")] = birth("s0", 9_000.0)
    broker.retained[status_topic("dead")] = {"status": "offline", "session": "s"}
    broker.retained[state_topic("gone", "runs")] = {"v": "1.0", "source": "gone", "runs": [], "recent": []}
    for topic, content in (
        (status_topic("oven"), birth("s1", 60.0)),
        (status_topic("oven"), birth("s2", 90.0)),
        (status_topic("dead"), {"status": "offline", "session": "s"}),
    ):
        broker.live.append(Message(topic, json.dumps(content).encode(), retain=False))
    facts = await examined(broker)
    assert facts.births == {"oven": {"s0", "s1", "s2"}}
    assert facts.late_by == pytest.approx({"oven": 90.0}, abs=0.01)
    assert facts.leftovers == 2


@pytest.mark.parametrize(
    ("url", "mqtt5", "over_nats", "version"),
    [
        (URL, False, True, '"mosquitto 2.0.22"'),
        (URL, True, False, '"mosquitto 2.0.22"'),
        ("nats://press:pw@127.0.0.1:1", False, False, ""),
    ],
)
async def test_engines_of_the_other_protocol_and_the_version_are_heard_of(
    url: str, mqtt5: bool, over_nats: bool, version: str, broker: TriedBroker
) -> None:
    """A nats-server speaks MQTT 3.1.1 only, so that a broker of MQTT 5 is not asked; NATS has no such topics."""
    broker.mqtt5 = mqtt5
    broker.retained["$KV/cascade/cascade/status/oven"] = {"status": "online"}
    broker.retained["$SYS/broker/version"] = "mosquitto 2.0.22"
    facts = await examined(broker, url)
    assert (facts.over_nats, facts.version) == (over_nats, version)


async def test_what_live_services_offer_is_known(broker: TriedBroker) -> None:
    """And nothing of one that has ended."""
    row = {"name": "audit", "doc": "", "params": {}, "overlap": "skip", "accepting": True}
    for source, status in (("oven", "online"), ("dead", "offline")):
        broker.retained[status_topic(source)] = {
            "status": status,
            "session": "s",
            "ts": timestamp(time.time()),
        }
        head = {
            "v": "1.0",
            "source": source,
            "session": "s",
            "presence": "held",
            "ts": timestamp(time.time()),
        }
        broker.retained[state_topic(source, "workflows")] = {**head, "workflows": [row]}
    facts = await examined(broker)
    assert {source: [each.name for each in found.workflows] for source, found in facts.services.items()} == {
        "oven": ["audit"]
    }


async def test_only_requests_that_are_retained_are_named_so(broker: TriedBroker) -> None:
    """Neither one that comes at the moment, nor one that was cleared."""
    kept, live, cleared = (f"cascade/requests/press/{name}" for name in ("audit", "clean", "old"))
    broker.retained[kept] = {"id": "1"}
    broker.early = [Message(live, b"{}", retain=False), Message(cleared, b"", retain=True)]
    assert (await examined(broker)).kept_requests == (kept,)


async def test_filters_that_the_broker_refuses_are_named(broker: TriedBroker) -> None:
    """Of those that a tool needs."""
    broker.unread = frozenset({"cascade/constraints/#", "cascade/sync/+/@canary"})
    facts = await examined(broker)
    assert facts.unread == ("cascade/constraints/#",)


async def test_a_fault_on_the_way_ends_the_examination(
    broker: TriedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes behind it cannot be known: no link is tried."""

    async def certificate(*_: object) -> Certificate:
        return next(seen)

    async def refused(*_: object) -> Reachability:
        return Reachability("refused")

    monkeypatch.setattr(examination, "try_tls", certificate)
    seen = iter([Certificate(10), Certificate(detail="odd"), Certificate()])
    for _ in range(2):
        facts = await examined(broker, "mqtts://press@127.0.0.1:1")
        assert (facts.login, broker.made) == (None, 0)
    facts = await examined(broker, "mqtts://press@127.0.0.1:1")
    assert facts.login is not None
    assert facts.websocket is None
    made = broker.made
    monkeypatch.setattr(examination, "try_port", refused)
    facts = await examined(broker)
    assert (facts.reachability, facts.login, broker.made) == (Reachability("refused"), None, made)


async def test_a_login_that_is_refused_ends_the_examination(broker: TriedBroker) -> None:
    """With the kind of the refusal and its cause; the other protocol and a login without a user are not tried."""
    broker.refuses = lambda: True
    facts = await examined(broker)
    assert facts.login == Login(kind="closed", cause="the broker is full; wait")
    assert (broker.made, facts.rights, facts.view, facts.websocket) == (1, {}, None, None)


async def test_a_broker_that_accepts_nobody_without_a_user_is_not_anonymous(
    broker: TriedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That login is one of a client that gives neither a user nor a password."""
    addresses: list[tuple[str, str | None]] = []
    connector = Address.connector

    def watched(address: Address, **keywords: Any) -> Any:
        addresses.append((address.url, address.password))
        return connector(address, **keywords)

    monkeypatch.setattr(Address, "connector", watched)
    broker.refuses = lambda: addresses[-1][0] == "mqtt://127.0.0.1:1"
    facts = await Examination(Address(URL, "s3cret")).run()
    assert facts.login == Login(linked=True, mqtt5=True, anonymous=False)
    assert facts.rights
    assert set(addresses) == {(URL, "s3cret"), ("mqtt://127.0.0.1:1", None)}
    assert broker.open == 0


@pytest.mark.parametrize(
    ("linked", "connections", "cut"), [(True, 1, False), (False, 1, True), (True, 2, True)]
)
async def test_a_link_that_ended_was_cut_whether_it_has_come_back_or_not(
    linked: bool, connections: int, cut: bool, broker: TriedBroker
) -> None:
    """A broker that cuts the link at a denied message hides what it denies."""
    broker.linked, broker.connections = linked, connections
    assert (await examined(broker)).cut == cut
