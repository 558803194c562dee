"""The real manager against a fake broker that a state machine controls: any order of writes, cuts and deliveries."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from typing import Any

import pytest
from admission_parts import Controller, Policy
from control_parts import Cleared, ConstraintManager, Registers, Rejected, SyncState, Unsupported, parse
from fakes import FakeClock
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

from cascade.interfaces import Complete, Linked, Lost, Message, WatchItem
from cascade.interfaces.topics import CONSTRAINTS_FILTER, matches

TOPICS = [
    "cascade/constraints/global",
    "cascade/constraints/global/@pause",
    "cascade/constraints/source/other",
    "cascade/constraints/workflow/audit/@pause",
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
    """One watch: messages that the broker has sent, and messages that the engine has received."""

    def __init__(self, broker: "FakeBroker", filters: tuple[str, ...]) -> None:
        self.broker = broker
        self.filters = filters
        self.wire: deque[WatchItem] = deque()
        self.arrived: asyncio.Queue[WatchItem] = asyncio.Queue()

    def __aiter__(self) -> "FakeStream":
        return self

    async def __anext__(self) -> WatchItem:
        return await self.arrived.get()

    async def aclose(self) -> None:
        self.broker.streams.remove(self)


class FakeBroker:
    """A broker and the connector to it; nothing is delivered unless the machine does it."""

    source_id = "me"

    def __init__(self) -> None:
        self.up = True
        self.deaf = False
        """Whether nothing shows that a set is complete."""
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
            stream.arrived.put_nowait(Lost("cut"))

    def overflow(self) -> None:
        """Lose the messages in flight although the link stays up."""
        for stream in self.streams:
            stream.wire.clear()
            stream.wire.extend([Lost("overflow"), Linked()])
            self.look(stream)

    def reconnect(self) -> None:
        self.up = True
        self._empty_lane()
        for stream in self.streams:
            self.subscribe_again(stream)

    def subscribe_again(self, stream: FakeStream) -> None:
        stream.wire.append(Linked())
        self.look(stream)

    def look(self, stream: FakeStream) -> None:
        """Send the retained set, and that it is complete, unless the broker is deaf."""
        stream.wire.extend(Message(topic, payload, True) for topic, payload in self.retained.items())
        if not self.deaf:
            stream.wire.append(Complete(proved=True, topics=frozenset(self.retained)))

    def deliver(self, most: int) -> bool:
        moved = False
        for stream in self.streams:
            for _ in range(min(most, len(stream.wire))):
                stream.arrived.put_nowait(stream.wire.popleft())
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


class EngineControl(RuleBasedStateMachine):
    """Writes, cuts, overflows, deliveries and time, in any order."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.broker = FakeBroker()
        self.admission = Controller(Policy(), clock=self.clock)
        self.begin()

    def begin(self) -> None:
        """Start an engine without any registers."""
        self.manager = ConstraintManager(self.broker, clock=self.clock)
        self.offered: frozenset[str] = frozenset()
        self.seen: dict[str, set[object]] = {
            topic: {parse(topic, self.broker.retained.get(topic, b""))} for topic in TOPICS
        }

        async def start() -> None:
            self.manager.start()
            self.manager.add_engine(self.admission)

        self.run(start())

    def run(self, work: Any = None) -> None:
        """Run the event loop until the manager has nothing to do."""

        async def iterations() -> None:
            if work is not None:
                await work
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(iterations())

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

    @rule(offered=st.sampled_from([frozenset[str](), frozenset({"audit"}), frozenset({"clean"})]))
    def offer(self, offered: frozenset[str]) -> None:
        """A register of a workflow is in force only while the engine offers it or runs it."""
        self.offered = offered
        self.run(self._offer())

    async def _offer(self) -> None:
        self.manager.offer(self.offered)

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
        async def fire() -> None:
            self.clock.ticks += seconds
            if seconds > 60 and self.broker.up:  # the connector looks again
                for stream in self.broker.streams:
                    self.broker.look(stream)
            self.manager._timer.fire()

        self.run(fire())

    @rule()
    def stop_and_begin_again(self) -> None:
        """I8: an engine that stops, with a link or without, reports that nothing is in force."""
        was_up = self.broker.up
        self.run(self.manager.stop())
        if not was_up:
            self.broker.reconnect()
        for last in self.broker.reports[-1:]:  # if it has ever reported
            assert (last["sync"], last["applied"], last["effective"]) == ("stopped", {}, [])
        assert not self.admission.policy.constrained
        if not was_up:
            self.broker.cut()
        self.begin()

    @precondition(lambda self: self.broker.up)
    @rule()
    def never_complete(self) -> None:
        """Row 17: if nothing shows that the set is complete, it still comes into force, and nothing known is removed."""
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
        """I1: when all is delivered, the registers and the constraints in force equal the retained set."""
        self.deliver_all()
        if self.manager.sync.state is not SyncState.SYNCED:  # after failures, the next attempt is delayed
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
        reference = Registers(self.clock, own_scopes=("global", "source:me"))
        reference.offer(self.offered)
        for topic in TOPICS:
            outcome = parse(topic, self.broker.retained.get(topic, b""))
            if topic == TOPICS[2]:  # another engine's
                assert topic not in held
            elif isinstance(outcome, Rejected | Unsupported):  # the last valid value, if there was any
                assert held.get(topic) is None or held[topic] in self.seen[topic]
                outcome = held.get(topic) or Cleared()
            else:
                assert held.get(topic, Cleared()) == outcome
            reference.apply(topic, outcome)
        assert set(self.manager.registers.effective()) == set(reference.effective())

    @invariant()
    def gates_and_reports_equal_the_registers(self) -> None:
        """I8: the gates equal the effective constraints; the latest report, if nothing changed since, lists them."""
        if not hasattr(self, "manager"):
            return
        self.run()
        gates = self.admission.policy.gates.by_key
        effective = self.manager.registers.effective()
        assert {key: gate.rule for key, gate in gates.items()} == {k: e.rule for k, e in effective.items()}
        if self.broker.reports and self.manager._reporter._constraints_schedule._changed is None:
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
    [pytest.param(150, marks=pytest.mark.process), pytest.param(5_000, marks=pytest.mark.nightly)],
    ids=["short", "long"],
)
def test_i1_the_engine_converges_whatever_happens(examples: int) -> None:
    """I1, I2, I5, I7, I8 over the real manager: linked and settled, it has exactly the retained set."""
    run_state_machine_as_test(
        EngineControl, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None)
    )
