"""Eclipse mosquitto 2, from the system's packages."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from cascade.interfaces.broker_programs.program import BrokerProgram, Listener

DURABLE = ("persistence true", "autosave_on_changes false", "autosave_interval 1")
"""Lines with which mosquitto saves its store every two seconds: a kill loses what changed since the last save.

With ``autosave_on_changes false`` the interval is in seconds, and mosquitto waits until more than one has passed.
A save at each change loses less, but writes the whole store for each message that waits for a client that is away.
"""
QUEUED_MESSAGES = 65_000
"""Messages that may wait for each client. The default, 1,000, would cut a large set of retained ones; without a
limit, mosquitto 2.0.11 disconnects a client whose message the rules deny, and 2.0.16 drops every message."""
IN_FLIGHT = "max_inflight_messages 400"
"""Line that permits as many messages in flight as a connector has at most. Clients of MQTT 5 must keep to the number:
with mosquitto's default, 20, a client at a round trip of 100 ms sends 200 messages a second."""
SESSIONS_END = "persistent_client_expiration 14d"
"""Line with which mosquitto ends the session of a client that has been away for 14 days. By default sessions last for
ever, and each message is queued for all of them: 200 make the broker 240 times slower."""

# not on the PATH of ordinary users
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


def _find() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_SYSTEM_PATH)


def _remedy() -> str:
    if sys.platform == "darwin":
        return "brew install mosquitto"
    return "apt-get install mosquitto, or your system's package of that name (https://mosquitto.org/download)"


def _configuration(listen: Listener, store: Path) -> list[str]:
    """Return the lines; the listener for MQTT is the last one, so that lines for it may follow.

    There is none for WebSockets: mosquitto does not check which web site a browser comes from.
    """
    lines = [
        "set_tcp_nodelay true",
        f"max_queued_messages {QUEUED_MESSAGES}",
        IN_FLIGHT,
        SESSIONS_END,
        *DURABLE,
        f"persistence_location {store}{os.sep}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # else it becomes a user who may not write to the folder
        lines.append("user root")
    return [*lines, f"listener {listen.port} {listen.host}"]


_READY = re.compile(r"version \S+ running")
"""mosquitto 2.1 also says, before it listens, as which user it runs."""

MOSQUITTO = BrokerProgram(
    "mosquitto", _find, _remedy, _configuration, says_ready=lambda log: bool(_READY.search(log))
)
