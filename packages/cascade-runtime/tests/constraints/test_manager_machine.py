"""The real manager against a broker that a state machine plays: any order of writes, cuts and deliveries."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stand_ins import FakeClock

from cascade.interfaces import Linked, Lost, Message, WatchItem
from cascade.interfaces.topics import CONSTRAINTS_FILTER, matches
from cascade.runtime import EventBus
from cascade.runtime.constraints import Admission, ConstraintManager, Turnstile
from cascade.runtime.constraints.parse import Cleared, Rejected, parse
from cascade.runtime.constraints.registers import Registers
from cascade.runtime.constraints.sync import SyncState

TOPICS = [
    "cascade/constraints/global",
    "cascade/constraints/global/@pause",
    "cascade/constraints/source/other",
]
PAUSE = b'{"type":"pause"}'
PAYLOADS = [
    PAUSE,
    b'{"type":"pause","expires_at":1800000030}',
    b'{"type":"concurrency","params":{"limit":1}}',
    b'{"type":"quota"}',
    b"{}",
    b"",
]
GARBAGE = st.binary(min_size=1, max_size=12) | st.sampled_from(
    [b'{"type":"pause","scope":"run:x"}', b'{"type":"concurrency","params":{"limit":true}}', b"[" * 9_999]
)


class FakeStream:
    """One watch: what the broker has sent and the engine has not been given yet, and what it has."""

    def __init__(self, broker: "FakeBroker", filters: tuple[str, ...]) -> None:
        self.broker = broker
        self.filters = filters
        self.wire: deque[WatchItem] = deque()
        self.backlog: deque[WatchItem] = deque()
        """Retained messages that a broker may send after live ones."""
        self.arrived: asyncio.Queue[WatchItem] = asyncio.Queue()

    def __aiter__(self) -> "FakeStream":
        return self

    async def __anext__(self) -> WatchItem:
        return await self.arrived.get()

    async def aclose(self) -> None:
        self.broker.streams.remove(self)


class FakeBroker:
    """A broker and the connector to it; nothing moves unless the machine says so."""

    source_id = "me"

    def __init__(self) -> None:
        self.up = True
        self.deaf = False
        """Whether echoes get lost."""
        self.retained: dict[str, bytes] = {}
        self.streams: list[FakeStream] = []
        self.reports: list[dict[str, Any]] = []
        self.lane: list[dict[str, Any]] = []
        """The latest report, which the connector keeps until there is a link."""

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    async def subscribe(self, *_: object) -> Any:
        raise AssertionError("the manager watches only")

    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        self.publish_nowait(topic, payload, qos, retain=retain)

    def publish_nowait(
        self, topic: str, payload: Mapping[str, Any] | None, qos: int = 0, *, retain: bool = False
    ) -> None:
        if topic == "cascade/state/me/constraints":
            self.lane = [json.loads(json.dumps(payload))]
            self._empty_lane()
        elif self.up and not self.deaf and topic.startswith("cascade/sync/"):
            assert qos == 0
            for stream in self.streams:
                stream.wire.extend(stream.backlog)
                stream.backlog.clear()
            self._send(topic, b"{}")

    def watch(self, *filters: str) -> FakeStream:
        assert CONSTRAINTS_FILTER in filters
        stream = FakeStream(self, filters)
        self.streams.append(stream)
        if self.up:
            self.subscribe_again(stream)
        return stream

    def write(self, topic: str, payload: bytes) -> None:
        self.retained.pop(topic, None)
        if payload:
            self.retained[topic] = payload
        if self.up:
            self._send(topic, payload)

    def cut(self) -> None:
        self.up = False
        for stream in self.streams:
            stream.wire.clear()
            stream.backlog.clear()
            stream.arrived.put_nowait(Lost("cut"))

    def overflow(self) -> None:
        """Lose what is under way although the link stays up."""
        for stream in self.streams:
            stream.wire.clear()
            stream.backlog.clear()
            stream.wire.append(Lost("overflow"))

    def reconnect(self) -> None:
        self.up = True
        self._empty_lane()
        for stream in self.streams:
            self.subscribe_again(stream)

    def subscribe_again(self, stream: FakeStream) -> None:
        held = [Message(topic, payload, True) for topic, payload in self.retained.items()]
        third = len(held) // 3  # the acknowledgement may come in the midst of the retained set
        stream.wire.extend([*held[:third], Linked()])
        stream.backlog.extend(held[third:])

    def deliver(self, most: int) -> bool:
        moved = False
        for stream in self.streams:
            for _ in range(min(most, len(stream.wire) + len(stream.backlog))):
                stream.arrived.put_nowait((stream.wire or stream.backlog).popleft())
                moved = True
        return moved

    def _empty_lane(self) -> None:
        if self.up:
            self.reports += self.lane
            self.lane = []

    def _send(self, topic: str, payload: bytes) -> None:
        for stream in self.streams:
            if any(matches(topic_filter, topic) for topic_filter in stream.filters):
                stream.wire.append(Message(topic, payload, False))


class Control(RuleBasedStateMachine):
    """Writes, cuts, overflows, deliveries and time, in any order."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.broker = FakeBroker()
        self.turnstile = Turnstile(Admission(), clock=self.clock)
        self.begin()

    def begin(self) -> None:
        """Let an engine follow that knows nothing yet."""
        self.manager = ConstraintManager(self.broker, self.turnstile, clock=self.clock, bus=EventBus())
        self.seen: dict[str, set[object]] = {
            topic: {parse(topic, self.broker.retained.get(topic, b""))} for topic in TOPICS
        }

        async def start() -> None:
            self.manager.start()

        self.run(start())

    def run(self, work: Any = None) -> None:
        """Let the manager do all that it can do now."""

        async def turns() -> None:
            if work is not None:
                await work
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    @rule(topic=st.sampled_from(TOPICS), payload=st.sampled_from(PAYLOADS) | GARBAGE)
    def write(self, topic: str, payload: bytes) -> None:
        self.seen[topic].add(parse(topic, payload))
        self.broker.write(topic, payload)

    @precondition(lambda self: self.broker.up)
    @rule(writes=st.lists(st.tuples(st.sampled_from(TOPICS), st.sampled_from(PAYLOADS)), max_size=3))
    def write_while_away(self, writes: list[tuple[str, bytes]]) -> None:
        self.cut()
        for topic, payload in writes:
            self.write(topic, payload)
        self.reconnect()

    @precondition(lambda self: self.broker.up)
    @rule(topic=st.sampled_from(TOPICS), payload=st.sampled_from(PAYLOADS))
    def write_while_subscribing(self, topic: str, payload: bytes) -> None:
        self.time_passes(61.0)
        self.write(topic, payload)
        self.broker.deliver(2)
        self.run()

    @rule(most=st.integers(1, 5))
    def deliver(self, most: int) -> None:
        self.broker.deliver(most)
        self.run()

    @precondition(lambda self: self.broker.up)
    @rule()
    def cut(self) -> None:
        self.broker.cut()
        self.run()

    @precondition(lambda self: self.broker.up)
    @rule()
    def overflow(self) -> None:
        self.broker.overflow()

    @precondition(lambda self: not self.broker.up)
    @rule()
    def reconnect(self) -> None:
        self.broker.reconnect()
        self.run()

    @rule(seconds=st.sampled_from([0.3, 5.0, 25.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        async def ring() -> None:
            self.clock.ticks += seconds
            if self.manager._alarm is not None:
                self.manager._alarm.cancel()  # it is rung by hand
            self.manager._ring()

        self.run(ring())

    @rule()
    def stop_and_begin_again(self) -> None:
        """I8: an engine that ends, with a link or without, takes back all that it has claimed."""
        was_up = self.broker.up
        self.run(self.manager.stop())
        if not was_up:
            self.broker.reconnect()
        for last in self.broker.reports[-1:]:  # if it has ever claimed anything
            assert (last["sync"], last["applied"], last["effective"]) == ("stopped", {}, [])
        assert not self.turnstile.admission.constrained
        if not was_up:
            self.broker.cut()
        self.begin()

    @precondition(lambda self: self.broker.up)
    @rule()
    def lose_the_echo(self) -> None:
        """Row 17: without an echo what is retained is in force all the same, and nothing is forgotten."""
        self.broker.deaf = True
        self.write_while_away([(TOPICS[1], PAUSE)])
        self.deliver_all()
        self.time_passes(5.0)
        assert self.manager.sync.state is SyncState.DEGRADED
        assert TOPICS[1] in self.manager.registers.values
        self.broker.deaf = False

    @precondition(lambda self: self.broker.up)
    @rule()
    def settle(self) -> None:
        """I1: when all is delivered the registers are the retained set, and so is what is in force."""
        self.deliver_all()
        if self.manager.sync.state is not SyncState.SYNCED:  # what was lost in vain is asked for later
            self.time_passes(61.0)
            self.deliver_all()
        assert self.manager.sync.state is SyncState.SYNCED
        self.compare()

    def deliver_all(self) -> None:
        self.run()
        while self.broker.deliver(1_000):
            self.run()

    def compare(self) -> None:
        held = self.manager.registers.values
        reference = Registers(self.clock, relevant=lambda scope: scope != "source:other")
        for topic in TOPICS:
            outcome = parse(topic, self.broker.retained.get(topic, b""))
            if isinstance(outcome, Rejected):  # the last valid value of that topic, if there was any
                assert held.get(topic) is None or held[topic] in self.seen[topic]
                outcome = held.get(topic) or Cleared()
            else:
                assert held.get(topic, Cleared()) == outcome
            reference.apply(topic, outcome)
        assert set(self.manager.registers.effective()) == set(reference.effective())

    @invariant()
    def what_is_said_and_held_is_in_force(self) -> None:
        """I8: gates are what the registers come to; the latest report, if nothing changed since, lists them."""
        if not hasattr(self, "manager"):
            return
        self.run()
        gates = self.turnstile.admission.gates.by_key
        effective = self.manager.registers.effective()
        assert {key: gate.rule for key, gate in gates.items()} == {k: e.rule for k, e in effective.items()}
        if self.broker.reports and self.manager._reporter._constraints._changed is None:
            rows = {(row["scope"], row["type"]) for row in self.broker.reports[-1]["effective"]}
            assert rows == set(gates)
        assert len(self.broker.streams) == 1

    def teardown(self) -> None:
        if not hasattr(self, "manager"):
            return
        try:
            if not self.broker.up:
                self.reconnect()
            self.settle()
        finally:
            self.run(self.manager.stop())
            self.loop.close()
        assert self.broker.streams == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "examples",
    [pytest.param(150, marks=pytest.mark.slow), pytest.param(5_000, marks=pytest.mark.nightly)],
    ids=["short", "long"],
)
def test_i1_the_engine_converges_whatever_happens(examples: int) -> None:
    """I1, I2, I5, I7, I8 over the real manager: linked and settled, it has exactly the retained set."""
    run_state_machine_as_test(
        Control, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None)
    )
