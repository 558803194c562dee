"""When the registers are replaced, decided without a broker: echoes, deadlines, stores."""

import json

import pytest
from stand_ins import FakeClock

from cascade.interfaces import Message
from cascade.interfaces.topics import STORE_TOPIC
from cascade.runtime.constraints.registers import MAX_REGISTERS, MAX_REJECTIONS, Registers
from cascade.runtime.constraints.sync import ECHO_LIMIT, INTERVAL, Sync, SyncState

PAUSE_TOPIC = "cascade/constraints/global/@pause"
LIMIT_TOPIC = "cascade/constraints/global/@concurrency"
PAUSE = b'{"type":"pause"}'
LIMIT = b'{"type":"concurrency","params":{"limit":2}}'


class Bench:
    """A sync whose stream is played by the test."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registers = Registers(self.clock)
        self.sync = Sync(self.registers, source="me", token="mine", clock=self.clock)
        self.sync.opened()

    def hear(
        self, topic: str, payload: bytes = b"{}", *, retain: bool = False, expires_in: float | None = None
    ) -> bool:
        completed = self.sync.hear(Message(topic, payload, retain, expires_in))
        self.registers.settle()
        return completed

    def go_through(self, *retained: tuple[str, bytes], store: str = "") -> None:
        """Go through one sync that brings this set."""
        self.sync.opened()
        if store:
            self.hear(STORE_TOPIC, json.dumps({"store": store}).encode(), retain=True)
        nonce = self.sync.linked()
        for topic, payload in retained:
            self.hear(topic, payload, retain=True)
        assert self.hear(nonce)

    @property
    def state(self) -> SyncState:
        return self.sync.state

    @property
    def held(self) -> set[str]:
        return set(self.registers.values)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_only_the_echo_puts_the_set_in_force(bench: Bench) -> None:
    """The retained set is in force as a whole, from the moment of the echo, also what came before Linked."""
    bench.hear(PAUSE_TOPIC, PAUSE, retain=True)
    nonce = bench.sync.linked()
    bench.hear(LIMIT_TOPIC, LIMIT, retain=True)
    assert bench.held == set()
    states = [bench.state]
    assert bench.hear(nonce)
    assert bench.held == {PAUSE_TOPIC, LIMIT_TOPIC}
    assert [*states, bench.state] == [SyncState.SYNCING, SyncState.SYNCED]


def test_row_18_what_was_cleared_meanwhile_is_gone(bench: Bench) -> None:
    """Row 18: a register that the next set lacks was cleared while the engine was away."""
    bench.go_through((PAUSE_TOPIC, PAUSE), (LIMIT_TOPIC, LIMIT))
    bench.sync.lost()
    assert bench.held == {PAUSE_TOPIC, LIMIT_TOPIC}  # until then the known set stays in force
    bench.go_through((LIMIT_TOPIC, LIMIT))
    assert bench.held == {LIMIT_TOPIC}


def test_foreign_and_old_echoes_do_not_count(bench: Bench) -> None:
    """Only the echo of this engine's latest nonce ends a sync."""
    old = bench.sync.linked()
    bench.sync.lost()
    bench.sync.opened()
    nonce = bench.sync.linked()
    assert nonce != old
    for topic in (old, "cascade/sync/me/other-1", "cascade/sync/you/mine-2"):
        assert not bench.hear(topic)
    assert bench.hear(nonce)
    assert not bench.hear(nonce)


def test_a_live_message_during_a_sync_is_obeyed_at_once(bench: Bench) -> None:
    """A pause sent while a great set is still arriving does not wait for its end."""
    nonce = bench.sync.linked()
    bench.hear(PAUSE_TOPIC, PAUSE)
    assert bench.held == {PAUSE_TOPIC}
    bench.hear(nonce)
    assert bench.held == {PAUSE_TOPIC}


def test_a_live_message_is_newer_than_a_retained_one_that_follows(bench: Bench) -> None:
    """A clear that overtakes the retained message it cleared keeps it cleared."""
    nonce = bench.sync.linked()
    bench.hear(PAUSE_TOPIC, b"")
    bench.hear(PAUSE_TOPIC, PAUSE, retain=True)
    bench.hear(nonce)
    assert bench.held == set()


def test_row_17_no_echo_in_time_is_degraded(bench: Bench) -> None:
    """Row 17: without its echo the known set stays, what arrived is added, and a late echo still counts."""
    bench.go_through((LIMIT_TOPIC, LIMIT))
    bench.sync.opened()
    nonce = bench.sync.linked()
    bench.hear(PAUSE_TOPIC, PAUSE, retain=True)
    assert bench.sync.due() == bench.clock.ticks + ECHO_LIMIT
    bench.clock.ticks += ECHO_LIMIT
    assert not bench.sync.tick()
    bench.registers.settle()
    states = [bench.state]
    assert bench.held == {PAUSE_TOPIC, LIMIT_TOPIC}
    assert bench.hear(nonce)
    states.append(bench.state)
    assert states == [SyncState.DEGRADED, SyncState.SYNCED]
    assert bench.held == {PAUSE_TOPIC}


def test_a_degraded_sync_is_tried_again_less_and_less_often(bench: Bench) -> None:
    """The pauses grow up to a minute."""
    pauses = []
    for _ in range(6):
        bench.sync.opened()
        bench.sync.linked()
        bench.clock.ticks += ECHO_LIMIT
        assert not bench.sync.tick()
        due = bench.sync.due()
        assert due is not None
        pauses.append(due - bench.clock.ticks)
        bench.clock.ticks = due
        assert bench.sync.tick()
    assert pauses == [5, 10, 20, 40, 60, 60]


