"""The retained set, step by step and against brokers that do what they like."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.interfaces.topics import canary_topic, matches, sync_topic
from cascade.interfaces.watch import Complete
from cascade.transport.retained_proof import known_topics, retained_set
from cascade.transport.retained_proof.known_topics import Canary
from cascade.transport.retained_proof.retained_set import (
    Action,
    Publish,
    RetainedSet,
    Subscribe,
    Unproved,
    Unsubscribe,
)

SOURCE = "press-line-3"
ALL = "c/#"
CANARY = canary_topic(SOURCE)


def nonces() -> Iterator[str]:
    return (f"n{number}" for number in itertools.count())


def new_set(*, named: bool = True, filters: tuple[str, ...] = (ALL,)) -> RetainedSet:
    numbers = nonces()
    canary = Canary() if named else None
    return RetainedSet(filters, source=SOURCE, canary=canary, new_nonce=lambda: next(numbers))


class Desk:
    """Drives a set by hand: what arrives, and what the set wants done."""

    def __init__(self, *, named: bool = True, filters: tuple[str, ...] = (ALL,)) -> None:
        self.set = new_set(named=named, filters=filters)
        self.now = 0.0
        self.actions = self.set.begin(0.0)

    def hear(self, topic: str, *, empty: bool = False, retain: bool = True) -> bool:
        passed, self.actions = self.set.hear(topic, empty=empty, retain=retain, now=self.now)
        return passed

    def echo(self) -> None:
        """Send back the last nonce."""
        self.hear(sync_topic(SOURCE, self.set._check.nonce), retain=False)

    def wait(self) -> None:
        """Wait until the set wants the time."""
        due = self.set.due()
        assert due is not None
        assert due > self.now
        self.now = due
        self.actions = self.set.tick(due)

    def check_again(self) -> None:
        self.now += retained_set.INTERVAL
        self.actions = self.set.begin(self.now)

    def establish(self, *topics: str) -> None:
        """Bring a fresh named set to its first complete check."""
        self.echo()
        for topic in topics:
            self.hear(topic)
        self.hear(CANARY)
        self.echo()
        assert self.actions[-1] == Complete(True, frozenset(topics))


def lose_canary(desk: Desk) -> None:
    """Look at a broker that has lost its store, until the set is complete."""
    desk.check_again()
    while not any(isinstance(action, Publish) and action.topic == CANARY for action in desk.actions):
        desk.echo()
        if not desk.actions:
            desk.wait()
    desk.hear(CANARY)
    desk.echo()


def of(actions: list[Action], kind: type[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]


def test_a_check_subscribes_to_everything_in_one_packet_and_then_sends_its_nonce() -> None:
    """The watcher's own sync topics come last, so that the canary is sent behind the set."""
    desk = Desk(filters=("c/global", ALL))
    assert desk.actions == [
        Subscribe(("c/global", ALL, f"cascade/sync/{SOURCE}/+")),
        Publish(sync_topic(SOURCE, "n0"), {}),
    ]


def test_a_subscribe_that_a_lost_link_left_unanswered_holds_no_later_check() -> None:
    """No answer to it will come on the next link."""
    desk = Desk()
    desk.set.asked()
    desk.set.lost()
    desk.actions = desk.set.begin(desk.now)
    desk.establish("c/a")


@pytest.mark.parametrize("named", [True, False])
def test_an_echo_counts_when_the_broker_has_answered_the_subscribe(named: bool) -> None:
    """A nonce does not wait for that answer; a filter may be refused in it, and a message may come in between."""
    desk = Desk(named=named)
    desk.set.asked()
    desk.hear("c/a")
    if named:
        desk.hear(CANARY)
    desk.echo()
    assert desk.actions == []
    assert not desk.hear(sync_topic(SOURCE, "n0"), retain=False)
    desk.hear("c/b", retain=False)
    desk.actions = desk.set.answered(desk.now)
    if not named:
        assert len(of(desk.actions, Publish)) == 1
        desk.echo()
    assert desk.actions == [Complete(named, frozenset({"c/a", "c/b"}))]


def test_a_set_behind_an_echo_that_waits_is_out_of_order() -> None:
    """Such a broker echoes early: the check then waits until nothing retained arrives."""
    desk = Desk(named=False)
    desk.set.asked()
    desk.echo()
    desk.hear("c/a")
    desk.actions = desk.set.answered(desk.now)
    desk.echo()
    assert desk.actions == []
    desk.wait()
    assert desk.actions == [Complete(False, frozenset({"c/a"}))]


