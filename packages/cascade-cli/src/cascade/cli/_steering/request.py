"""The change that a steering command makes on the broker. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cascade.interfaces.control_messages import TYPES, constraint_id, constraint_message
from cascade.interfaces.topics import constraint_topic
from cascade.wire import Register


class Change(NamedTuple):
    """The registers that a command writes or clears."""

    scope: str
    type: str
    """Empty if registers of several types are cleared."""
    topic: str
    """The register that the command is about; it may be empty already."""
    message: Mapping[str, Any] | None = None
    """What the register is to hold; None clears it."""
    topics: tuple[str, ...] = ()
    """What the command publishes to: the register, and others that it clears too; empty if all are clear."""
    shown: tuple[str, ...] = ()
    """Those of the topics that it prints: of a scope that is cleared as a whole, those that held something."""
    by_id: bool = False
    """Whether only registers with a certain id are cleared."""
    held: bool = False
    """Whether the broker has shown a register that is cleared."""

    @property
    def clears(self) -> bool:
        """Whether the command lifts constraints."""
        return self.message is None

    def is_held_by(self, register: Register | None) -> bool:
        """Return whether a register holds already what this change writes; a change that clears writes nothing."""
        return (
            self.message is not None
            and register is not None
            and register.problem == ""
            and register.id == self.message["id"]
            and register.expires_at == self.message["expires_at"]
            and dict(register.params or {}) == self.message["params"]
        )


def setting(
    scope: str,
    kind: str,
    params: Mapping[str, Any],
    *,
    name: str = "",
    by: str = "",
    expires_at: float | None = None,
) -> Change:
    """Return the change that puts one constraint into force.

    :param name: its id; without one, it is made of type and scope.
    :param by: its author; version 1.0 readers do not know the key, so it is written only if given.
    """
    topic = constraint_topic(scope, kind)
    message: dict[str, Any] = dict(constraint_message(str(scope), kind, params, expires_at=expires_at))
    message["id"] = name or constraint_id(scope, kind)
    if by:
        message["by"] = by
    return Change(scope, kind, topic, message, (topic,), (topic,))


def clearing(scope: str, kind: str, registers: Mapping[str, Register], *, name: str = "") -> Change:
    """Return the change that clears the registers of a scope that hold a type, or all of them.

    All of them are the topics of every type, whether or not the broker has shown what they hold.

    :param kind: a type, or empty for all.
    :param registers: what the broker holds, by topic.
    :param name: clear only what has this id.
    """
    main = constraint_topic(scope, kind)
    held = {
        topic
        for topic, register in registers.items()
        if register.scope == scope and kind in ("", register.type) and name in ("", register.id)
    }
    # whatever it holds, and if it is not known to hold anything
    shown = held | {main} if kind and not name else held
    everything = exact_topics(scope) if not kind and not name else ()
    written, printed = (
        tuple(sorted(each, key=lambda topic: (topic != main, topic)))
        for each in (shown.union(everything), shown)
    )
    return Change(scope, kind, main, None, written, printed, by_id=bool(name), held=bool(held))


def exact_topics(scope: str) -> tuple[str, ...]:
    """Return every topic that can hold a constraint of a scope: the short one, and one for each type."""
    return (constraint_topic(scope), *(constraint_topic(scope, kind) for kind in TYPES))
