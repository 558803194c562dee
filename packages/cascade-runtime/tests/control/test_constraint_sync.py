"""Which registers a retained set removes and which it keeps, tested without a broker: sets, deadlines, stores."""

import json

import pytest
from control_parts import COMPLETE_LIMIT, MAX_PROBLEMS, MAX_REGISTERS, READ_LIMIT, Registers, Sync, SyncState
from fakes import FakeClock

from cascade.interfaces import Complete, Message
from cascade.interfaces.topics import STORE_TOPIC

PAUSE_TOPIC = "cascade/constraints/global/@pause"
LIMIT_TOPIC = "cascade/constraints/global/@concurrency"
PAUSE = b'{"type":"pause"}'
LIMIT = b'{"type":"concurrency","params":{"limit":2}}'


class Bench:
    """A sync whose stream the test controls."""

    def __init__(self, *, named: bool = True) -> None:
        self.clock = FakeClock()
        self.registers = Registers(self.clock)
        self.sync = Sync(self.registers, named=named, clock=self.clock)
        self.sync.opened()

    def receive(
        self, topic: str, payload: bytes = b"{}", *, retain: bool = False, expires_in: float | None = None
    ) -> None:
        self.sync.receive(Message(topic, payload, retain, expires_in))
        self.apply()

    def complete(self, *topics: str, proved: bool = True, forgotten: tuple[str, ...] = ()) -> None:
        self.sync.complete(Complete(proved, frozenset(topics), frozenset(forgotten)))
        self.apply()

    def complete_with(self, topics: frozenset[str]) -> None:
        """Complete with this very set."""
        self.sync.complete(Complete(True, topics))
        self.apply()

    def apply(self) -> None:
        """Apply all changes, as the manager does: while some are left, every register is looked at."""
        self.registers.settle()
        self.registers.take_changes()

    def go_through(
        self, *retained: tuple[str, bytes], store: str = "", forgotten: tuple[str, ...] = ()
    ) -> None:
        """Connect, and receive this retained set."""
        self.sync.linked()
        topics = [topic for topic, _ in retained]
        if store:
            self.receive(STORE_TOPIC, json.dumps({"store": store}).encode(), retain=True)
            topics.append(STORE_TOPIC)
        for topic, payload in retained:
            self.receive(topic, payload, retain=True)
        self.complete(*topics, *forgotten, forgotten=forgotten)

    @property
    def state(self) -> SyncState:
        return self.sync.state

    @property
    def held(self) -> set[str]:
        return set(self.registers.values)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_an_earlier_process_obeyed_is_lifted_by_a_set_that_is_the_same_as_before(bench: Bench) -> None:
    """An engine with a state may join while the link is down; the set that comes back need not have changed."""
    held = frozenset[str]()
    bench.sync.linked()
    bench.complete_with(held)
    bench.sync.lost()
    bench.sync.recall({PAUSE_TOPIC: PAUSE}, None)
    bench.apply()
    assert bench.held == {PAUSE_TOPIC}
    bench.sync.linked()
    bench.complete_with(held)
    assert bench.held == set()
    assert bench.sync.removed == [PAUSE_TOPIC]


def test_what_an_earlier_process_obeyed_is_no_set_of_the_broker(bench: Bench) -> None:
    """It may be read after the link is up: then the broker's set is still awaited, and nothing says that it was lost."""
    bench.sync.linked()
    bench.sync.recall({PAUSE_TOPIC: PAUSE}, "store")
    assert (bench.held, bench.state, bench.sync.has_set) == ({PAUSE_TOPIC}, SyncState.SYNCING, False)


def test_each_message_applies_as_it_arrives(bench: Bench) -> None:
    """A retained pause is in force before the set is complete, also one that arrives before Linked."""
    bench.receive(PAUSE_TOPIC, PAUSE, retain=True)
    bench.sync.linked()
    assert bench.held == {PAUSE_TOPIC}
    bench.receive(LIMIT_TOPIC, LIMIT, retain=True)
    states = [bench.state]
    bench.complete(PAUSE_TOPIC, LIMIT_TOPIC)
    assert bench.held == {PAUSE_TOPIC, LIMIT_TOPIC}
    assert [*states, bench.state] == [SyncState.SYNCING, SyncState.SYNCED]


def test_row_18_a_register_cleared_meanwhile_is_removed(bench: Bench) -> None:
    """Row 18, I2: a register that is missing in the next set was cleared while the engine was away."""
    bench.go_through((PAUSE_TOPIC, PAUSE), (LIMIT_TOPIC, LIMIT))
    bench.sync.lost()
    assert bench.held == {PAUSE_TOPIC, LIMIT_TOPIC}  # until then the known set stays in force
    bench.go_through((LIMIT_TOPIC, LIMIT))
    assert bench.held == {LIMIT_TOPIC}
    assert bench.sync.removed == [PAUSE_TOPIC]