def test_live_requests_are_passed_on_whatever_their_flag_and_leave_no_topic_to_ask_for_again() -> None:
    """With MQTT 5 a live request shows whether it is retained; asking again by name would bring the next one twice."""
    desk = Desk(filters=("cascade/requests/press/+",))
    desk.establish()
    topic = "cascade/requests/press/audit"
    assert [desk.hear(topic, retain=kept) for kept in (False, True, False, True)] == [True] * 4
    assert desk.hear(topic, empty=True)
    desk.hear(topic, retain=False)
    desk.check_again()
    desk.hear(CANARY)
    desk.echo()
    assert desk.actions == [Complete(True, frozenset())]
    desk.hear(topic)
    desk.check_again()
    desk.hear(CANARY)
    desk.echo()
    assert of(desk.actions, Subscribe) == [Subscribe((topic,))]


def test_a_large_recheck_goes_out_in_packets_of_two_hundred() -> None:
    desk = Desk()
    topics = [f"c/{n}" for n in range(450)]
    desk.establish(*topics)
    desk.check_again()
    desk.hear(CANARY)
    desk.echo()
    assert [len(a.filters) for a in desk.actions if isinstance(a, Subscribe)] == [200, 200, 50]


def test_a_canary_that_was_lost_means_that_nothing_missing_was_cleared() -> None:
    """Every later set names it too, until a message on the topic comes."""
    desk = Desk()
    desk.establish("c/a", "c/b")
    lose_canary(desk)
    both = frozenset({"c/a", "c/b"})
    assert desk.actions == [Complete(True, both, both)]
    desk.check_again()
    desk.hear(CANARY)
    desk.echo()
    assert desk.actions == [Complete(True, both, both)]
    desk.hear("c/a", retain=False)
    desk.hear("c/b", empty=True, retain=False)
    desk.check_again()
    desk.hear("c/a")
    desk.hear(CANARY)
    desk.echo()
    assert desk.actions == [Complete(True, frozenset({"c/a"}))]


def test_a_withheld_canary_is_reported_and_proves_nothing() -> None:
    desk = Desk()
    warned: list[Action] = []
    for _ in range(200):
        desk.echo()
        warned += of(desk.actions, Unproved)
        if done := of(desk.actions, Complete):
            break
        if not desk.actions:
            desk.wait()
    assert len(warned) == 1
    assert done == [Complete(False, frozenset())]
    due = desk.set.due()
    assert due is not None
    assert due - desk.now == retained_set.RETRY


def test_a_blocked_event_loop_is_not_taken_for_a_withheld_canary() -> None:
    """Time passes while nothing is read; the canary still has to miss several echoes in a row."""
    desk = Desk()
    desk.echo()
    for _ in range(3):
        desk.now += 10 * retained_set.CANARY_LIMIT
        desk.echo()
        assert of(desk.actions, Unproved) == of(desk.actions, Complete) == []
        desk.wait()
    desk.hear(CANARY)
    desk.echo()
    assert desk.actions == [Complete(True, frozenset())]


def test_a_lost_link_asks_for_nothing_until_it_is_back() -> None:
    desk = Desk()
    desk.set.lost()
    assert desk.set.due() is None
    assert desk.set.tick(1e9) == []
    assert desk.set.extend(["c/run"], 0.0) == []
    assert "c/run" in desk.set.filters
    assert desk.set.shrink(["c/run"]) == []
    assert "c/run" not in desk.set.filters


def test_beyond_its_bound_nothing_is_taken_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_topics, "MAX_TOPICS", 3)
    desk = Desk(named=False)
    for n in range(5):
        desk.hear(f"c/{n}")
    desk.echo()
    desk.echo()
    assert desk.actions == [Complete(False, None)]
    desk.check_again()
    for n in range(3):
        desk.hear(f"c/{n}")
    desk.echo()
    desk.echo()
    assert desk.actions == [Complete(False, frozenset({"c/0", "c/1", "c/2"}))]  # it is within the bound again


def test_an_extension_before_a_check_has_ended_leaves_the_check_to_later() -> None:
    """A check that was interrupted is begun anew as a whole."""
    desk = Desk()
    desk.set.interrupt()
    assert desk.set.extend(["d/run"], 0.0) == [Subscribe(("d/run",))]
    assert not desk.set.checking


@pytest.mark.parametrize("quiet", [False, True])
def test_an_extension_whose_echo_does_not_come_is_not_complete(quiet: bool) -> None:
    """The whole check is begun again later."""
    desk = Desk(named=False)
    if quiet:
        desk.echo()
        desk.hear("c/a")
    desk.echo()
    desk.echo()
    if quiet:
        assert desk.actions == []
    desk.set.extend(["d/run"], desk.now)
    due = desk.set.due()
    assert due == desk.now + retained_set.ECHO_LIMIT
    desk.wait()
    assert desk.actions == []
    assert not desk.set.checking
    assert desk.set.due() == due + retained_set.RETRY
    desk.wait()
    assert desk.actions[0] == Subscribe(("d/run", ALL, f"cascade/sync/{SOURCE}/+"))


