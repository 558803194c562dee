"""Gates: work waits while a value of the plant is out of band, or outside a window of time (``PROTOCOL.md``, section 4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from cascade.interfaces.errors import ConfigurationError, InvalidTopicError
from cascade.interfaces.text import printable
from cascade.interfaces.topics import check_topic

PREFIX = "gate."
"""How the type of every gate's register begins; its name follows."""
MAX_TOPICS = 100
"""The most topics that the gates of one engine read."""
MAX_SHOWN = 32
"""Characters of a word that a report and a reason show."""

SENT_NOTHING = "has sent nothing yet"
"""How the reason of a gate ends of which the engine has heard nothing."""
IS_REFUSED = "is refused to this engine by the broker"
"""How the reason of a gate ends whose topic the engine may not read, where the broker says so."""

COMPARISONS = ("above", "below", "inside", "outside", "equals")
"""The ways to state when a gate is closed; each gate of a topic has one."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_MAX_TEXT = 200
_LARGEST = 1e300
# of seconds: more than a year is a mistake
_LONGEST = 366 * 86_400.0
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d) (\S{1,60})")

OnStale = Literal["hold", "pass"]


class GateMistake(ValueError):
    """A gate that cannot work: which of its settings is wrong, and why."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class Window(NamedTuple):
    """Hours of the day in which a gate is open: from ``start`` until before ``end``, over midnight if ``end`` is earlier."""

    start: int
    """Minutes from midnight; ``end`` likewise."""
    end: int
    zone: str
    """Name of the time zone, such as ``Europe/Berlin``."""

    def __str__(self) -> str:
        """Return it as it is written: ``22:00-06:00 Europe/Berlin``."""
        times = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (self.start, self.end))
        return f"{'-'.join(times)} {self.zone}"

    @classmethod
    def parse(cls, text: object) -> Window:
        """Return the window that a text names.

        :raises GateMistake: with what would be right.

        >>> Window.parse("22:00-06:00 UTC")
        Window(start=1320, end=360, zone='UTC')
        """
        found = _WINDOW.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise GateMistake(
                "window",
                f"needs hours and a time zone, such as '22:00-06:00 Europe/Berlin', not {text!r:.80}",
            )
        start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
        if end > 24 * 60:
            raise GateMistake("window", f"the day ends at 24:00, so {found[3]}:{found[4]} never comes")
        if start == end:
            raise GateMistake("window", f"{found[0]!r} never opens: it begins and ends at the same time")
        _check_zone(found[5])
        return cls(start, end, found[5])


class Gate(NamedTuple):
    """What holds work, and until when; made by :func:`gate`, or by :meth:`from_params` from a register."""

    name: str
    topic: str = ""
    """Where the value is published; empty with a window."""
    path: str = ""
    """JSON pointer to the value in the payload, without its first slash; empty: the payload is the value."""
    comparison: str = ""
    """One of :data:`COMPARISONS`; empty with a window."""
    bound: float | str | tuple[float, float] = 0.0
    """The gate is closed while the value compares like that with it."""
    clear_at: float | None = None
    """The value has to come back this far before the gate opens; None: back into the band."""
    settle: float = 0.0
    """Seconds for which the value has to stay there before the gate opens."""
    stale: float | None = None
    """Seconds without a message after which the value is unknown; None: the last one counts for ever."""
    on_stale: OnStale = "hold"
    """Whether an unknown value closes the gate."""
    window: Window | None = None

    @property
    def type(self) -> str:
        """The type of its register: ``gate.NAME``."""
        return PREFIX + self.name

    @classmethod
    def from_params(cls, name: str, params: Mapping[str, Any]) -> Gate:
        """Return the gate that the ``params`` of a register describe; further keys are ignored.

        :raises GateMistake: naming the key that is wrong.
        """
        known = {_KEYS.get(key, key): value for key, value in params.items() if value is not None}
        return _checked(name, {key: known[key] for key in _SETTINGS if key in known})

    def params(self) -> dict[str, Any]:
        """Return the ``params`` of its register."""
        if self.window is not None:
            return {"window": str(self.window)}
        bound = list(self.bound) if isinstance(self.bound, tuple) else self.bound
        found: dict[str, Any] = {"topic": self.topic, "path": self.path, self.comparison: bound}
        if self.clear_at is not None:
            found["clear_at"] = self.clear_at
        return {**found, "settle_s": self.settle, "stale_s": self.stale, "on_stale": self.on_stale}

    def __str__(self) -> str:
        """Return what opens it, in words."""
        if self.window is not None:
            return f"open {self.window}"
        return f"{printable(self.topic)} {self.must_be}"

    @property
    def must_be(self) -> str:
        """What the value must be for the gate to stay open, in words."""
        return f"must {_words(self.comparison, self.bound)}"


