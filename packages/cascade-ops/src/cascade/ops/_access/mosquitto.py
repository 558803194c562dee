"""Access rules and a whole configuration for mosquitto, as text. No I/O."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cascade.interfaces.access import Rule
from cascade.interfaces.broker_programs import DURABLE, IN_FLIGHT, QUEUED_MESSAGES, SESSIONS_END

MQTT_PORT, MQTTS_PORT, WEBSOCKET_PORT, WSS_PORT = 1883, 8883, 8080, 8443

STORED_SESSIONS = "$SYS/broker/clients/disconnected"
"""Where mosquitto publishes how many clients that are away have a session."""

_EVERYTHING = "cascade/#"
_QUEUED_BYTES = 64 * 1024 * 1024
_PACKET_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Files:
    """Where the files of a configuration stand."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """The file that mosquitto is started with."""
        return self.folder / "mosquitto.conf"

    @property
    def rules(self) -> Path:
        """The access list."""
        return self.folder / "acl"

    @property
    def hashes(self) -> Path:
        """The password file of mosquitto: it holds hashes."""
        return self.folder / "passwords"

    @property
    def secrets(self) -> Path:
        """The folder with the password of each user, for ``CASCADE_MQTT_PASSWORD_FILE``."""
        return self.folder / "secrets"

    @property
    def store(self) -> Path:
        """The folder in which mosquitto keeps what is retained."""
        return self.folder / "store"

    @property
    def certificate(self) -> Path:
        """The certificate of the broker, with its chain."""
        return self.folder / "tls" / "server.pem"

    @property
    def key(self) -> Path:
        """The key of that certificate."""
        return self.folder / "tls" / "server.key"


def access_list(rules: Iterable[Rule]) -> list[str]:
    """Return the lines of an access list; what it does not permit is denied."""
    verbs: dict[str, dict[str, set[str]]] = {}
    for rule in rules:
        verbs.setdefault(rule.user, {}).setdefault(rule.topic_filter, set()).add(rule.verb)
    lines: list[str] = []
    for user, filters in verbs.items():
        lines += ["", f"user {user}"]
        for topic_filter, found in filters.items():
            verb = "readwrite" if len(found) == 2 else next(iter(found))
            lines.append(f"topic {verb} {topic_filter}")
        if "read" in filters.get(_EVERYTHING, ()):
            # so that cascade doctor can count them
            lines.append(f"topic read {STORED_SESSIONS}")
    return lines[1:]


def configuration(files: Files, *, tls: bool, owner: str) -> list[str]:
    """Return the lines of ``mosquitto.conf``.

    :param tls: listen on every address, with the certificate. Without it only this machine can connect.
    :param owner: the system user who owns the files; empty on systems without such users.
    """
    lines = [
        "# Written by cascade acl, which replaces this file.",
        "allow_anonymous false",
        f"password_file {files.hashes}",
        f"acl_file {files.rules}",
        "",
        "# Constraints are retained messages: saved every two seconds, they outlive a kill of the broker.",
        *DURABLE,
        f"persistence_location {files.store}{os.sep}",
        "",
        "# With a limit of 0, mosquitto 2.0.11 cuts the link of a client whose message the rules deny.",
        f"max_queued_messages {QUEUED_MESSAGES}",
        IN_FLIGHT,
        f"max_queued_bytes {_QUEUED_BYTES}",
        f"max_packet_size {_PACKET_BYTES}",
        "",
        "# Every user may leave sessions behind, and each message is queued for all of them.",
        SESSIONS_END,
        "set_tcp_nodelay true",
    ]
    if owner:
        lines += ["", "# Started by root, mosquitto becomes the user who owns these files.", f"user {owner}"]
    return [*lines, *_local_listeners(), *(_tls_listeners(files) if tls else ())]


def _local_listeners() -> list[str]:
    return [
        "",
        "# For this machine only: MQTT, and MQTT over WebSocket.",
        f"listener {MQTT_PORT} 127.0.0.1",
        f"listener {WEBSOCKET_PORT} 127.0.0.1",
        "protocol websockets",
        # without it mosquitto ignores the address and listens on all of them
        "socket_domain ipv4",
    ]


def _tls_listeners(files: Files) -> list[str]:
    certificate = [f"certfile {files.certificate}", f"keyfile {files.key}", "tls_version tlsv1.2"]
    return [
        "",
        "# For every machine, with TLS.",
        f"listener {MQTTS_PORT}",
        *certificate,
        f"listener {WSS_PORT}",
        "protocol websockets",
        *certificate,
    ]