def test_with_too_many_topics_nothing_is_removed(bench: Bench) -> None:
    """If the connector does not know all topics, no register may be taken as cleared."""
    bench.go_through((PAUSE_TOPIC, PAUSE))
    bench.sync.complete(Complete(proved=True, topics=None))
    assert (bench.held, bench.state) == ({PAUSE_TOPIC}, SyncState.SYNCED)


@pytest.mark.parametrize(
    ("named", "proved", "state"),
    [
        (True, True, SyncState.SYNCED),
        (True, False, SyncState.DEGRADED),
        (False, False, SyncState.SYNCED),
    ],
)
def test_a_named_engine_needs_a_proof(named: bool, proved: bool, state: SyncState) -> None:
    """A named engine reports a set without proof as degraded; one without a name has no means to prove it."""
    bench = Bench(named=named)
    bench.receive(PAUSE_TOPIC, PAUSE, retain=True)
    bench.complete(PAUSE_TOPIC, proved=proved)
    assert (bench.state, bench.held, bench.sync.late) == (state, {PAUSE_TOPIC}, False)


def test_row_17_no_complete_set_in_time_is_degraded(bench: Bench) -> None:
    """Row 17: the known set stays, messages that arrived are added, and a late Complete still counts."""
    bench.go_through((LIMIT_TOPIC, LIMIT))
    bench.sync.lost()
    bench.sync.linked()
    bench.receive(PAUSE_TOPIC, PAUSE, retain=True)
    assert bench.sync.due() == bench.clock.ticks + COMPLETE_LIMIT
    bench.clock.ticks += COMPLETE_LIMIT
    assert not bench.sync.tick()
    states = [bench.state]
    assert bench.sync.late
    assert bench.held == {PAUSE_TOPIC, LIMIT_TOPIC}
    bench.complete(PAUSE_TOPIC)
    states.append(bench.state)
    assert states == [SyncState.DEGRADED, SyncState.SYNCED]
    assert bench.held == {PAUSE_TOPIC}
    assert not bench.sync.late


def test_a_stream_that_failed_is_reopened_at_once_and_then_with_back_off(bench: Bench) -> None:
    """The first new stream is opened at once; if that fails too, the next attempt is delayed, up to a minute."""
    pauses = []
    for _ in range(8):
        bench.sync.failed()
        assert bench.sync.reopen_at is not None
        pauses.append(bench.sync.reopen_at - bench.clock.ticks)
        bench.clock.ticks = bench.sync.reopen_at
        assert bench.sync.tick()
        bench.sync.opened()
        bench.sync.linked()
    assert pauses == [0, 2, 4, 8, 16, 32, 60, 60]
    bench.complete()
    bench.sync.failed()
    assert bench.sync.reopen_at == bench.clock.ticks


def test_row_19_a_lost_store_keeps_the_constraints(bench: Bench) -> None:
    """Row 19: when the known identity of the store is gone, the set is kept as stale; messages still apply."""
    bench.go_through((PAUSE_TOPIC, PAUSE), store="A")
    for _ in range(2):
        bench.go_through(store="")
        assert bench.state is SyncState.STALE
        assert bench.held == {PAUSE_TOPIC}
    bench.receive(LIMIT_TOPIC, LIMIT)
    bench.receive(PAUSE_TOPIC, b"")
    assert bench.held == {LIMIT_TOPIC}


def test_row_19_a_canary_that_is_gone_keeps_the_constraints(bench: Bench) -> None:
    """Row 19 without any store identity: what the network has forgotten stays in force as stale until cleared."""
    bench.go_through((PAUSE_TOPIC, PAUSE), (LIMIT_TOPIC, LIMIT))
    bench.go_through(forgotten=(PAUSE_TOPIC, LIMIT_TOPIC))
    assert (bench.state, bench.held) == (SyncState.STALE, {PAUSE_TOPIC, LIMIT_TOPIC})
    assert bench.sync.removed == []
    bench.receive(PAUSE_TOPIC, b"")
    bench.complete(LIMIT_TOPIC, forgotten=(LIMIT_TOPIC,))
    assert (bench.state, bench.held) == (SyncState.STALE, {LIMIT_TOPIC})
    bench.receive(LIMIT_TOPIC, LIMIT)
    bench.complete(LIMIT_TOPIC)
    assert (bench.state, bench.held) == (SyncState.SYNCED, {LIMIT_TOPIC})


