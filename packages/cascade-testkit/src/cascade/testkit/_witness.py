"""Where a test suite sees every broker that its process starts, and what each broker delivers.

Nothing is seen, and no broker is configured for it, unless the suite has set a witness. Brokers with rules then give the
witness a login of its own, which may only read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from cascade.testkit._mqtt_packets import Publication

USER, PASSWORD = "suite-witness", "only-reads"
ACL = [f"user {USER}", "topic read #"]
"""Lines at the end of an ACL file of mosquitto: they change nothing for other users."""

_USERS = re.compile(r"\busers\s*[:=]?\s*\[")
_FIELDS = {"user": "user", "pass": "password", "auth_token": "token"}
"""Of the message CONNECT of NATS, by what they are called in a configuration."""
_RIGHTS = 'permissions: { publish: { deny: ">" } }'


class Witness(Protocol):
    """Sees brokers, each a :class:`Broker`, from any thread; it must not raise."""

    def started(self, broker: Any) -> None:
        """Take note of a broker that answers; called after each of its starts, before ``start`` returns."""

    def ended(self, broker: Any) -> None:
        """Take note that the broker's process is gone; called more than once, also if it never answered."""

    def routed(self, broker: object, message: Publication) -> None:
        """Take a message that an :class:`OddBroker` delivers, in the broker's thread."""


witness: Witness | None = None
"""The witness of this process."""


def nats_lines(lines: Sequence[str]) -> list[str]:
    """Return lines of a nats-server's configuration, in which each list of users has the witness, too."""
    user = f'{{ user: "{USER}", password: "{PASSWORD}", {_RIGHTS} }}, '
    return [_USERS.sub(lambda found: f"{found[0]} {user}", line, count=1) for line in lines]


def nats_login(lines: Sequence[str]) -> dict[str, str]:
    """Return what a client of NATS says to a server with these lines: the witness's own login, or the only one."""
    text = "\n".join(lines)
    if _USERS.search(text):
        return {"user": USER, "pass": PASSWORD}
    if "authorization" not in text:
        return {}
    found = {key: re.search(rf'\b{name}\s*[:=]\s*"([^"]*)"', text) for key, name in _FIELDS.items()}
    return {key: match[1] for key, match in found.items() if match}
