"""A connector that only sends: it writes every message to a file, one JSON object per line."""

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from cascade.interfaces import InvalidPayloadError, MessageCallback, Payload
from cascade.interfaces.topics import check_filter, check_topic
from cascade.interfaces.wire import encode_payload
from cascade.transport.state_log import StateLog

log = logging.getLogger(__name__)


class NoMessages:
    """A subscription that never receives a message: a file sends none."""

    async def unsubscribe(self) -> None: ...


class JsonlConnector:
    """Append to ``path`` from connect to disconnect; a failing disk loses messages and never fails the run."""

    def __init__(self, path: str | Path) -> None:
        self.connected, self._path = False, Path(path)
        self._file: TextIO | None = None
        self._state = StateLog(log)  # one warning when writing begins to fail, not one for each message

    async def connect(self) -> None:
        self.connected = True
        try:
            self._file = self._file or self._path.open("a", encoding="utf-8", buffering=1)
        except OSError as exc:
            log.warning("nothing will be written: %s", exc)

    async def disconnect(self) -> None:
        self.connected, file, self._file = False, self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # close() tries once more to write the rest; then it is lost
                file.close()

    async def publish(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        check_topic(topic)
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayloadError(topic, payload)
        if self._file is not None:
            text, _ = encode_payload(payload)
            try:
                self._file.write(f'{{"topic": {json.dumps(topic)}, "payload": {text or "null"}}}\n')
                self._state.works("write")
            except OSError as exc:
                self._state.failed("write", "messages are lost: %s", exc)

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int = 0) -> NoMessages:
        check_filter(topic)
        return NoMessages()
