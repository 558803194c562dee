"""The gates in force: their topics are read, their clocks are watched, and who obeys them learns what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import TypeVar

from cascade.interfaces import Clock, SupportsWatch
from cascade.interfaces.gates import Gate, GateReading
from cascade.runtime._admission.rules import Effective, GateRule, Key, LiveReading
from cascade.runtime._gates.state import GateState, WindowState
from cascade.runtime._gates.topics import GateTopics
from cascade.runtime._gates.values import NoValue, read_value
from cascade.runtime._support.clock import EarliestTimer, earliest

E = TypeVar("E", Effective, Effective | None)

SHOW_VALUES = 5.0
"""Seconds after which a value that has changed, and nothing else, counts as news for a report."""


class _Followed:
    """One gate in force."""

    def __init__(self, gate: Gate, state: GateState | None, reading: GateReading) -> None:
        self.gate = gate
        self.state = state
        """None for a window."""
        self.live = LiveReading(reading)
        self.look_at: float | None = None
        """When it is looked at again, on the monotonic clock."""


class PlantGates:
    """Evaluates gates on the running event loop, between :meth:`start` and :meth:`end`.

    :param watcher: reads the topics; None if there is no network: then only windows open.
    :param changed: called with the gates that hold or open now, when a gate does, or when a report should show something new.
    """

    def __init__(
        self,
        watcher: SupportsWatch | None,
        *,
        clock: Clock,
        changed: Callable[[list[Key]], None],
        context: Context,
    ) -> None:
        self.revision = 0
        """Goes up with every change that a report should show soon."""
        self._clock = clock
        self._changed = changed
        self._gates: dict[Key, _Followed] = {}
        # the gates of each topic
        self._by_topic: dict[str, dict[Key, _Followed]] = {}
        # when readings of which only the value has changed are to be shown
        self._show_at: float | None = None
        self._shown_at = float("-inf")
        self._timer = EarliestTimer(clock, self._on_timer, context=context)
        self._topics = GateTopics(
            watcher, clock=clock, receive=self._receive, lose=self._lose, context=context
        )

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to follow time on this loop."""
        self._timer.start(loop)

    def end(self) -> None:
        """Follow nothing more; cancel the tasks of :meth:`take_readers`. Idempotent."""
        self._timer.stop()
        self._topics.end()
        self._gates.clear()
        self._by_topic.clear()

    def take_readers(self) -> list[asyncio.Task[None]]:
        """Return the asyncio tasks that still end their subscriptions."""
        return self._topics.take_readers()

    def reading(self, key: Key) -> GateReading | None:
        """Return what a gate in force says now, or None."""
        followed = self._gates.get(key)
        return followed.live.reading if followed is not None else None

    def follow(self, constraints: Mapping[Key, E]) -> dict[Key, E]:
        """Follow the gates among constraints; return all constraints, with what the gates say. None: it was lifted."""
        found = dict(constraints)
        for key, effective in constraints.items():
            if effective is None:
                self._forget(key)
            elif isinstance(effective.rule, GateRule):
                found[key] = effective._replace(live=self._follow(key, effective.rule.gate).live)
        return found

    def _follow(self, key: Key, gate: Gate) -> _Followed:
        followed = self._gates.get(key)
        if followed is not None and followed.gate == gate:
            return followed
        # a gate that was changed begins anew, as an unknown one
        self._forget(key)
        state = None if gate.window is not None else GateState(gate, self._clock.monotonic())
        followed = self._gates[key] = _Followed(gate, state, self._read_now(gate, state))
        if state is not None:
            self._by_topic.setdefault(gate.topic, {})[key] = followed
            self._begin(state)
            followed.live.reading = self._read_now(gate, state)
        self.revision += 1
        self._plan(followed)
        self._set_timer([followed])
        return followed

    def _begin(self, state: GateState) -> None:
        """Read the topic of a gate; what another gate's subscription has brought counts as retained."""
        gate, now = state.gate, self._clock.monotonic()
        problem = self._topics.follow(gate.topic)
        last = NoValue(problem) if problem else self._topics.last(gate.topic)
        if isinstance(last, NoValue):
            state.lose(last, now)
        elif last is not None:
            state.receive(read_value(last, gate), now, retained=True)

    def _forget(self, key: Key) -> None:
        followed = self._gates.pop(key, None)
        if followed is None:
            return
        self.revision += 1
        topic = followed.gate.topic
        gates = self._by_topic.get(topic, {})
        gates.pop(key, None)
        if not gates:
            self._by_topic.pop(topic, None)
            self._topics.forget(topic)

    def _receive(self, topic: str, payload: bytes, retained: bool) -> None:
        now = self._clock.monotonic()
        for followed in self._by_topic.get(topic, {}).values():
            if followed.state is not None:
                followed.state.receive(read_value(payload, followed.gate), now, retained=retained)
        self._update(self._by_topic.get(topic, {}))

    def _lose(self, topic: str, why: NoValue) -> None:
        now = self._clock.monotonic()
        for followed in self._by_topic.get(topic, {}).values():
            if followed.state is not None:
                followed.state.lose(why, now)
        self._update(self._by_topic.get(topic, {}))

    def _on_timer(self, late: float) -> None:
        now = self._clock.monotonic()
        self._topics.tick()
        due = {
            key: each for key, each in self._gates.items() if each.look_at is not None and each.look_at <= now
        }
        for followed in due.values():
            if followed.state is not None:
                followed.state.look(now)
        self._update(due)
        self._set_timer(self._gates.values())

    def _update(self, gates: Mapping[Key, _Followed]) -> None:
        """Read gates anew, and pass on what has changed."""
        before = self.revision
        turned = [key for key, followed in gates.items() if self._has_turned(followed)]
        if self._show_at is not None and self._show_at <= self._clock.monotonic():
            self._show()
        for followed in gates.values():
            self._plan(followed)
        self._set_timer(gates.values())
        if turned or self.revision != before:
            self._changed(turned)

    def _has_turned(self, followed: _Followed) -> bool:
        """Read a gate anew; return whether it holds or opens now."""
        before, after = followed.live.reading, self._read_now(followed.gate, followed.state)
        if (after.holds, after.state) != (before.holds, before.state):
            followed.live.reading = after
            self._show()
        elif after.text != before.text:
            followed.live.reading = after._replace(since=before.since)
            self._show_at = self._shown_at + SHOW_VALUES if self._show_at is None else self._show_at
        return after.holds is not before.holds

    def _show(self) -> None:
        self.revision += 1
        self._shown_at, self._show_at = self._clock.monotonic(), None

    def _read_now(self, gate: Gate, state: GateState | None) -> GateReading:
        wall = self._clock.now()
        if state is not None:
            return state.reading()._replace(since=wall)
        assert gate.window is not None
        return WindowState(gate.window).reading(wall)._replace(since=wall)

    def _plan(self, followed: _Followed) -> None:
        if followed.state is not None:
            followed.look_at = followed.state.due()
            return
        assert followed.gate.window is not None
        seconds = WindowState(followed.gate.window).next_look(self._clock.now())
        followed.look_at = self._clock.monotonic() + seconds

    def _set_timer(self, gates: Iterable[_Followed]) -> None:
        at = earliest(self._topics.due(), self._show_at, *(each.look_at for each in gates))
        if at is not None:
            self._timer.set(at)
