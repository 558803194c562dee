"""Messages that dead engines and expired registers have left on the broker. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from cascade.cli.durations import show_duration
from cascade.cli.snapshot import PROBE
from cascade.interfaces.topics import parse_state_topic, parse_status_topic
from cascade.ops._home_assistant.device import device_topic, is_device_topic
from cascade.wire import EngineView, Register, View
from cascade.wire.engine_view import ENDED, LOST
from cascade.wire.progress import UNKNOWN

_ENDS = {
    ENDED: "the engine has ended",
    UNKNOWN: "the engine has no birth here, and has not reported since this command began",
}
_SYNC, _CANARY = "cascade/sync/", "/@canary"


@dataclass(frozen=True, slots=True)
class Leftover:
    """One retained message that is no longer needed."""

    topic: str
    why: str


def leftovers(view: View, topics: Collection[str], *, now: float, wall: float) -> Iterator[Leftover]:
    """Yield what can be cleared.

    :param topics: the topics that hold a message.
    :param now: seconds on the clock of the view.
    :param wall: seconds since the epoch.
    """
    online = {engine.source for engine in view.live(now)}
    for _, register in sorted(view.registers.items()):
        if (why := _why(register, view, online, wall)) is not None:
            yield Leftover(register.topic, why)
    known = set(map(device_topic, filter(None, map(source_of, topics))))
    for topic in sorted(topics):
        if is_device_topic(topic) and topic not in known:
            yield Leftover(topic, "the broker knows no engine of this device")
        if is_probe_topic(topic):
            yield Leftover(topic, "a command was killed before it cleared this")
        source = source_of(topic)
        if source and source not in online:
            yield Leftover(topic, _end(view.engines.get(source), now))


def is_probe_topic(topic: str) -> bool:
    """Return whether a command tries retained messages on a topic."""
    return topic.startswith(_SYNC) and topic.rpartition("/")[2].startswith(PROBE)


def source_of(topic: str) -> str:
    """Return the source to which a presence, a report or a canary belongs; empty for any other topic."""
    state = parse_state_topic(topic)
    if state is not None:
        return state[0]
    if topic.startswith(_SYNC) and topic.endswith(_CANARY):
        return parse_status_topic(f"cascade/status/{topic.removeprefix(_SYNC).removesuffix(_CANARY)}") or ""
    return parse_status_topic(topic) or ""


def _why(register: Register, view: View, online: set[str], wall: float) -> str | None:
    if register.expires_at is not None and register.expires_at <= wall:
        return f"the constraint expired {show_duration(wall - register.expires_at)} ago"
    kind, _, run_id = register.scope.partition(":")
    if kind != "run":
        return None
    runs = [run for run in view.runs.values() if run.run_id == run_id]
    over = all(run.status != "Running" or run.source not in online for run in runs)
    return f"the run {run_id} is over" if runs and over else None


def _end(engine: EngineView | None, now: float) -> str:
    return _ENDS.get(LOST if engine is None else engine.status(now), "the engine is lost")