def gate(
    name: str,
    *,
    topic: str | None = None,
    path: str = "",
    above: float | None = None,
    below: float | None = None,
    inside: tuple[float, float] | None = None,
    outside: tuple[float, float] | None = None,
    equals: str | None = None,
    clear_at: float | None = None,
    settle: float = 0.0,
    stale: float | None = None,
    on_stale: OnStale = "hold",
    window: str | None = None,
) -> Gate:
    """Declare a gate for ``cs.run(gates=[...])``: no task starts while it is closed, and running ones wait at a checkpoint.

    >>> gate("power", topic="site/power", path="w", above=800, clear_at=700, settle=60, stale=600).type
    'gate.power'
    >>> str(gate("night", window="22:00-06:00 Europe/Berlin"))
    'open 22:00-06:00 Europe/Berlin'

    :param name: letters, digits, ``-`` and ``_``; at most 40.
    :param topic: where the plant publishes the value; anything but wildcards and topics that begin with ``cascade/`` or ``$``.
    :param path: where the value stands in a JSON payload: a JSON pointer without its first slash, such as
        ``ENERGY/Power``. Empty: the payload itself is the number or the word.
    :param above: closed while the value is above this number; or ``below``, ``inside`` or ``outside`` two numbers, or while it
        ``equals`` a word. One of the five is needed.
    :param clear_at: with ``above`` or ``below``: opens only when the value has come back to this number.
    :param settle: opens when the value has been in band for so many seconds.
    :param stale: the value is unknown when nothing has arrived for so many seconds.
    :param on_stale: ``"hold"``: a gate of which the value is unknown is closed; ``"pass"``: it is open.
    :param window: in place of a topic: open at these hours of the day, in a time zone.
    :raises ConfigurationError: naming what is wrong.
    """
    given = {
        "topic": topic, "path": path or None, "above": above, "below": below, "inside": inside, "outside": outside,
        "equals": equals, "clear_at": clear_at, "settle": settle if settle != 0 else None, "stale": stale,
        "on_stale": on_stale if on_stale != "hold" else None, "window": window,
    }  # fmt: skip
    try:
        return _checked(name, {key: value for key, value in given.items() if value is not None})
    except GateMistake as mistake:
        raise ConfigurationError(f"gate({mistake.setting}=)", mistake.problem) from None


class GateReading(NamedTuple):
    """What a gate says now."""

    holds: bool
    """Whether it is closed: no task of its scope may start."""
    state: Literal["open", "closed", "unknown"]
    """``unknown``: its value is not known; what that means, ``on_stale`` says."""
    value: float | str | None
    """The number, or the first 32 characters of the word; None while it is unknown, and of a window."""
    text: str
    """Why, in words."""
    since: float = 0.0
    """When that began, in seconds since the epoch."""


def is_gate(kind: str) -> bool:
    """Return whether a type of a constraint is one of a gate."""
    return kind.startswith(PREFIX)


def check_gate_topic(topic: object) -> None:
    """Check that a gate may read a topic.

    :raises GateMistake: if it has a wildcard, no message can have it, or it is not the plant's.
    """
    if topic is None:
        raise GateMistake("topic", "a gate needs a topic, or a window")
    try:
        check_topic(topic)  # type: ignore[arg-type] # it checks the type, too
    except InvalidTopicError as exc:
        raise GateMistake("topic", f"{topic!r:.80} {exc.problem}") from None
    assert isinstance(topic, str)
    if topic.startswith(("$", "cascade/")):
        raise GateMistake(
            "topic",
            f"{topic!r:.80}: topics that begin with '$' or 'cascade/' are not the plant's; "
            "publish the value on another one",
        )


def register_key(setting: str) -> str:
    """Return how a setting of :func:`gate` is called in the ``params`` of a register.

    >>> register_key("settle"), register_key("above")
    ('settle_s', 'above')
    """
    return next((key for key, name in _KEYS.items() if name == setting), setting)


def duration_in_words(seconds: float) -> str:
    """Return a duration for a sentence.

    >>> duration_in_words(0.5), duration_in_words(60), duration_in_words(600), duration_in_words(7200)
    ('0.5 s', '60 s', '10 min', '2 h')
    """
    if seconds < 120:
        return f"{seconds:g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


_KEYS = {"settle_s": "settle", "stale_s": "stale"}
"""How settings are called in a register, where that is not their name here."""
_SETTINGS = ("topic", "path", *COMPARISONS, "clear_at", "settle", "stale", "on_stale", "window")


