"""Presence of a named process: the will, the birth, the offline message, and what an earlier process left. No I/O."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections import deque
from typing import Any

from cascade.interfaces.distribution import VERSION
from cascade.interfaces.topics import status_topic
from cascade.interfaces.wire import UndecodableMessageError, decode_payload, timestamp

UNNAMED_WILL = '{"status": "offline"}'
ALIVE = "1"
"""What an unnamed process keeps on a network without wills; no topic holds it."""
ENDED = "ended"
"""The reason in the offline message of a process that has disconnected by itself."""

_EVIDENCE = 3
_WITHIN = 60.0
_SHOWN_WITHIN = 120.0
_SESSIONS = 16
_PREDECESSOR_BIRTHS = 2
_RENEWALS = 3
"""How often a birth is published again within its lifetime."""
_BIRTH_INTERVAL = 1.0
"""Seconds between two births of one session, at least."""


class Presence:
    """The messages that one name publishes on its status topic, and how it reacts to those of others.

    :param named: False: there is only the will of each link, not retained, without a session.
    :param lifetime: seconds for which a birth lasts on a network without wills, of an unnamed process too: what stands
        for its will there; None: until the next message.
    """

    def __init__(self, source_id: str, *, named: bool, lifetime: float | None = None) -> None:
        self.source_id = source_id
        self.named = named
        self.topic = status_topic(source_id)
        self.lifetime = lifetime
        self._sessions: deque[str] = deque(maxlen=_SESSIONS)
        self._suspected = False
        self._foreign_births = 0
        self._announced_elsewhere = -math.inf
        # of other processes: the session that had reported that the name is shared, when that was found, and the one that has ended
        self._shared_by = ""
        self._shared_before = -math.inf
        self._ended = ""
        self._announced: str | None = None
        self._first: str | None = None
        # of other processes, found on the first link: they may have been there before
        self._predecessors: deque[str] = deque(maxlen=_SESSIONS)
        self._birth = ""
        self._born_at = 0.0
        # the own topic holds something else than the birth
        self._holds_other = False
        self._evidence: deque[float] = deque(maxlen=_EVIDENCE + 1)

    @property
    def session(self) -> str:
        """The session of the current link."""
        return self._sessions[-1] if self._sessions else ""

    def begin(self) -> dict[str, Any]:
        """Begin the session of a new link; return the arguments of its will."""
        self._suspected = False
        self._foreign_births = 0
        if not self.named:
            return {"topic": self.topic, "payload": UNNAMED_WILL}
        self._sessions.append(new_nonce())
        return {"topic": self.topic, "payload": self._offline(), "qos": 1, "retain": True}

    @property
    def announced(self) -> str | None:
        """The session of the latest birth that was published."""
        return self._announced

    def birth(self, now: float) -> str:
        """Return the birth, which is published now: this session is online; ``ALIVE`` for an unnamed process.

        :param now: seconds of a monotonic clock.
        """
        self._born_at = now
        self._holds_other = False
        if not self.named:
            return ALIVE
        if self._announced != self.session or not self._birth:
            self._announced = self.session
            self._first = self._first or self.session
            self._birth = json.dumps(
                {
                    "status": "online",
                    "session": self.session,
                    "ts": timestamp(time.time()),
                    "pid": os.getpid(),
                    "host": platform.node(),
                    "version": VERSION,
                }
            )
        return self._birth

    def offline(self) -> str:
        """Return the offline message of a clean end; without its reason it would be the will."""
        return self._offline(reason=ENDED)

    def _offline(self, **reason: str) -> str:
        return json.dumps({"status": "offline", "session": self.session, **reason})

    def receive(self, payload: bytes, now: float) -> bool:
        """Take in a message on the own topic; return whether another process keeps saying that it is online.

        Its first births do not count: it may be a predecessor that is about to end.

        :param now: seconds of a monotonic clock.
        """
        message = _decoded(payload)
        session = message.get("session")
        foreign = isinstance(session, str) and session not in self._sessions
        if isinstance(session, str) and foreign:
            self._suspect(now)
            self._judge(session, now)
            if message.get("reason") == ENDED:
                self._ended = session
        self._holds_other = payload != self._birth.encode()
        self._foreign_births += foreign and message.get("status") == "online"
        if self._foreign_births <= _PREDECESSOR_BIRTHS:
            return False
        self._announced_elsewhere = now
        return True

    def due(self, *, closing: bool = False) -> float | None:
        """Return when the birth is to be published again; None if it is not.

        It is if the topic holds something else, and on a network without wills before it ends.

        :param closing: whether the process is about to end: then what others publish is left as it is.
        """
        if self._holds_other and self._announced == self.session and not closing:
            return self._born_at + _BIRTH_INTERVAL
        return None if self.lifetime is None else self._born_at + self.lifetime / _RENEWALS

    def taken_over(self, now: float) -> None:
        """Note that the broker reported another client with the client id: no predecessor that has ended does that."""
        self._suspect(now)
        self._announced_elsewhere = now

    def contested(self, now: float) -> bool:
        """Return whether another process uses this name: signs of one on more than 3 links within 60 s."""
        return len(self._evidence) > _EVIDENCE and now - self._evidence[0] <= _WITHIN

    def is_shared(self, now: float) -> bool:
        """Return whether reports are to say that another process uses this name: two signs of one within 120 s.

        They come sooner than the connector slows down, and stay while it does. One sign is enough if a predecessor cannot have
        left it: a message of another process on the second link that was not there on the first, or births that it keeps publishing.
        """
        taken_over = len(self._evidence) > 1 and now - self._evidence[-2] <= _SHOWN_WITHIN
        if taken_over or now - self._announced_elsewhere <= _SHOWN_WITHIN:
            return True
        return self._shared_by != self._ended and now - self._shared_before <= _SHOWN_WITHIN

    def shared_before(self, session: str, now: float) -> None:
        """Note that the last process with this name had reported in a session that it shares it.

        It counts unless that process has disconnected by itself: short ones after each other would repeat it for ever.
        """
        self._shared_by, self._shared_before = session, now

    def _judge(self, session: str, now: float) -> None:
        """Note another process if a session is of one that has come after the first birth of this one."""
        if self._first in (None, self.session):
            self._predecessors.append(session)
        elif session not in self._predecessors:
            self._announced_elsewhere = now

    def _suspect(self, now: float) -> None:
        # one per link is enough: a crashed predecessor leaves one, too
        if not self._suspected:
            self._suspected = True
            self._evidence.append(now)


def _decoded(payload: bytes) -> dict[str, Any]:
    try:
        return decode_payload(payload)
    except UndecodableMessageError:
        return {}


def new_nonce() -> str:
    """Return a new random text."""
    return os.urandom(8).hex()
