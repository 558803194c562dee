"""Connectors by name: found by entry point, never imported before they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.interfaces import Connector, ConnectorNotFoundError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "cascade.connectors"

_EXTRAS = {"mqtt": "mqtt", "mqtts": "mqtt"}


def connector(name: str, /, **settings: Any) -> Connector:
    """Make a connector by the name of its entry point, or by a URL whose scheme is that name.

    ``connector("mqtt", hostname="broker")`` and ``connector("mqtt://broker")`` are the same.

    :raises ConnectorNotFoundError: if no installed package offers it, with what to install.
    """
    scheme, separator, _ = name.partition("://")
    made = find(scheme).load()
    instance: Connector = made.from_url(name, **settings) if separator else made(**settings)
    return instance


def find(name: str) -> EntryPoint:
    """Return the entry point of a connector.

    :raises ConnectorNotFoundError: if no installed package has one of this name.
    """
    from importlib.metadata import entry_points  # slow to import, and most programs never ask

    offered = {point.name: point for point in entry_points(group=GROUP)}
    if name not in offered:
        raise ConnectorNotFoundError(
            name, installed=tuple(sorted(offered)), remedy=_remedy(name, list(offered))
        )
    return offered[name]


def _remedy(name: str, offered: list[str]) -> str:
    if name in _EXTRAS:
        return f'install it with: pip install "cascade-py[{_EXTRAS[name]}]"'
    import difflib

    close = difflib.get_close_matches(name, [*offered, *_EXTRAS], n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"install a package that has an entry point {name!r} in the group {GROUP!r}"
