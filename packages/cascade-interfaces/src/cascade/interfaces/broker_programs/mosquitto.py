"""Eclipse mosquitto 2, from the system's packages."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from cascade.interfaces.broker_programs.program import BrokerProgram, Listener

# not on the PATH of ordinary users
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


def _find() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_SYSTEM_PATH)


def _remedy() -> str:
    if sys.platform == "darwin":
        return "brew install mosquitto"
    return "apt-get install mosquitto, or your system's package of that name (https://mosquitto.org/download)"


def _configuration(listen: Listener, store: Path, durable: bool) -> list[str]:
    """Return the lines; the listener for MQTT is the last one, so that lines for it may follow.

    mosquitto's own limit of 1,000 queued messages would cut a large set of retained ones.
    """
    lines = [
        "set_tcp_nodelay true",
        "max_queued_messages 0",
        "persistence true",
        f"persistence_location {store}{os.sep}",
    ]
    # a kill loses at most what was acknowledged within the last milliseconds
    if durable:
        lines += ["autosave_on_changes true", "autosave_interval 1"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # else it becomes a user who may not write to the folder
        lines.append("user root")
    if listen.websockets is not None:
        lines += [f"listener {listen.websockets} {listen.host}", "protocol websockets"]
        # without it mosquitto ignores the address and listens on all of them
        if ":" not in listen.host:
            lines.append("socket_domain ipv4")
    return [*lines, f"listener {listen.port} {listen.host}"]


MOSQUITTO = BrokerProgram(
    "mosquitto", _find, _remedy, _configuration, says_ready=lambda log: " running" in log
)