def test_a_canary_that_never_came_back_before_shows_no_loss_of_the_store() -> None:
    """The broker begins to keep retained messages: what is missing is asked for by its name, and may be gone."""
    desk = Desk()
    desk.hear("c/a")
    while not of(desk.actions, Complete):
        desk.echo()
        if not desk.actions:
            desk.wait()
    assert of(desk.actions, Complete) == [Complete(False, frozenset({"c/a"}))]
    lose_canary(desk)
    assert desk.actions[0] == Subscribe(("c/a",))
    desk.echo()
    assert desk.actions[-1] == Complete(True, frozenset())


def test_two_watches_of_a_name_both_learn_that_the_store_was_lost() -> None:
    """The first one to check publishes the canary again; the second one finds it there."""
    numbers, canary = nonces(), Canary()
    first, second = Desk(), Desk()
    for desk in (first, second):
        desk.set = RetainedSet((ALL,), source=SOURCE, canary=canary, new_nonce=lambda: next(numbers))
        desk.actions = desk.set.begin(0.0)
        desk.hear("c/a")
        desk.hear(CANARY)
        desk.echo()
        assert desk.actions == [Complete(True, frozenset({"c/a"}))]
    lost = Complete(True, frozenset({"c/a"}), frozenset({"c/a"}))
    lose_canary(first)
    assert first.actions == [lost]
    second.check_again()
    second.hear(CANARY)
    second.echo()
    assert second.actions == [lost]


def test_looks_that_are_not_proved_become_rarer() -> None:
    """Each of them makes the broker send the whole set; a proved one, or a new link, ends that."""
    desk = Desk()
    pauses = []
    for _ in range(4):
        desk.set.postpone(desk.now)
        due = desk.set.due()
        assert due is not None
        pauses.append(due - desk.now)
    assert pauses == [10.0, 20.0, 40.0, 60.0]
    desk.set.lost()
    desk.set.begin(0.0)
    desk.set.postpone(0.0)
    assert desk.set.due() == retained_set.RETRY


# Brokers that do what they like. The reader below does what Complete says; the broker may answer
# late, cut, withhold, lose its store or its link; writers publish and clear at any moment.


