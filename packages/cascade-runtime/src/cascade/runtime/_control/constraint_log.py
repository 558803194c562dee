"""Log lines about constraints: bad messages, pauses, and what a sync has removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from cascade.interfaces import Clock
from cascade.interfaces.logs import get_logger
from cascade.interfaces.topics import state_topic
from cascade.runtime._admission.rules import Effective, Key, Pause
from cascade.runtime._registers.notices import Notice
from cascade.runtime._registers.registers import Registers
from cascade.runtime._registers.sync import Sync, SyncState
from cascade.runtime._support.text import printable

LINES_PER_MINUTE = 10
"""The most warnings about messages, and the most lines about pauses, within a minute."""
QUIET = 3_600.0
"""Seconds in which the same warning about the same topic is not repeated."""

_MAX_REMEMBERED = 1_000
_MAX_NAMED = 10  # constraints that one warning names

_log = get_logger("cascade.constraints")

_LATE = (
    "the broker does not answer the constraint sync; known constraints stay in force. "
    "Check that the broker is up and that its ACL permits cascade/sync/#"
)
_STALE = (
    "the broker has lost its retained messages; these constraints stay in force until a command publishes a new "
    "one there: %s. Publish again what is still needed"
)


class _MinuteLimit:
    """Permits a number of lines within a minute. No I/O."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = -60.0
        self._lines = 0

    def take(self) -> int:
        """Count one more line; return how many the current minute has now."""
        now = self._clock.monotonic()
        if now - self._began >= 60.0:
            self._began, self._lines = now, 0
        self._lines += 1
        return self._lines


class ControlLog:
    """Logs what happens to the constraints of one engine; every line names its source.

    Anyone who may write to a constraint topic can cause such lines, so their number is bounded.
    """

    def __init__(self, source: str, *, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._logged: dict[Notice, float] = {}
        self._warnings = _MinuteLimit(clock)
        self._infos = _MinuteLimit(clock)
        self._paused: dict[Key, str] = {}

    def notice(self, notice: Notice) -> None:
        """Log a warning about a message, once for each topic and cause."""
        now = self._clock.monotonic()
        logged_at = self._logged.get(notice)
        if logged_at is not None and now - logged_at < QUIET:
            return
        if len(self._logged) >= _MAX_REMEMBERED:
            del self._logged[next(iter(self._logged))]
        self._logged[notice] = now
        lines = self._warnings.take()
        if lines < LINES_PER_MINUTE:
            _log.warning("%s: %s %s", self._source, printable(notice.topic), notice.text)
        elif lines == LINES_PER_MINUTE:
            _log.warning(
                "%s: there are more such messages on constraint topics; they are not logged for a minute, "
                "%s lists them",
                self._source,
                state_topic(self._source, "constraints"),
            )

    def changed(self, changes: Mapping[Key, Effective | None], registers: Registers) -> None:
        """Log which pauses have come into force and which were lifted."""
        for key, effective in changes.items():
            if key[1] != Pause.type or (effective is not None) == (key in self._paused):
                continue
            if effective is None:
                self._info("%s: %s is resumed, %s was lifted", key[0], self._paused.pop(key))
                continue
            register = registers.get(effective.topic)
            label = register.content.id if register is not None and register.content is not None else ""
            self._paused[key] = effective.topic
            self._info("%s: %s is paused by %s (%s)", key[0], effective.topic, label)

    def recalled(self, topics: Collection[str]) -> None:
        """Log which constraints of an earlier process are in force before the broker has answered."""
        if topics:
            _log.warning(
                "%s: these constraints are in force because the last process obeyed them, until the broker's "
                "replace them: %s. To begin without them: forget_control=True, or cascade run --forget-control",
                self._source,
                _named(topics),
            )

    def forgotten(self, topics: Collection[str]) -> None:
        """Log which constraints of an earlier process are not obeyed, because the user said so."""
        _log.warning(
            "%s: the constraints that the last process obeyed are forgotten: %s",
            self._source,
            _named(topics) or "there were none",
        )

    def removed_by_sync(self, topics: Iterable[str]) -> None:
        """Log that the broker no longer has registers that were in force here."""
        named = _named(topics)
        if not named:
            return
        _log.warning(
            "%s: the broker no longer has these constraints, they are lifted: %s. If they were not "
            "cleared meanwhile, publish them again",
            self._source,
            named,
        )

    def store_replaced(self, topics: Iterable[str]) -> None:
        """Log which constraints in force a broker with another store than before has lifted."""
        named = _named(topics)
        if not named:
            return
        _log.warning(
            "%s: the broker has a new store without these constraints, they are lifted: %s. If they are still "
            "needed, publish them again",
            self._source,
            named,
        )

    def _info(self, text: str, *args: str) -> None:
        lines = self._infos.take()
        if lines < LINES_PER_MINUTE:
            _log.info(text, self._source, *map(printable, args))
        elif lines == LINES_PER_MINUTE:
            _log.info("%s: there are more pauses; they are not logged for a minute", self._source)


def _named(topics: Iterable[str]) -> str:
    """Return the first topics in order, and how many there are besides."""
    named = sorted(topics)
    more = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    return ", ".join(map(printable, named[:_MAX_NAMED])) + more


class SyncLog:
    """Logs a failing sync of one engine once, and its recovery.

    The connector logs a missing link, and a broker that does not show that the set is complete.
    """

    def __init__(self, source: str, *, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._logged_state: SyncState | None = None
        self._warned: dict[str, float] = {}

    def check(self, sync: Sync) -> None:
        """Log the state of a sync if it has changed for the worse, or is good again."""
        state = sync.state
        kept = _named(sync.doubtful) if state is SyncState.STALE else ""
        warning = _STALE if kept else _LATE if sync.late else ""
        if warning and state is not self._logged_state and sync.is_linked:
            self._logged_state = state
            self._warn(warning, *([kept] if kept else []))
        elif state is SyncState.SYNCED and self._logged_state is not None:
            self._logged_state = None
            _log.info("%s: the constraints are in sync with the broker again", self._source)

    def _warn(self, text: str, *args: str) -> None:
        """Log a warning, but the same one only once within ``QUIET``: a state may come and go again and again."""
        now = self._clock.monotonic()
        if now - self._warned.get(text, float("-inf")) >= QUIET:
            self._warned[text] = now
            _log.warning(f"%s: {text}", self._source, *args)
