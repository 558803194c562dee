"""What an operator is told of messages on constraint topics that have no effect, or an unexpected one. No I/O."""

from __future__ import annotations

from typing import NamedTuple

from cascade.interfaces.control_messages import lift_command
from cascade.runtime._registers.parsing import Constraint
from cascade.runtime._registers.table import Problem, Register


class Notice(NamedTuple):
    """What an operator should know of one message: it has no effect, or an unexpected one."""

    topic: str
    text: str


def problem_notice(register: Register, problem: Problem, hint: str) -> Notice:
    """Return what a message that cannot be applied has left in force."""
    kept = "; its last valid value stays in force" if register.in_force else ""
    return Notice(register.topic, f"is {problem.status.value}: {problem.reason}{hint}{kept}")


def replacement_notice(register: Register, constraint: Constraint) -> Notice | None:
    """Return that a topic without a type now holds another type, which lifts what it held; None if it does not."""
    old = register.content
    if old is None or not register.in_force or old.rule.type == constraint.rule.type:
        return None
    return Notice(
        register.topic,
        f"now holds {constraint.rule.type} ({constraint.id}) and no longer {old.rule.type} ({old.id}), "
        f"which is lifted by that; to have both, use {register.topic}/@{old.rule.type} "
        f"and {register.topic}/@{constraint.rule.type}",
    )


def expiry_notice(topic: str, constraint: Constraint, now: float) -> Notice | None:
    """Return that a constraint had expired when it was published; None for one whose age the broker has measured.

    :param now: seconds since the epoch.
    """
    if constraint.deadline is not None or constraint.expires_at is None:
        return None
    return Notice(
        topic,
        f"had expired when it arrived ({constraint.id}): expires_at is {now - constraint.expires_at:.0f} s ago by the clock "
        "of this machine; compare it with the clock of the sender, and remove the message: "
        f"{lift_command(topic, constraint.rule.type)}",
    )
