"""An ordinary MQTT subscriber that tells what it sees of a run; it knows nothing of Cascade.

    python watcher.py mqtt://localhost:1883

It prints a line for what matters and one a second for the rest, until its standard input
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

EVENTS = "cascade/telemetry/+/+/+/events"
PORTS = {"mqtt": 1883, "mqtts": 8883}
ORDINARY = ("RUNNING", "COMPLETED", "BLOCKED")
CONNECT_TIMEOUT = 2.0
ECHO_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One event, as far as this program needs it."""

    run_id: str
    event_id: str
    seq: int
    body: dict[str, Any]


@dataclass(slots=True)
class RunCounts:
    """What arrived of one run."""

    received: int = 0
    duplicates: int = 0
    highest: int = -1
    distinct: set[str] = field(default_factory=set)

    def add(self, event: Seen) -> None:
        """Count an event; one that was seen before is a duplicate."""
        self.received += 1
        self.duplicates += event.event_id in self.distinct
        self.distinct.add(event.event_id)
        self.highest = max(self.highest, event.seq)

    def summary(self) -> dict[str, int]:
        """Return the counts; a hole is a ``seq`` below the highest that never came."""
        holes = max(0, self.highest + 1 - len(self.distinct))
        return {"received": self.received, "duplicates": self.duplicates, "holes": holes}


class Watcher:
    """Counts messages and decides which of them deserve a line; does no I/O."""

    def __init__(self, *, every: float = 1.0) -> None:
        self._every = every
        self._runs: dict[str, RunCounts] = {}
        self._not_understood = 0
        self._silent = 0
        self._last_line = float("-inf")

    def see(self, payload: bytes | bytearray, now: float) -> str | None:
        """Take one message; return the line that tells it, or None to stay silent."""
        event = parse(payload)
        if event is None:
            self._not_understood += 1
            return None
        self._runs.setdefault(event.run_id, RunCounts()).add(event)
        if event.body.get("state") in ORDINARY and now - self._last_line < self._every:
            self._silent += 1
            return None
        since = f"  (+{self._silent:,} not shown)" if self._silent else ""
        self._silent, self._last_line = 0, now
        return f"#{event.seq:<6} {describe(event)}{since}"

    def counts(self) -> dict[str, Any]:
        """Return what was received, by run."""
        runs = {run_id: counts.summary() for run_id, counts in self._runs.items()}
        return {"runs": runs, "not_understood": self._not_understood}


def parse(payload: bytes | bytearray) -> Seen | None:
    """Return the event in a message, or None when it holds none."""
    try:
        match json.loads(payload):
            case {"run_id": str(run_id), "event_id": str(event_id), "seq": int(seq), "body": dict(body)}:
                return Seen(run_id, event_id, seq, body)
            case _:
                return None
    except (ValueError, RecursionError):
        return None


def describe(event: Seen) -> str:
    """Tell an event in a few words, on one line."""
    body = event.body
    if body.get("type") == "LifecycleEvent":
        words = [body.get("event"), body.get("status"), body.get("error"), f"run {event.run_id[:8]}"]
    elif body.get("type") == "TaskStateEvent":
        words = [
            body.get("task_name"),
            body.get("state"),
            _duration(body),
            body.get("error"),
            body.get("reason"),
        ]
    else:
        words = [body.get("type"), "(unknown type of event)"]
    return " ".join(printable(str(word)[:200]) for word in words if word)


def printable(text: str) -> str:
    """Return ``text`` with every character that could move a cursor or end a line escaped."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def _duration(body: dict[str, Any]) -> str:
    duration = body.get("duration_ms")
    return f"{duration:.1f} ms" if isinstance(duration, int | float) and duration else ""


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
    """Return the broker that a URL names.

    A user without a password gets the one in ``CASCADE_MQTT_PASSWORD``, or in a file (``..._FILE``).

    :raises ValueError: if it names none, or that file cannot be read.
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
    """The link to the broker: feeds a watcher and prints what it says."""

    def __init__(self, broker: Broker, watcher: Watcher, *, filters: Sequence[str] = (EVENTS,)) -> None:
        self._broker = broker
        self._watcher = watcher
        self._filters = filters
        self._echo_topic = f"cascade/watcher/{uuid.uuid4().hex}"
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
        """Do what is to be done once the broker has taken the subscription."""
        say(f"subscribed to {EVENTS} at {self._broker.address}")

    def hear(self, topic: str, payload: bytes | bytearray) -> None:
        """Take one message."""
        if line := self._watcher.see(payload, time.monotonic()):
            say(line)

    def catch_up(self) -> None:
        """Wait until all that the broker has had so far is here.

        A broker keeps the order of messages: when the watcher's own comes back, everything
        that was published before it has come.
        """
        self._echoed.clear()
        self._client.publish(self._echo_topic, b"", qos=1)
        self._echoed.wait(ECHO_TIMEOUT)

    def finish(self) -> dict[str, Any]:
        """Wait until all that the broker has had so far is here; disconnect; return the counts."""
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
            self.hear(message.topic, message.payload)

    def _unreachable(self, line: str) -> None:
        """Say it once, however often it is tried."""
        if self._reachable is not False:
            self._reachable = False
            say(line)


def say(line: str) -> None:
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
        parser.error(f"this is no broker's URL: {error}")
    listener = Listener(broker, Watcher(every=given.every))
    listener.start()
    with contextlib.suppress(KeyboardInterrupt):  # the same wish as the end of standard input
        sys.stdin.read()
    say(json.dumps(listener.finish()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
