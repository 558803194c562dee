"""The command that lifts a constraint: a line that can be pasted into a shell."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from cascade.interfaces.control_messages import lift_command
from cascade.runtime._support.escaping import printable


def how_to_lift(topic: str, kind: str, broker: tuple[str, int] | None) -> str:
    """Return what to do to lift a constraint, with the command ``cascade`` where that is installed.

    :param topic: of its register.
    :param kind: its type.
    :param broker: host and port, if they are known.
    """
    command = lift_command(topic, kind) if _has_command() else ""
    if not command:
        return f"clear the retained message: {_clear_command(topic, broker)}"
    place = f" of the broker {broker[0]}:{broker[1]}" if broker is not None else ""
    return printable(f"clear {topic}{place}: {command}")


@cache
def _has_command() -> bool:
    return find_spec("cascade.cli") is not None


def _clear_command(topic: str, broker: tuple[str, int] | None) -> str:
    """Return the command line that clears a register without the command ``cascade``.

    >>> print(_clear_command("cascade/constraints/task/it's", ("plant-7", 1884)))
    mosquitto_pub -h plant-7 -p 1884 -r -n -t 'cascade/constraints/task/it'"'"'s'
    """
    import shlex  # only a line for a person needs it

    where = f" -h {shlex.quote(broker[0])} -p {broker[1]}" if broker is not None else ""
    return f"mosquitto_pub{printable(where)} -r -n -t {printable(shlex.quote(topic))}"