@pytest.mark.parametrize("live", [True, False], ids=["live", "in the set"])
@pytest.mark.parametrize("known", ["A", ""], ids=["known", "first"])
def test_a_new_store_ends_stale(bench: Bench, live: bool, known: str) -> None:
    """An operator who starts afresh replaces the set: what the broker does not have is lifted."""
    bench.go_through((PAUSE_TOPIC, PAUSE), (LIMIT_TOPIC, LIMIT), store=known)
    bench.go_through((LIMIT_TOPIC, LIMIT), forgotten=(PAUSE_TOPIC,))
    assert (bench.state, bench.held) == (SyncState.STALE, {PAUSE_TOPIC, LIMIT_TOPIC})
    bench.receive(STORE_TOPIC, b'{"store": "B"}', retain=not live)
    if not live:
        bench.complete(STORE_TOPIC, LIMIT_TOPIC, PAUSE_TOPIC, forgotten=(PAUSE_TOPIC,))
    assert bench.state is SyncState.SYNCED
    assert (bench.held, bench.sync.removed) == ({LIMIT_TOPIC}, [PAUSE_TOPIC])
    bench.sync.store_replaced = False
    bench.complete(STORE_TOPIC, LIMIT_TOPIC)
    assert not bench.sync.store_replaced


def test_another_store_in_the_set_replaces_the_constraints(bench: Bench) -> None:
    """A broker that comes back with another identity has begun anew, also if its canary is gone."""
    bench.go_through((PAUSE_TOPIC, PAUSE), store="A")
    bench.go_through((LIMIT_TOPIC, LIMIT), store="B", forgotten=(PAUSE_TOPIC,))
    assert bench.state is SyncState.SYNCED
    assert bench.sync.store_replaced
    assert bench.held == {LIMIT_TOPIC}


def test_i6_a_too_long_topic_is_kept_shortened(bench: Bench) -> None:
    """I6 in bytes: of a topic of 60,000 characters only the beginning is kept, with the reason of its rejection."""
    longest = f"cascade/constraints/run/{'x' * 1_000}"
    too_long = longest + "x" * 60_000
    bench.go_through((longest, PAUSE), (too_long, PAUSE))
    assert bench.held == {longest}
    (name,) = bench.registers.problems
    assert name == too_long[:1_024] + "…"
    bench.receive(too_long, b"")
    assert bench.registers.problems == {}


def test_i6_a_set_beyond_the_limits_is_counted_the_same_at_each_look(bench: Bench) -> None:
    """I6 during a sync: registers beyond the limit are counted, and not once more at each look."""
    retained = [
        (f"cascade/constraints/task/t{number}", PAUSE) for number in range(MAX_REGISTERS + MAX_PROBLEMS + 500)
    ]
    counts = []
    for _ in range(2):
        bench.go_through(*retained)
        counts.append((len(bench.registers), bench.registers.over_limit))
    assert counts == [(MAX_REGISTERS, MAX_PROBLEMS + 500)] * 2


@pytest.mark.full
def test_a_set_that_takes_the_room_of_another_one_is_fetched_again(bench: Bench) -> None:
    """I1 at the limit: new registers find no room until the old ones are removed, so a new stream is opened."""
    old, new = (
        [(f"cascade/constraints/task/{name}{number}", PAUSE) for number in range(MAX_REGISTERS)]
        for name in ("old", "new")
    )
    bench.go_through(*old)
    bench.go_through(*new)
    assert bench.held == set()
    assert bench.sync.tick()
    bench.sync.opened()
    bench.go_through(*new)
    assert bench.held == {topic for topic, _ in new}
    assert not bench.sync.tick()


def test_more_topics_than_are_remembered_are_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is repeated still removes each register that it lacks."""
    monkeypatch.setattr("cascade.runtime._registers.sync._MAX_HEARD", 3)
    bench, held = Bench(), frozenset([PAUSE_TOPIC])
    bench.receive(PAUSE_TOPIC, PAUSE)
    bench.complete_with(held)
    for n in range(5):
        bench.receive(f"cascade/constraints/task/t{n}/@pause", PAUSE)
    bench.complete_with(held)
    assert bench.held == held


def test_a_standstill_leaves_time_to_read_and_never_takes_any(bench: Bench) -> None:
    """A process that stood still early keeps the rest of the 5 s; one that stood still too long has a second."""
    bench.sync.linked()
    until = bench.clock.ticks + COMPLETE_LIMIT
    bench.clock.ticks += 2
    bench.sync.stood_still()
    assert bench.sync.due() == until
    bench.clock.ticks += 60
    bench.sync.stood_still()
    assert bench.sync.due() == bench.clock.ticks + READ_LIMIT


def test_a_first_store_identity_changes_nothing(bench: Bench) -> None:
    """If it was absent before, the set is taken as usual, without a warning."""
    bench.go_through((PAUSE_TOPIC, PAUSE))
    bench.receive(STORE_TOPIC, b'{"store": "A"}')
    assert not bench.sync.store_replaced
    bench.go_through((LIMIT_TOPIC, LIMIT), store="A")
    assert bench.held == {LIMIT_TOPIC}
    assert not bench.sync.store_replaced
