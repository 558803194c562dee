"""An ordinary MQTT subscriber that shows what happens in a run; it needs paho-mqtt and cascade-interfaces.

    python watcher.py mqtt://localhost:1883

It prints a line for each important event and one a second for the others, until its standard input
ends (Ctrl-D) or Ctrl-C; its last line is its counts, as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from cascade.interfaces.text import printable
from cascade.interfaces.wire.read import EventMessage, View, number, text

EVENTS = "cascade/telemetry/+/+/+/events"
PORTS = {"mqtt": 1883, "mqtts": 8883}
ORDINARY = ("RUNNING", "COMPLETED", "BLOCKED")
CONNECT_TIMEOUT = 2.0
ECHO_TIMEOUT = 2.0


class Watcher:
    """Counts messages and decides which of them deserve a line; does no I/O."""

    def __init__(self, *, every: float = 1.0) -> None:
        self.view = View()
        self._every = every
        self._not_shown = 0
        self._last_line = float("-inf")

    def see(self, topic: str, payload: bytes | bytearray, now: float) -> str | None:
        """Take one message; return its line, or None to stay silent."""
        event = self.view.fold(topic, payload, now=now)
        return self.line(event, now) if isinstance(event, EventMessage) else None

    def line(self, event: EventMessage, now: float) -> str | None:
        """Return the line for an event, or None to stay silent."""
        if event.body.get("state") in ORDINARY and now - self._last_line < self._every:
            self._not_shown += 1
            return None
        since = f"  (+{self._not_shown:,} not shown)" if self._not_shown else ""
        self._not_shown, self._last_line = 0, now
        return f"#{event.seq:<6} {describe(event)}{since}"

    def counts(self) -> dict[str, Any]:
        """Return what arrived, by run; a hole is a ``seq`` below the highest that did not arrive."""
        runs = {
            run.run_id: {"received": run.messages, "duplicates": run.duplicates, "holes": run.missing}
            for run in self.view.runs.values()
            if run.messages
        }
        return {"runs": runs, "not_understood": self.view.not_understood}


def describe(event: EventMessage) -> str:
    """Describe an event in a few words, on one line."""
    body = event.body
    if event.type == "LifecycleEvent":
        words = [*(text(body, key) for key in ("event", "status", "error")), f"run {event.run_id[:8]}"]
    elif event.type == "TaskStateEvent":
        duration = number(body, "duration_ms")
        took = f"{duration:.1f} ms" if duration else ""
        words = [
            text(body, "task_name"),
            text(body, "state"),
            took,
            text(body, "error"),
            text(body, "reason"),
        ]
    else:
        words = [event.type, "(unknown type of event)"]
    return " ".join(printable(word[:200]) for word in words if word)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect to, and as whom."""

    host: str
    port: int
    tls: bool
    user: str
    password: str = field(repr=False)

    @property
    def address(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self.port}"


def broker_of(url: str) -> Broker:
    """Return the broker of a URL.

    A user without a password gets the one in ``CASCADE_MQTT_PASSWORD``, or in a file (``..._FILE``).

    :raises ValueError: if the URL is not a broker's, or that file cannot be read.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("write mqtt://host:port or mqtts://host:port")
    return Broker(
        host=parts.hostname,
        port=parts.port or PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
        user=unquote(parts.username or ""),
        password=_password_of(parts),
    )


def _password_of(parts: SplitResult) -> str:
    if parts.password is not None or not parts.username:
        return unquote(parts.password or "")
    password, file = (os.environ.get(f"CASCADE_MQTT_PASSWORD{end}", "") for end in ("", "_FILE"))
    if password or not file:
        return password
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"the password's file cannot be read: {error}") from error


class Listener:
    """The link to the broker: passes messages to a watcher and prints its lines."""

    def __init__(self, broker: Broker, watcher: Watcher, *, filters: Sequence[str] = (EVENTS,)) -> None:
        self._broker = broker
        self._watcher = watcher
        self._filters = filters
        self._echo_topic = f"pyaudit/{uuid.uuid4().hex}"  # its own: the wire of Cascade has no such topic
        self._echoed = threading.Event()
        self._reachable: bool | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        if broker.tls:
            self._client.tls_set()
        if broker.user:
            self._client.username_pw_set(broker.user, broker.password)
        self._client.connect_timeout = CONNECT_TIMEOUT
        self._client.reconnect_delay_set(min_delay=1, max_delay=5)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Connect in the background, as often as it takes."""
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=15)
        self._client.loop_start()

    def ready(self) -> None:
        """Report that the broker has accepted the subscription."""
        print_line(f"subscribed to {EVENTS} at {self._broker.address}")

    def receive(self, topic: str, payload: bytes | bytearray) -> None:
        """Take one message and print its line, if it deserves one."""
        if line := self._watcher.see(topic, payload, time.monotonic()):
            print_line(line)

    def catch_up(self) -> None:
        """Wait until everything that was published so far has arrived.

        A broker keeps the order of messages: when the watcher's own message comes back,
        everything published before it has arrived.
        """
        self._echoed.clear()
        self._client.publish(self._echo_topic, b"", qos=1)
        self._echoed.wait(ECHO_TIMEOUT)

    def finish(self) -> dict[str, Any]:
        """Wait until everything published so far has arrived; disconnect; return the counts."""
        if self._client.is_connected():
            self.catch_up()
        self._client.disconnect()
        self._client.loop_stop()
        return self._watcher.counts()

    def _on_connect(
        self, client: mqtt.Client, userdata: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        if reason.is_failure:
            self._unreachable(f"the broker refuses this subscriber: {reason}")
        else:
            client.subscribe([(topic, 1) for topic in (*self._filters, self._echo_topic)])

    def _on_connect_fail(self, client: mqtt.Client, userdata: object) -> None:
        self._unreachable(f"no MQTT broker answers at {self._broker.address}; trying again")

    def _on_disconnect(
        self, client: mqtt.Client, userdata: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        if reason.is_failure:
            what = "lost the link to" if self._reachable else "no MQTT broker answers at"
            self._unreachable(f"{what} {self._broker.address} ({reason}); trying again")

    def _on_subscribe(
        self, client: mqtt.Client, userdata: object, mid: int, reasons: list[ReasonCode], properties: object
    ) -> None:
        refused = [pair for pair in zip(self._filters, reasons, strict=False) if pair[1].is_failure]
        if refused:
            self._unreachable("the broker refuses the subscription to {}: {}".format(*refused[0]))
        elif not self._reachable:
            self._reachable = True
            self.ready()

    def _on_message(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._echo_topic:
            self._echoed.set()
        else:
            self.receive(message.topic, message.payload)

    def _unreachable(self, line: str) -> None:
        """Print why the link failed, once until it works again."""
        if self._reachable is not False:
            self._reachable = False
            print_line(line)


def print_line(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def main() -> int:
    """Watch until standard input ends or Ctrl-C, then print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("broker", nargs="?", default="mqtt://localhost:1883", help="default: %(default)s")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between ordinary lines")
    given = parser.parse_args()
    try:
        broker = broker_of(given.broker)
    except ValueError as error:
        parser.error(f"this is not a broker's URL: {error}")
    listener = Listener(broker, Watcher(every=given.every))
    listener.start()
    with contextlib.suppress(KeyboardInterrupt):  # means the same as the end of standard input
        sys.stdin.read()
    print_line(json.dumps(listener.finish()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
