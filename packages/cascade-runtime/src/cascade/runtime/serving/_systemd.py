"""The state of a service for systemd: sd_notify(3), for units with ``Type=notify``."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send ``READY=1`` or ``STOPPING=1`` to the service manager; do nothing without one, or if it cannot be reached."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    # a path, or a name in the abstract namespace
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
