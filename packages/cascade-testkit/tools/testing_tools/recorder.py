"""An independent MQTT reader for tests: plain paho with a network thread of its own.

It shares nothing with any connector, neither code nor event loop, and misses nothing: its
session is persistent, at QoS 1, and outlives restarts of the broker.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from cascade.interfaces import ConnectorUnavailable
from cascade.interfaces.topics import matches

_START_SECONDS = 60.0
_RETRY_SECONDS = (0.05, 0.5)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message as it came from the broker."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    """Whether the broker marked it as sent before."""

    def json(self) -> Any:
        """Return the decoded payload.

        :raises ValueError: if it is not JSON.
        """
        return json.loads(self.payload)

    def json_object(self) -> dict[str, Any]:
        """Return the decoded payload if it is a JSON object; an empty one otherwise."""
        try:
            data = self.json()
        except (ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}


class Recorder:
    """Records what a broker delivers for some filters, from ``start`` to ``stop``.

    :param username: for brokers that ask for one.
    """

    def __init__(
        self, host: str, port: int, *filters: str, username: str | None = None, password: str | None = None
    ) -> None:
        self._address = (host, port)
        self._filters = filters or ("#",)
        self._credentials = (username, password)
        self._client_id = f"recorder-{uuid.uuid4().hex}"
        self._messages: list[Recorded] = []
        self._subscribed = threading.Event()
        self._answered = threading.Event()
        self._problem = "no answer"
        self._client: Any = None

    @property
    def messages(self) -> list[Recorded]:
        """What has come so far, oldest first, with every duplicate."""
        return list(self._messages)

    def of(self, topic_filter: str) -> list[Recorded]:
        """Return the messages of one filter, oldest first, with every duplicate."""
        return [message for message in self.messages if matches(topic_filter, message.topic)]

    def first_copies(self, topic_filter: str = "#", *, key: str = "event_id") -> list[dict[str, Any]]:
        """Return the JSON objects that have ``key``, in order of arrival, each value of it once.

        Whatever else has come is passed over.
        """
        first: dict[Hashable, dict[str, Any]] = {}
        for message in self.of(topic_filter):
            data = message.json_object()
            if key in data and isinstance(data[key], Hashable):
                first.setdefault(data[key], data)
        return list(first.values())

    def start(self) -> Self:
        """Connect, and return when the broker has acknowledged the subscriptions.

        :raises ConnectorUnavailable: if the broker refuses, or does not answer within a minute.
        """
        self._client = self._made(clean=False)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(*_RETRY_SECONDS)
        self._client.connect_async(*self._address)
        self._client.loop_start()
        self._answered.wait(_START_SECONDS)
        if not self._subscribed.is_set():
            self.stop()
            raise ConnectorUnavailable(*self._address, self._problem)
        return self

    def stop(self) -> None:
        """Disconnect and make the broker forget the session. Idempotent."""
        client, self._client = self._client, None
        if client is None:
            return
        client.disconnect()
        client.loop_stop()
        if self._subscribed.is_set():
            self._forget()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Recorder of {', '.join(self._filters)}: {len(self._messages)} messages>"

    def _made(self, *, clean: bool) -> Any:
        client = Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, clean_session=clean)
        if self._credentials[0] is not None:
            client.username_pw_set(*self._credentials)
        return client

    def _on_connect(self, client: Any, userdata: object, flags: object, reason: Any, *_: object) -> None:
        if reason.is_failure:
            self._problem = str(reason)
            self._answered.set()
        else:
            client.subscribe([(topic_filter, 1) for topic_filter in self._filters])

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed.set()
        self._answered.set()

    def _on_message(self, client: object, userdata: object, message: Any) -> None:
        self._messages.append(
            Recorded(message.topic, message.payload, message.qos, bool(message.retain), bool(message.dup))
        )

    def _forget(self) -> None:
        """End the persistent session: a broker would go on to queue for it."""
        client = self._made(clean=True)
        ended = threading.Event()
        client.on_connect = lambda linked, *_: linked.disconnect()
        client.on_disconnect = lambda *_: ended.set()
        try:
            client.connect(*self._address)
        except OSError:  # the broker is gone, and the session with it as far as a test can see
            return
        client.loop_start()
        ended.wait(_START_SECONDS)
        client.loop_stop()
