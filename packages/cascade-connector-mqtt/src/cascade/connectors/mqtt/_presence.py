"""Who is there: the will, the birth and the good-bye of a named process. Pure."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cascade.interfaces.topics import status_topic
from cascade.interfaces.wire import timestamp

UNNAMED_WILL = '{"status": "offline"}'

_EVIDENCE = 3
_WITHIN = 60.0
_SESSIONS = 16


class Presence:
    """What one name says on its status topic, and what it hears there.

    :param named: False: only the will of each link, not retained, without a session.
    """

    def __init__(self, source_id: str, *, named: bool) -> None:
        self.source_id = source_id
        self.named = named
        self.topic = status_topic(source_id)
        self._sessions: deque[str] = deque(maxlen=_SESSIONS)
        self._heard = False
        self._evidence: deque[float] = deque(maxlen=_EVIDENCE + 1)

    @property
    def session(self) -> str:
        """The session of the present link."""
        return self._sessions[-1] if self._sessions else ""

    def begin(self) -> dict[str, Any]:
        """Begin the session of a new link; return the arguments of its will."""
        self._heard = False
        if not self.named:
            return {"topic": self.topic, "payload": UNNAMED_WILL}
        self._sessions.append(secrets.token_hex(8))
        return {"topic": self.topic, "payload": self.offline(), "qos": 1, "retain": True}

    def birth(self) -> str:
        """Return the message that says that this session is there."""
        return json.dumps(
            {
                "status": "online",
                "session": self.session,
                "ts": timestamp(time.time()),
                "pid": os.getpid(),
                "host": platform.node(),
                "version": _version(),
            }
        )

    def offline(self) -> str:
        """Return the message that says that this session is gone."""
        return json.dumps({"status": "offline", "session": self.session})

    def hears(self, message: dict[str, Any], now: float) -> bool:
        """Take note of a message on the own topic; return whether to say again who is there.

        :param now: seconds of a monotonic clock.
        """
        session = message.get("session")
        if session not in self._sessions:
            self._suspect(now)
        return message.get("status") == "offline" and session != self.session

    def taken_over(self, now: float) -> None:
        """Take note that the broker said that another client has the client id."""
        self._suspect(now)

    def contested(self, now: float) -> bool:
        """Return whether another process uses this name: seen on more than 3 links within 60 s."""
        return len(self._evidence) > _EVIDENCE and now - self._evidence[0] <= _WITHIN

    def _suspect(self, now: float) -> None:
        if not self._heard:  # one sign for each link is enough: a crashed predecessor leaves one too
            self._heard = True
            self._evidence.append(now)


def _version() -> str:
    try:
        return version("cascade-connector-mqtt")
    except PackageNotFoundError:
        return "unknown"
