"""Connectors and executors by name: found by entry point, never imported before they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.interfaces.errors import (
    ConfigurationError,
    ConnectorNotFoundError,
    ExecutorNotFoundError,
    ObserverNotFoundError,
)
from cascade.interfaces.text import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

    from cascade.interfaces import Connector, Executor
    from cascade.interfaces.observer import Observer

CONNECTORS = "cascade.connectors"
EXECUTORS = "cascade.executors"
OBSERVERS = "cascade.observers"

_EXTRAS = {
    CONNECTORS: {
        **dict.fromkeys(("mqtt", "mqtts", "ws", "wss"), "mqtt"),
        **dict.fromkeys(("nats", "tls"), "nats"),
    },
    EXECUTORS: {"dask": "dask"},
    OBSERVERS: {"otel": "otel"},
}
_ERRORS = {
    CONNECTORS: ConnectorNotFoundError,
    EXECUTORS: ExecutorNotFoundError,
    OBSERVERS: ObserverNotFoundError,
}


def connector(name: str, /, **settings: Any) -> Connector:
    """Make a connector by the name of its entry point, or by a URL whose scheme is that name.

    ``connector("mqtt", hostname="broker")`` and ``connector("mqtt://broker")`` are the same;
    ``connector("file:run.jsonl")`` writes telemetry to a file.

    :raises ConnectorNotFoundError: if no installed package offers it, with what to install.
    :raises ConfigurationError: if that connector has no URL.
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(
            "connector", "needs the URL of a broker, such as 'mqtt://broker', or a name", value=name
        )
    scheme, separator, _ = name.partition(":")
    made = find(CONNECTORS, scheme, of=name).load()
    if separator and not hasattr(made, "from_url"):
        raise ConfigurationError("connector", f"{scheme!r} has no URL; write {scheme!r}")
    if not separator:
        remedy = f"write the URL of the broker, such as '{name}://broker'"
        _check_arguments("connector", name, made, settings, remedy)
    instance: Connector = made.from_url(name, **settings) if separator else made(**settings)
    return instance


def _check_arguments(setting: str, name: str, made: Any, settings: dict[str, Any], remedy: str) -> None:
    import inspect

    try:
        inspect.signature(made).bind(**settings)
    except TypeError as exc:
        raise ConfigurationError(setting, f"{name!r} alone: {exc}; {remedy}") from None


def executor(name: str, /, *arguments: Any, **settings: Any) -> Executor:
    """Make an executor by the name of its entry point: ``executor("dask", address="tcp://...")``, ``executor("futures", pool)``.

    :raises ExecutorNotFoundError: if no installed package offers it, with what to install.
    :raises ConfigurationError: if it needs more than its name.
    """
    made = find(EXECUTORS, name).load()
    if not arguments and not settings:
        remedy = f"pass executor=cs.executor({name!r}, ...)"
        _check_arguments("executor", name, made, settings, remedy)
    instance: Executor = made(*arguments, **settings)
    return instance


def observers(given: Iterable[Observer | str]) -> list[Observer]:
    """Make the observers that only a name stands for.

    :raises ConfigurationError: if ``given`` is not a list, or a name is that of no installed observer, with what to install.
    """
    if isinstance(given, str):
        raise ConfigurationError(
            "run(observers=)", f"takes a list; write observers=[{given!r}], not {given!r}"
        )
    return [find(OBSERVERS, each).load()() if isinstance(each, str) else each for each in given]


def find(group: str, name: str, *, of: str = "") -> EntryPoint:
    """Return the entry point of a connector or an executor; ``of`` is the URL that begins with its name.

    :raises UsageError: if no installed package has one of this name.
    """
    # slow to import, and most programs never ask
    from importlib.metadata import entry_points

    offered = {point.name: point for point in entry_points(group=group)}
    if name not in offered:
        raise _ERRORS[group](
            name, installed=tuple(sorted(offered)), remedy=_remedy(group, name, of, list(offered))
        )
    return offered[name]


def _remedy(group: str, name: str, url: str, offered: list[str]) -> str:
    from cascade.interfaces.distribution import install_line

    extras = _EXTRAS[group]
    if name in extras:
        return f"install it with: {install_line(extras[name])}"
    if group == CONNECTORS and (broker := _broker_in(name, url)):
        return f"for a broker on that host write {broker}"
    close = nearest(name, [*offered, *extras])
    if close:
        return f"did you mean {close!r}?"
    return f"install a package that has an entry point {name!r} in the group {group!r}"


def _broker_in(scheme: str, url: str) -> str:
    """Return the URL that a host, a host with its port, or a URL of another or a misspelled scheme stands for; or ""."""
    rest = url.partition(":")[2]
    if scheme.lower() in _OTHER_SCHEMES and rest.startswith("//"):
        return f"{_OTHER_SCHEMES[scheme.lower()]}:{rest}"
    if scheme == "localhost" or "." in scheme or rest.isdecimal():
        return f"mqtt://{url}"
    return ""


_OTHER_SCHEMES = {
    "http": "mqtt",
    "https": "mqtts",
    "tcp": "mqtt",
    "ssl": "mqtts",
    "mqtt": "mqtt",
    "mqtts": "mqtts",
}
"""Schemes that people write for a broker, and those to write."""
