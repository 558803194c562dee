"""Facts that an examination of a broker has found. Data only: the checks decide what they mean."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from cascade.interfaces.abilities import Limitation
from cascade.ops._doctor.starters import Starters
from cascade.runtime.serving import MissedTick
from cascade.wire import View, WorkflowsReport


@dataclass(frozen=True, slots=True)
class Target:
    """Which broker is examined, and how a client logs in there."""

    scheme: str
    host: str
    port: int
    user: str = ""
    source_id: str = ""
    """The name with which an engine with these settings would report; empty without one."""

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted."""
        return self.scheme in ("mqtts", "wss", "tls")

    @property
    def nats(self) -> bool:
        """Whether it is reached by the protocol of NATS."""
        return self.scheme in ("nats", "tls")

    @property
    def protocol(self) -> str:
        """What a client speaks there."""
        return "NATS" if self.nats else "MQTT"

    @property
    def ports(self) -> str:
        """The ports on which such brokers listen as a rule."""
        return "4222" if self.nats else "1883, with TLS 8883"

    @property
    def prefix(self) -> str:
        """The beginning of the names of the environment variables with credentials."""
        return f"CASCADE_{self.protocol}_"

    @property
    def websocket(self) -> bool:
        """Whether it is reached by MQTT over WebSocket."""
        return self.scheme in ("ws", "wss")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class Reachability:
    """Whether the address can be reached by TCP."""

    fault: str = ""
    """``dns``, ``refused``, ``silent`` or ``unreachable``; empty if it can."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the TLS handshake has shown."""

    code: int | None = None
    """OpenSSL's number of the reason for which the certificate is not accepted; None if it is."""
    detail: str = ""
    """Why the handshake failed; empty if it succeeded."""
    ends: float | None = None
    """When the certificate ends, in seconds since the epoch; None if unknown."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files with secrets that the environment names."""

    exposed: tuple[str, ...] = ()
    """Variables whose file other users of this machine can read."""
    end: str = ""
    """What is wrong with the end of the client's certificate; empty if nothing."""


@dataclass(frozen=True, slots=True)
class Login:
    """Whether the broker has accepted the client."""

    linked: bool = False
    kind: str = ""
    cause: str = ""
    mqtt5: bool = False
    anonymous: bool = False
    """Whether it also accepts a client without a user; False where this client gives none."""


@dataclass(frozen=True, slots=True)
class Right:
    """What the broker did with one message."""

    topic: str
    returned: bool
    """Whether the message came back to its sender, who had subscribed to the topic."""
    refused: bool = False
    """Whether the broker has said that it denies the message (MQTT 5)."""
    unreadable: bool = False
    """Whether the broker has refused the subscription to the topic."""

    @property
    def written(self) -> bool:
        """Whether the message was accepted, as far as the broker says: MQTT 3.1.1 has no answer for a denial."""
        return self.returned or (not self.refused and not self.unreadable)


@dataclass(frozen=True, slots=True)
class Retained:
    """How many retained messages a new subscription got of those that were published."""

    published: int
    exact: bool
    """Whether a subscription to one topic got its message."""
    received: int
    """By a filter with a wildcard at QoS 0."""
    late: int = 0
    """Those of them that came behind a message published after the subscription."""
    queued: int | None = None
    """By a filter with a wildcard at QoS 1; None if it was not tried."""

    def with_queued(self, queued: int) -> Retained:
        """Return the same with a number for QoS 1."""
        return replace(self, queued=queued)


class Ask(StrEnum):
    """What became of a request to a service, which had expired, so that nothing starts."""

    ANSWERED = "answered"
    DENIED = "denied"
    """The broker has said that it denies the message."""
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of a broker that runs on this machine."""

    program: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of mosquitto: the last value of each setting."""
    websockets: tuple[int, ...] = ()
    access: tuple[str, ...] | None = None
    """The lines of mosquitto's access list; None if there is none, or it cannot be read."""

    @property
    def starters(self) -> Starters | None:
        """Who may write what; None if it cannot be seen."""
        return Starters.of_mosquitto(self.settings, self.access) if self.program == "mosquitto" else None


@dataclass(slots=True)
class Facts:
    """Everything that an examination has found; None: it was not reached."""

    target: Target
    files: Files = field(default_factory=Files)
    reachability: Reachability | None = None
    certificate: Certificate | None = None
    login: Login | None = None
    rights: dict[str, Right] = field(default_factory=dict)
    """By the name of the probe."""
    cut: bool = False
    """Whether the broker ended the link during the probes."""
    unread: tuple[str, ...] = ()
    """Filters to which the broker refuses a subscription."""
    refused: str = ""
    """Why the broker refused a further link during the probes; empty if it did not."""
    version: str = ""
    """The program and version that the broker publishes; empty if it publishes none, or this user may not read it."""
    stored_sessions: int | None = None
    """Sessions of clients that are away, of mosquitto; None if this user may not read the number."""
    inflight: int | None = None
    """How many messages the broker allows to be unacknowledged; None if it does not say (MQTT 3.1.1)."""
    limitations: tuple[Limitation, ...] = ()
    """What the broker cannot do for this user, as the connector knows it."""
    over_nats: bool = False
    """Whether an engine has announced itself by the protocol of NATS while MQTT was examined."""
    retained: Retained | None = None
    untried: str = ""
    """The engine for whose sake retained messages were not tried: it is online; empty if they were."""
    keeps_none: bool = False
    """Whether this user may keep no message of its own, so that retained messages could not be tried."""
    size: int | None = None
    """Bytes of a message that did not come back; None if it did."""
    view: View | None = None
    late_by: dict[str, float] = field(default_factory=dict)
    """Seconds between the time in an engine's live message and the time of its arrival, by source."""
    births: dict[str, set[str]] = field(default_factory=dict)
    """The sessions of the births that each source has published meanwhile."""
    leftovers: int = 0
    configuration: Configuration | None = None
    websocket: bool | None = None
    """Whether a listener for MQTT over WebSocket was found; None if it was not looked for."""
    missed: tuple[MissedTick, ...] = ()
    """Ticks that a state folder shows as due."""
    services: dict[str, WorkflowsReport] = field(default_factory=dict)
    """What live engines offer to start, by source."""
    asked: dict[tuple[str, str], Ask] = field(default_factory=dict)
    """What became of a request to each service for each workflow, by source and workflow; empty if none was sent."""
    kept_requests: tuple[str, ...] = ()
    """The topics of requests that the broker retains."""
    heard_topics: frozenset[str] = frozenset()
    """Topics of gates on which this client hears something, of those of which an engine had heard nothing."""
    sqlite: str = ""
    """The version of SQLite if several processes may lose rows with it; else empty."""

    @property
    def starters(self) -> Starters | None:
        """Who may write what at a mosquitto on this machine; None if it cannot be seen."""
        return None if self.configuration is None else self.configuration.starters

    @property
    def keeps_nothing(self) -> bool:
        """Whether it is known why the broker retains nothing, so that no probe has to show it."""
        return any(each.of_store for each in self.limitations)

    @property
    def configuration_limits_queue(self) -> bool:
        """Whether the configuration itself shows how many messages the broker queues."""
        return self.configuration is not None and self.configuration.program == "mosquitto"
