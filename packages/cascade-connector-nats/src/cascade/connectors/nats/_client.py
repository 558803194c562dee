"""The adapter: one connection of nats-py, whose messages are taken as they are parsed, in one order.

nats-py puts each subscription's messages into a queue with a task of its own: the order between subscriptions is
lost, and each message costs two switches of tasks. Private methods of nats-py 2 are used here and nowhere else; a test
fails when they change.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from cascade.interfaces.subjects import subject_of
from cascade.transport.event_loop import close_copy
from cascade.transport.faults import MessageRejected
from cascade.transport.pending_calls import PendingCalls

try:
    from nats.aio.client import Client as _Client
    from nats.protocol.command import hpub_cmd, pub_cmd
except ImportError:  # the connector's constructor says what to install
    _Client = object  # type: ignore[assignment, misc]

Handler = Callable[[str, str, bytes, bytes | None], None]
"""Called with the subject, the reply subject, the data and the raw headers of a message."""
Headers = Mapping[str, str] | None

PING_INTERVAL = 10
MAX_PENDING = 1 << 21
"""Bytes that wait to be written, above which senders wait until the socket takes more."""
NOT_ALLOWED = 403
NO_RESPONDERS = 503
CLOSED = "the server ended the connection"
_NO_RESPONDERS = b"NATS/1.0 503"
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')


class ApiError(MessageRejected):
    """JetStream has refused a request, or does not answer; ``code`` is its own, or else the one of HTTP."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(int(error.get("err_code") or error.get("code", 0)))
        self.args = (str(error.get("description", "refused")),)


class NatsClient(PendingCalls):
    """One connection: it connects once, and is closed afterwards.

    :param url: of the server, without credentials.
    :param keywords: for ``nats.connect``.
    """

    def __init__(self, url: str, keywords: Mapping[str, Any]) -> None:
        super().__init__()
        self._url = url
        self._keywords = keywords
        self.denied: Callable[[str], None] | None = None
        """Called with the subject, in lower case, of a subscription that the server refuses."""
        self.max_payload = 0
        """Bytes of the largest message that the server takes."""
        self.server_version = ""
        """The server's own version."""
        self.has_jetstream = False
        """Whether the server has JetStream, if not for every account."""
        self._nc: Any = _Connection(self)
        self.handlers: dict[int, Handler] = {}
        """By number of the subscription."""
        self._inbox = f"{_inbox_of(keywords)}.{secrets.token_hex(11)}"
        self._numbers = itertools.count()
        # the server refuses the subscription that gets the answers
        self._deaf = False

    async def connect(self, answer_timeout: float) -> None:
        nc = self._nc
        async with asyncio.timeout(answer_timeout):
            await nc.connect(
                self._url,
                allow_reconnect=False,
                connect_timeout=answer_timeout,
                ping_interval=PING_INTERVAL,
                error_cb=_ignore,
                # each subject is one that _subjects has made
                skip_subject_validation=True,
                **self._keywords,
            )
            # nats-py takes an end of the connection for an answer
            if not nc.is_connected:
                raise ConnectionError(CLOSED)
            self.max_payload, self.server_version = nc.max_payload, nc._server_info.get("version", "")
            self.has_jetstream = bool(nc._server_info.get("jetstream"))
            self.subscribe(f"{self._inbox}.*", lambda subject, _, *answer: self.answer(subject, answer))

    async def disconnect(self) -> None:
        """Wait until the server has what was written."""
        # the caller closes the socket in any case
        with contextlib.suppress(Exception):
            await self.settle()

    def subscribe(self, subject: str, handler: Handler) -> int:
        """Call ``handler`` for each message of a subject; return the number of the subscription."""
        self._nc._sid = sid = self._nc._sid + 1
        self.handlers[sid] = handler
        self._command(f"SUB {subject} {sid}\r\n".encode())
        return int(sid)

    def unsubscribe(self, sid: int) -> None:
        """Take no further message of a subscription."""
        if self.handlers.pop(sid, None) is not None:
            self._command(f"UNSUB {sid}\r\n".encode())

    def new_inbox(self) -> str:
        """Return a new subject of this client alone."""
        return f"{self._inbox}-{next(self._numbers)}"

    def write(self, subject: str, data: bytes = b"", *, reply: str = "", headers: Headers = None) -> bool:
        """Write one message, which the server does not acknowledge; return whether the socket takes more.

        :raises LinkLost: if the connection has ended.
        """
        self.check_up()
        if headers is None:
            return self._command(pub_cmd(subject, reply, data))
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        return self._command(hpub_cmd(subject, reply, f"NATS/1.0\r\n{lines}\r\n".encode(), data))

    async def drained(self) -> None:
        """Wait until the socket takes more."""
        await self._nc._flush_pending(force_flush=True)

    async def request(self, subject: str, data: bytes, headers: Headers = None) -> dict[str, Any]:
        """Send a message and return the JSON object of JetStream's answer.

        :raises ApiError: if JetStream refuses the request, or nothing answers requests on the subject.
        :raises MessageRejected: if this user may not publish to the subject, or get the answer.
        """
        reply = f"{self._inbox}.{next(self._numbers)}"
        with self.expecting(reply, subject.lower()) as answer:
            if self._deaf:
                raise MessageRejected(NOT_ALLOWED)
            if not self.write(subject, data, reply=reply, headers=headers):
                await self.drained()
            text, status = await answer
        if status is not None and status.startswith(_NO_RESPONDERS):
            raise ApiError({"code": NO_RESPONDERS, "description": "nothing answers"})
        # bytes would cost a guess of their encoding
        found: dict[str, Any] = json.loads(text.decode())
        if "error" in found:
            raise ApiError(found["error"])
        return found

    async def settle(self, subject: str = "") -> None:
        """Return when the server has taken everything that was written before.

        :raises LinkLost: if the connection has ended.
        :raises MessageRejected: if this user may not publish to ``subject``.
        """
        nc = self._nc
        with self.expecting(next(self._numbers), subject.lower()) as pong:
            try:
                # nats-py lets its own PING overtake these
                nc._transport.writelines(nc._pending)
                nc._pending, nc._pending_data_size = [], 0
                nc._pongs.append(pong)
                nc._transport.write(b"PING\r\n")
            except Exception as exc:
                # asyncio of Python 3.12 raises AttributeError where the socket has just been closed
                self.lost(exc)
            await pong

    def close(self) -> None:
        nc, self.handlers = self._nc, {}
        self.lost(ConnectionError("closed"))
        nc._status = nc.CLOSED
        for task in (nc._reading_task, nc._ping_interval_task, nc._flusher_task):
            if task is not None:
                task.cancel()
        for writer in _writers(nc):
            writer.transport.abort()

    def close_in_child(self) -> None:
        for writer in _writers(self._nc):
            close_copy(writer.get_extra_info("socket"))

    def refused(self, text: str) -> bool:
        """Note what the server has refused; return whether the connection stays open.

        :param text: of the server's error, in lower case.
        """
        found = _DENIED.search(text)
        if found is None:
            return False
        kind, subject = found.groups()
        if kind == "subscription" and self.denied is not None:
            self.denied(subject)
        deafens = subject == f"{self._inbox}.*".lower()
        self._deaf |= deafens
        self.fail(MessageRejected(NOT_ALLOWED), about=None if deafens else subject)
        return True

    def _command(self, command: bytes) -> bool:
        """Write a command behind what waits to be written, in the loop's next iteration; return if there is room."""
        nc = self._nc
        nc._pending.append(command)
        nc._pending_data_size += len(command)
        if nc._flush_queue is not None and nc._flush_queue.empty():
            nc._flush_queue.put_nowait(asyncio.get_running_loop().create_future())
        return bool(nc._pending_data_size <= MAX_PENDING)