class AnyBroker:
    """A broker, its link and a reader, in one process and without time of its own."""

    def __init__(self, chance: random.Random, *, named: bool, odd: bool) -> None:
        self.chance = chance
        self.wildcards = not odd or chance.random() < 0.5
        self.late = odd and chance.random() < 0.5
        self.limit = chance.choice((1, 2, 5)) if odd and chance.random() < 0.5 else None
        self.retained: dict[str, bytes] = {}
        self.filters: dict[str, None] = {}
        self.up: deque[Action] = deque()
        self.down: deque[tuple[str, bytes, bool]] = deque()
        self.waiting: deque[tuple[float, str, bytes]] = deque()
        self.answers = 0
        """SUBACKs that the client has received and not looked at: its task comes later than the messages behind them."""
        self.linked = False
        self.now = 0.0
        self.set = new_set(named=named, filters=("c/0", ALL))
        self.known: dict[str, bytes] = {}
        self.untouched: set[str] = set()
        """Topics that the reader knows and that have held a message at the broker ever since."""
        self.completed = 0

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Complete):
                self.complete(action)
            elif not isinstance(action, Unproved):
                self.up.append(action)
                if isinstance(action, Subscribe):
                    self.set.asked()

    def complete(self, complete: Complete) -> None:
        self.completed += 1
        if complete.topics is None:
            return
        lifted = self.known.keys() - complete.topics
        assert not lifted & self.untouched, f"lifted {lifted & self.untouched}"
        for topic in lifted:
            del self.known[topic]

    def write(self, topic: str, payload: bytes) -> None:
        if payload:
            self.retained[topic] = payload
        else:
            self.retained.pop(topic, None)
            self.untouched.discard(topic)
        if self.linked and any(matches(each, topic) for each in self.filters):
            self.down.append((topic, payload, False))

    def serve(self) -> None:
        """Take in one packet of the client."""
        if not self.up:
            return
        action = self.up.popleft()
        if isinstance(action, Subscribe):
            self.answers += 1
            self.filters |= dict.fromkeys(action.filters)
            found = [
                (topic, payload)
                for each in action.filters
                if self.wildcards or not each.endswith(("#", "+"))
                for topic, payload in self.retained.items()
                if matches(each, topic)
            ][: self.limit]
            for topic, payload in found:
                if self.late:
                    self.waiting.append((self.now, topic, payload))
                else:
                    self.down.append((topic, payload, True))
        elif isinstance(action, Unsubscribe):
            for each in action.filters:
                self.filters.pop(each, None)
        elif isinstance(action, Publish):
            if action.retain:
                self.retained[action.topic] = b"x"
            self.down.append((action.topic, b"x", False))

    def answer(self) -> None:
        """Let the client check at a SUBACK."""
        if self.answers:
            self.answers -= 1
            self.do(self.set.answered(self.now))

    def answer_late(self) -> None:
        if self.waiting:
            _, topic, payload = self.waiting.popleft()
            self.down.append((topic, payload, True))

    def deliver(self) -> None:
        if not self.down:
            return
        topic, payload, retain = self.down.popleft()
        passed, actions = self.set.hear(topic, empty=not payload, retain=retain, now=self.now)
        if passed and payload:
            self.known[topic] = payload
            if topic in self.retained:
                self.untouched.add(topic)
        elif passed:
            self.known.pop(topic, None)
            self.untouched.discard(topic)
        self.do(actions)

    def cut(self) -> None:
        self.linked = False
        self.filters.clear()
        self.up.clear()
        self.down.clear()
        self.waiting.clear()
        self.answers = 0
        self.set.lost()

    def link(self) -> None:
        if not self.linked:
            self.linked = True
            self.do(self.set.begin(self.now))

    def lose_store(self) -> None:
        self.retained.clear()
        self.untouched.clear()

    def drain(self) -> None:
        """Bring everything under way to its end; a late answer comes before the next moment."""
        while self.up or self.down or self.waiting or self.answers:
            self.serve()
            if self.chance.random() < 0.5:
                self.answer()
            self.answer_late()
            self.deliver()

    def pass_time(self) -> None:
        """Go to the next moment at which something is due."""
        self.drain()
        due = self.set.due()
        if due is not None:
            self.now = max(self.now, due)
            self.do(self.set.tick(self.now))

    def settle(self) -> None:
        """Let one more check begin and end."""
        self.link()
        before = self.completed
        for _ in range(500):
            self.drain()
            if self.completed > before + 1:
                return
            self.pass_time()
        raise AssertionError("no check has ended")


def moves(broker: AnyBroker, steps: int, *, store: bool) -> None:
    """Make random moves."""
    topics = [f"c/{n}" for n in range(6)]
    choices = [
        lambda: broker.write(broker.chance.choice(topics), str(broker.chance.random()).encode()),
        lambda: broker.write(broker.chance.choice(topics), b""),
        *[broker.serve] * 4,
        *[broker.deliver] * 6,
        *[broker.answer_late] * 3,
        *[broker.answer] * 3,
        broker.pass_time,
        broker.cut,
        broker.link,
        *([broker.lose_store] if store else []),
    ]
    for _ in range(steps):
        broker.chance.choice(choices)()


@given(seed=st.integers(0, 2**32), named=st.booleans(), odd=st.booleans(), store=st.booleans())
@settings(max_examples=150, deadline=None)
def test_nothing_is_lifted_but_by_its_clear_or_a_recheck(
    seed: int, named: bool, odd: bool, store: bool
) -> None:
    """Whatever the broker does, a topic that has held a message all the time stays in the set."""
    broker = AnyBroker(random.Random(seed), named=named, odd=odd)
    moves(broker, 300, store=store)
    broker.settle()


@given(seed=st.integers(0, 2**32), named=st.booleans())
@settings(max_examples=150, deadline=None)
def test_on_a_correct_broker_the_reader_ends_with_its_retained_set(seed: int, named: bool) -> None:
    """I1: linked, in sync, nothing in flight: the reader holds what the broker holds."""
    broker = AnyBroker(random.Random(seed), named=named, odd=False)
    moves(broker, 300, store=False)
    broker.settle()
    assert broker.known == {t: p for t, p in broker.retained.items() if t.startswith("c/")}


@pytest.mark.parametrize(
    ("filters", "passed"),
    [
        ((ALL,), False),
        (("#",), False),
        (("cascade/sync/#",), True),
        ((f"cascade/sync/{SOURCE}/+", ALL), True),
    ],
)
def test_own_sync_topics_reach_a_reader_that_asked_for_them(filters: tuple[str, ...], passed: bool) -> None:
    """A filter that only happens to cover them does not bring them."""
    desk = Desk(filters=filters)
    assert desk.hear(CANARY) is passed
    assert desk.hear(sync_topic(SOURCE, "n0"), retain=False) is passed
