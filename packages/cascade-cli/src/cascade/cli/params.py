"""Types of the values that commands take, for click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import click

from cascade.cli._rates import parse_rate
from cascade.cli._scopes import GLOBAL, KINDS, parse_scope
from cascade.cli.command import ParamType
from cascade.cli.durations import parse_duration
from cascade.interfaces.control_messages import TYPES
from cascade.interfaces.text import nearest


class _Parsed(ParamType):
    """A value that a pure function parses; its ValueError becomes a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a text; a default is parsed already."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Scope(_Parsed):
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete the kind of a scope; names need a broker, and completion asks none."""
        from click.shell_completion import CompletionItem

        words = [GLOBAL, *(f"{kind}:" for kind in KINDS)]
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _parse_host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address and a port, such as 127.0.0.1:9464")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _parse_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        named = False
    if not named or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not a URL, such as http://127.0.0.1:4318")
    return text


def _parse_kind(text: str) -> str:
    if text in ("", *TYPES) or text.startswith("gate."):
        return text
    near = nearest(text, [*TYPES, "gate"])
    hint = (
        f"did you mean {'gate.NAME' if near == 'gate' else near}?"
        if near
        else f"write {', '.join(TYPES)} or gate.NAME"
    )
    raise ValueError(f"{text!r} is not a type of constraint: {hint}")


SCOPE = _Scope("scope", parse_scope)
HOST_PORT = _Parsed("address:port", _parse_host_port)
URL = _Parsed("url", _parse_url)
DURATION = _Parsed("duration", parse_duration)
KIND = _Parsed("type", _parse_kind)
RATE = _Parsed("rate", parse_rate)