class _Connection(_Client):
    """A client of nats-py without its queues and its reconnection."""

    def __init__(self, owner: NatsClient) -> None:
        super().__init__()
        self._owner = owner

    async def _select_next_server(self) -> None:
        """Connect to the one server, and raise what went wrong."""
        server = self._server_pool[0]
        await self._connect_to_server(server)
        self._current_server = server

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Insist on TLS: nats-py sends credentials in the clear where a server does not require it."""
        if self.options.get("tls") is not None and initial_connection:
            if not info.get("tls_required") and not info.get("tls_available"):
                raise ConnectionError("the server offers no TLS")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        try:
            if (handler := self._owner.handlers.get(sid)) is not None:
                handler(subject.decode("utf-8", "surrogateescape"), reply.decode("latin-1"), data, headers)
        except Exception as exc:
            self._owner.lost(exc)

    async def _process_pong(self) -> None:
        # that call has failed meanwhile, or was cancelled
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_op_err(self, e: Exception) -> None:
        self._owner.lost(e)

    async def _process_err(self, err_msg: str) -> None:
        if not self._owner.refused(err_msg):
            self._owner.lost(ConnectionError(err_msg.strip("'")))


def _inbox_of(keywords: Mapping[str, Any]) -> str:
    """Return where answers go: for a user with a name a place of its own, which access rules can keep from others."""
    user = f".{subject_of(keywords['user'])}" if keywords.get("user") else ""
    return str(keywords.get("inbox_prefix") or f"_INBOX{user}")


def _writers(nc: Any) -> list[asyncio.StreamWriter]:
    writers = (getattr(nc._transport, name, None) for name in ("_io_writer", "_bare_io_writer"))
    return [each for each in writers if each is not None]


async def _ignore(exc: Exception) -> None:
    """Do nothing: what nats-py reports here is also raised, or noted by the server's error."""