def _checked(name: object, given: dict[str, Any]) -> Gate:
    """Return the gate of these settings; those that are not given have their default."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise GateMistake("name", f"needs 1 to 40 letters, digits, '-' and '_', not {name!r:.80}")
    if "window" in given:
        others = [key for key in given if key != "window"]
        if others:
            raise GateMistake(
                "window", f"a gate has a window or a topic; leave {others[0]} out, or make two gates"
            )
        return Gate(name, window=Window.parse(given["window"]))
    check_gate_topic(given.get("topic"))
    comparisons = [key for key in COMPARISONS if key in given]
    if len(comparisons) != 1:
        found = f"and has {' and '.join(comparisons)}" if comparisons else "and has none"
        raise GateMistake(
            comparisons[1] if comparisons else "above",
            f"a gate needs one of above, below, inside, outside and equals, {found}; it is closed while that is true",
        )
    comparison = comparisons[0]
    bound = _bound(comparison, given[comparison])
    return Gate(
        name,
        topic=given["topic"],
        path=_path(given.get("path", "")),
        comparison=comparison,
        bound=bound,
        clear_at=_clear_at(comparison, bound, given.get("clear_at")),
        settle=_seconds("settle", given.get("settle", 0.0), exclusive=False),
        stale=None if "stale" not in given else _seconds("stale", given["stale"], exclusive=True),
        on_stale=_on_stale(given.get("on_stale", "hold")),
    )


def _path(path: object) -> str:
    if not isinstance(path, str) or len(path) > _MAX_TEXT or not path.isprintable():
        raise GateMistake(
            "path", f"needs a text of at most {_MAX_TEXT} printable characters, not {path!r:.80}"
        )
    if path.startswith("/"):
        raise GateMistake("path", f"is written without its first slash: {path[1:]!r:.80}")
    if re.search(r"~(?![01])", path):
        raise GateMistake("path", f"{path!r:.80}: write '~0' for '~' and '~1' for '/' in a name")
    return path


def _bound(comparison: str, value: object) -> float | str | tuple[float, float]:
    if comparison in ("above", "below"):
        return _number(comparison, value)
    if comparison == "equals":
        if not isinstance(value, str) or not value or len(value) > _MAX_TEXT or not value.isprintable():
            raise GateMistake("equals", f"needs a word such as 'ON', not {value!r:.80}")
        return value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise GateMistake(comparison, f"needs two numbers, the lower one first, not {value!r:.80}")
    low, high = (_number(comparison, each) for each in value)
    if low > high:
        raise GateMistake(comparison, f"needs the lower number first: {high:g} and {low:g}")
    return low, high


def _number(setting: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GateMistake(setting, f"needs a number, not {value!r:.80}")
    # also false for NaN
    if not abs(value) <= _LARGEST:
        raise GateMistake(setting, f"needs a number from {-_LARGEST:g} to {_LARGEST:g}")
    return value if abs(value) <= 2**53 else float(value)


def _clear_at(comparison: str, bound: object, value: object) -> float | None:
    if value is None:
        return None
    number = _number("clear_at", value)
    if comparison not in ("above", "below"):
        raise GateMistake("clear_at", f"goes with above or below, not with {comparison}")
    assert isinstance(bound, int | float)
    if (number > bound) if comparison == "above" else (number < bound):
        side = "at most" if comparison == "above" else "at least"
        raise GateMistake("clear_at", f"must lie on the open side: {side} {bound:g}, not {number:g}")
    return number


def _seconds(setting: str, value: object, *, exclusive: bool) -> float:
    number = _number(setting, value)
    if number < 0 or number > _LONGEST or (exclusive and number == 0):
        bounds = "above 0" if exclusive else "from 0"
        raise GateMistake(setting, f"needs {bounds} to a year, not {number:g} s")
    return number


def _on_stale(value: object) -> OnStale:
    if value == "hold":
        return "hold"
    if value == "pass":
        return "pass"
    raise GateMistake("on_stale", f"needs 'hold' or 'pass', not {value!r:.80}")


def _check_zone(name: str) -> None:
    # slow to import, and only a window needs it
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise GateMistake(
            "window", f"this computer knows no time zone {name!r:.80}; write it like Europe/Berlin or UTC"
        ) from None


def _words(comparison: str, bound: float | str | tuple[float, float]) -> str:
    if isinstance(bound, tuple):
        return f"stay {'outside' if comparison == 'inside' else 'within'} {bound[0]:g} to {bound[1]:g}"
    if isinstance(bound, str):
        return f"not be {printable(bound[:MAX_SHOWN])}"
    return f"stay {'below' if comparison == 'above' else 'above'} {bound:g}"
