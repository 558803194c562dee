"""Connectors and executors by name: found by entry point, never imported before they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.interfaces.errors import ConfigurationError, ConnectorNotFoundError, ExecutorNotFoundError
from cascade.interfaces.text import nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from cascade.interfaces import Connector, Executor

CONNECTORS = "cascade.connectors"
EXECUTORS = "cascade.executors"

_EXTRAS = {
    CONNECTORS: {
        **dict.fromkeys(("mqtt", "mqtts", "ws", "wss"), "mqtt"),
        **dict.fromkeys(("nats", "tls"), "nats"),
    },
    EXECUTORS: {"dask": "dask"},
}
_ERRORS = {CONNECTORS: ConnectorNotFoundError, EXECUTORS: ExecutorNotFoundError}


def connector(name: str, /, **settings: Any) -> Connector:
    """Make a connector by the name of its entry point, or by a URL whose scheme is that name.

    ``connector("mqtt", hostname="broker")`` and ``connector("mqtt://broker")`` are the same;
    ``connector("file:run.jsonl")`` writes telemetry to a file.

    :raises ConnectorNotFoundError: if no installed package offers it, with what to install.
    :raises ConfigurationError: if that connector has no URL.
    """
    scheme, separator, _ = name.partition(":")
    made = find(CONNECTORS, scheme).load()
    if separator and not hasattr(made, "from_url"):
        raise ConfigurationError("connector", f"{scheme!r} has no URL; write {scheme!r}")
    instance: Connector = made.from_url(name, **settings) if separator else made(**settings)
    return instance


def executor(name: str, /, **settings: Any) -> Executor:
    """Make an executor by the name of its entry point: ``executor("dask", address="tcp://...")``.

    :raises ExecutorNotFoundError: if no installed package offers it, with what to install.
    """
    instance: Executor = find(EXECUTORS, name).load()(**settings)
    return instance


def find(group: str, name: str) -> EntryPoint:
    """Return the entry point of a connector or an executor.

    :raises UsageError: if no installed package has one of this name.
    """
    # slow to import, and most programs never ask
    from importlib.metadata import entry_points

    offered = {point.name: point for point in entry_points(group=group)}
    if name not in offered:
        raise _ERRORS[group](
            name, installed=tuple(sorted(offered)), remedy=_remedy(group, name, list(offered))
        )
    return offered[name]


def _remedy(group: str, name: str, offered: list[str]) -> str:
    from cascade.interfaces.distribution import install_line

    extras = _EXTRAS[group]
    if name in extras:
        return f"install it with: {install_line(extras[name])}"
    if group == CONNECTORS and (name == "localhost" or "." in name):
        return f"for a broker on that host write mqtt://{name}"
    close = nearest(name, [*offered, *extras])
    if close:
        return f"did you mean {close!r}?"
    return f"install a package that has an entry point {name!r} in the group {group!r}"