def test_a_link_that_stays_up_is_synced_every_minute(bench: Bench) -> None:
    """60 s after a sync the next one is due, and until its echo nothing changes."""
    bench.go_through((PAUSE_TOPIC, PAUSE))
    assert bench.sync.due() == bench.clock.ticks + INTERVAL
    bench.clock.ticks += INTERVAL
    assert bench.sync.tick()
    bench.sync.opened()
    bench.sync.linked()
    assert bench.state is SyncState.SYNCED
    assert bench.held == {PAUSE_TOPIC}


def test_what_was_lost_calls_for_a_sync_at_once_and_then_less_often(bench: Bench) -> None:
    """After Lost a new stream is opened at once; if that is lost too, a storm does not follow."""
    bench.go_through()
    pauses = []
    for _ in range(4):
        bench.sync.lost()
        assert bench.sync.reopen_at is not None
        pauses.append(bench.sync.reopen_at - bench.clock.ticks)
        bench.sync.opened()
        bench.sync.linked()
    assert pauses == [0, 2, 4, 8]
    assert bench.state is SyncState.SYNCING


def test_row_19_a_broker_that_lost_its_store_lifts_nothing(bench: Bench) -> None:
    """Row 19: the store's known identity is gone, so the set is kept and stale; messages still apply."""
    bench.go_through((PAUSE_TOPIC, PAUSE), store="A")
    bench.go_through(store="")
    assert bench.state is SyncState.STALE
    assert bench.held == {PAUSE_TOPIC}
    bench.hear(LIMIT_TOPIC, LIMIT)
    bench.hear(PAUSE_TOPIC, b"")
    assert bench.held == {LIMIT_TOPIC}


def test_a_store_that_comes_back_ends_stale(bench: Bench) -> None:
    """The same identity again, or a new one, is seen at once and the set is asked for anew."""
    bench.go_through((PAUSE_TOPIC, PAUSE), store="A")
    bench.go_through()
    bench.hear(STORE_TOPIC, b'{"store": "B"}')
    assert bench.sync.tick()
    bench.go_through((LIMIT_TOPIC, LIMIT), store="B")
    assert bench.state is SyncState.SYNCED
    assert bench.sync.began_anew
    assert bench.held == {LIMIT_TOPIC}
    bench.go_through((LIMIT_TOPIC, LIMIT), store="B")
    assert not bench.sync.began_anew


def test_a_first_identity_changes_nothing(bench: Bench) -> None:
    """Absent, then present: the set is replaced as ever, and nobody is warned."""
    bench.go_through((PAUSE_TOPIC, PAUSE))
    bench.hear(STORE_TOPIC, b'{"store": "A"}')
    assert not bench.sync.tick()
    bench.go_through((LIMIT_TOPIC, LIMIT), store="A")
    assert bench.held == {LIMIT_TOPIC}
    assert not bench.sync.began_anew


@pytest.mark.parametrize(
    "payload",
    [b"?", b"[]", b'{"store": 1}', b"[" * 50_000, b'{"store": "B", "x": "%s"}' % (b"x" * 65_536)],
    ids=["garbage", "list", "number", "deep", "long"],
)
def test_an_identity_that_cannot_be_read_is_no_change(bench: Bench, payload: bytes) -> None:
    """Garbage on the store's topic is neither a loss nor a new store."""
    bench.go_through((PAUSE_TOPIC, PAUSE), store="A")
    bench.sync.opened()
    bench.hear(STORE_TOPIC, payload, retain=True)
    bench.hear(bench.sync.linked())
    assert bench.state is SyncState.SYNCED
    assert not bench.sync.began_anew


def test_row_23_what_is_left_counts_from_when_it_arrived(bench: Bench) -> None:
    """Row 23: that the set was complete only later prolongs nothing."""
    nonce = bench.sync.linked()
    bench.hear(PAUSE_TOPIC, PAUSE, retain=True, expires_in=30.0)
    arrived = bench.clock.ticks
    bench.clock.ticks += 4
    bench.hear(nonce)
    assert bench.registers.next_expiry() == arrived + 30


def test_a_link_that_comes_late_is_given_its_time(bench: Bench) -> None:
    """Without a link nothing answers, which is degraded; with it the set is awaited as ever."""
    bench.clock.ticks += ECHO_LIMIT
    bench.sync.tick()
    states = [bench.state]
    nonce = bench.sync.linked()
    states.append(bench.state)
    bench.hear(nonce)
    assert [*states, bench.state] == [SyncState.DEGRADED, SyncState.SYNCING, SyncState.SYNCED]


def test_i6_a_topic_that_is_too_long_is_put_aside_cut(bench: Bench) -> None:
    """I6 in bytes: of a topic of 60,000 characters its beginning is remembered, with the reason, as nobody else's."""
    longest = f"cascade/constraints/run/{'x' * 1_000}"
    too_long = longest + "x" * 60_000
    bench.sync.opened()
    bench.hear(longest, PAUSE, retain=True)
    bench.hear(too_long, PAUSE, retain=True)
    assert bench.sync._staged is not None
    assert max(map(len, bench.sync._staged)) == 1_025
    bench.hear(bench.sync.linked())
    assert bench.held == {longest}
    (name,) = bench.registers.rejections
    assert name == too_long[:1_024] + "…"
    bench.hear(too_long, b"")
    assert bench.registers.rejections == {}


def test_i6_what_is_put_aside_is_bounded(bench: Bench) -> None:
    """I6 for a set on its way: no more is put aside than could be kept, and the rest is counted."""
    bench.sync.opened()
    for number in range(MAX_REGISTERS + MAX_REJECTIONS + 500):
        bench.hear(f"cascade/constraints/task/t{number}", PAUSE, retain=True)
    bench.hear(bench.sync.linked())
    assert len(bench.registers) == MAX_REGISTERS
    assert bench.registers.over_limit == MAX_REJECTIONS + 500
