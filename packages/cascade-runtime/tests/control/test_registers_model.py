"""The control protocol as a model, searched exhaustively: registers R at the broker, a replica E, a queue.

``publish`` writes R and, while connected, the queue; ``deliver`` moves the queue's head into E;
a cut empties the queue; a reconnection brings the retained set. With the real registers as the
replica, Fold(E, queue) = R whenever the link is up. The same search finds what is wrong with
two designs that look reasonable, so it can fail.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import NamedTuple

import pytest
from control_parts import Constraint, Registers, parse
from fakes import FakeClock

OLDER, TYPED = "cascade/constraints/global", "cascade/constraints/global/@concurrency"
PAUSE, ONE, TWO, CLEAR = (
    b'{"type":"pause"}',
    b'{"type":"concurrency","params":{"limit":1}}',
    b'{"type":"concurrency","params":{"limit":2}}',
    b"",
)
WRITES = [(OLDER, PAUSE), (OLDER, ONE), (OLDER, CLEAR), (TYPED, ONE), (TYPED, TWO), (TYPED, CLEAR)]

Table = frozenset[tuple[str, bytes]]
Apply = Callable[[Table, str, bytes], Table]
Sync = Callable[[Table, Table], Table]


class State(NamedTuple):
    """The complete state of the model."""

    broker: Table = frozenset()
    engine: Table = frozenset()
    queue: tuple[tuple[str, bytes], ...] = ()
    up: bool = True


parsed = cache(parse)


def load(table: Table) -> Registers:
    registers = Registers(FakeClock())
    for topic, payload in table:
        registers.apply(topic, parsed(topic, payload))
    return registers


def dump(registers: Registers) -> Table:
    """Return the real registers as the messages that would set them."""
    return frozenset((topic, written(content)) for topic, content in registers.values.items())


def written(content: object) -> bytes:
    assert isinstance(content, Constraint)
    return {"pause": PAUSE}.get(content.rule.type) or (ONE if content.rule.params()["limit"] == 1 else TWO)


def retained(table: Table, topic: str, payload: bytes) -> Table:
    kept = {(t, p) for t, p in table if t != topic}
    return frozenset(kept | ({(topic, payload)} if payload else set()))


@cache
def apply_for_real(table: Table, topic: str, payload: bytes) -> Table:
    registers = load(table)
    registers.apply(topic, parsed(topic, payload))
    return dump(registers)


@cache
def replace_for_real(table: Table, incoming: Table) -> Table:
    registers = load(table)
    for topic, payload in incoming:
        registers.apply(topic, parsed(topic, payload))
    registers.remove({topic for topic, _ in table} - {topic for topic, _ in incoming})
    registers.settle()
    return dump(registers)


def merge(table: Table, incoming: Table) -> Table:
    """A likely mistake: the set that arrives with a reconnection is added to the known registers."""
    for topic, payload in incoming:
        table = retained(table, topic, payload)
    return table


def apply_by_scope_and_type(table: Table, topic: str, payload: bytes) -> Table:
    """Another likely mistake: one register for each scope and type, instead of one for each topic."""
    kind = b"pause" if b"pause" in payload else b"concurrency"
    kept = {(t, p) for t, p in table if t != topic or (payload and kind not in p)}
    return frozenset(kept | ({(topic, payload)} if payload else set()))


def steps(state: State, apply: Apply, sync: Sync) -> Iterator[tuple[str, State]]:
    for topic, payload in WRITES:
        queue = (*state.queue, (topic, payload)) if state.up else ()
        yield (
            f"publish {topic} {payload!r}",
            state._replace(broker=retained(state.broker, topic, payload), queue=queue),
        )
    if state.queue:
        engine = apply(state.engine, *state.queue[0])
        yield "deliver", state._replace(engine=engine, queue=state.queue[1:])
    if state.up:
        yield "cut", state._replace(up=False, queue=())
    else:
        yield "reconnect", state._replace(up=True, engine=sync(state.engine, state.broker))


def folded(engine: Table, queue: Iterable[tuple[str, bytes]], apply: Apply) -> Table:
    for topic, payload in queue:
        engine = apply(engine, topic, payload)
    return engine


def search(depth: int, apply: Apply, sync: Sync, *, quiet_only: bool) -> tuple[int, list[str] | None]:
    """Return the number of states up to ``depth``, and the shortest path to a state that breaks I1."""
    seen = {State()}
    edge: list[tuple[State, list[str]]] = [(State(), [])]
    for _ in range(depth):
        following = []
        for state, way in edge:
            for name, after in steps(state, apply, sync):
                if after in seen:
                    continue
                seen.add(after)
                looked_at = after.up and not (quiet_only and after.queue)
                if looked_at and folded(after.engine, after.queue, apply) != after.broker:
                    return len(seen), [*way, name]
                following.append((after, [*way, name]))
        edge = following
    return len(seen), None


@pytest.mark.process
@pytest.mark.parametrize("depth", [6, pytest.param(8, marks=pytest.mark.nightly)])
def test_i1_the_replica_converges(depth: int) -> None:
    """I1 convergence: in every state up to this depth, the queue folded into the registers gives R."""
    states, way = search(depth, apply_for_real, replace_for_real, quiet_only=False)
    assert way is None
    assert states > 1_000


def test_merging_instead_of_replacing_is_detected_in_five_steps() -> None:
    """A clear that was sent while the link was cut leaves no message behind: merging keeps the register."""
    _, way = search(6, apply_for_real, merge, quiet_only=True)
    assert way is not None
    names = sorted(step.split()[0] for step in way)
    assert names == ["cut", "deliver", "publish", "publish", "reconnect"]


def test_registers_by_scope_and_type_are_detected_in_four_steps() -> None:
    """One topic that changes its type holds one constraint at the broker, and two in such an engine."""
    _, way = search(6, apply_by_scope_and_type, replace_for_real, quiet_only=True)
    assert way is not None
    assert len(way) == 4
    assert [step.split()[0] for step in way].count("publish") == 2
