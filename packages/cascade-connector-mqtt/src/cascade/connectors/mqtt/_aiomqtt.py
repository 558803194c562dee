"""What aiomqtt lacks, set round one of its clients. To anything else (a mock) it does nothing.

It touches private attributes of aiomqtt 2 and says which, in one place; a test fails when
aiomqtt changes there.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

from cascade.connectors.mqtt import _sockets
from cascade.connectors.mqtt._errors import UNANSWERED

try:
    from aiomqtt import Client as _RealClient
    from aiomqtt import MqttError as _MqttError
    from aiomqtt import ProtocolVersion as _Version
except ImportError:  # the constructor says what to install
    _RealClient = None  # type: ignore[assignment, misc]
    _MqttError = ConnectionError  # type: ignore[assignment, misc]
    _Version = None  # type: ignore[assignment, misc]

KEEPALIVE = 15
PENDING_CALLS = 10_000
"""aiomqtt warns beyond this many calls in progress; the window bounds them here."""

_VERSIONS = {3: "V31", 4: "V311", 5: "V5", "3.1": "V31", "3.1.1": "V311", "5": "V5"}
"""The client's names for the versions of MQTT, by their number on the wire and by their own."""

_NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)

LOGGER = logging.getLogger("mqtt")
"""The client's own, unless the caller passes another."""
LOGGER.addHandler(logging.NullHandler())  # as with ours: without one, logging's last resort is stderr


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """Lets the client's logger say each thing once until :meth:`renew` is called.

    Why a socket failed is told by us, with host and port; the client says it nowhere but here.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, None)
        self._said: set[tuple[int, object]] = set()
        self._trouble: OSError | None = None

    def renew(self) -> None:
        """Begin a new state, in which everything may be said once again."""
        self._said.clear()

    def take_trouble(self) -> OSError | None:
        """Return why the socket has failed, once; None if it has not."""
        trouble, self._trouble = self._trouble, None
        return trouble

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log unless it was said since the last change of state."""
        if level >= logging.WARNING:
            if args and isinstance(args[0], OSError):
                self._trouble, level = args[0], logging.DEBUG
            elif (level, msg) in self._said:
                return
            else:
                self._said.add((level, msg))
        super().log(level, msg, *args, **kwargs)


def link_error(exc: BaseException) -> bool:
    """Return whether an exception speaks of the link, and not of one message."""
    return isinstance(exc, _MqttError | OSError)


def client_keywords() -> frozenset[str]:
    """Return the keywords that ``aiomqtt.Client`` takes beyond host and port."""
    if _RealClient is None:
        return frozenset()
    return frozenset(inspect.signature(_RealClient).parameters) - {"hostname", "port"}


def client_id_keyword(module: ModuleType) -> str:
    """Return the name that the signature of ``Client`` has for a client id."""
    parameters = inspect.signature(module.Client).parameters
    return "identifier" if "identifier" in parameters else "client_id"


def protocol_version(value: object) -> Any:
    """Return the client's own name for a version of MQTT such as ``"3.1.1"`` or 5; None for no version."""
    if _Version is None or isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return _Version[_VERSIONS[value]] if value in _VERSIONS else None


def prepare(
    context: Any,
    *,
    given: Mapping[str, Any],
    connect_timeout: float,
    answer_timeout: float,
    logger: QuietLogger,
    refused: Callable[[int], None],
) -> None:
    """Set on a new client what its constructor was not told, unless the caller gave it.

    :param connect_timeout: seconds for the TCP connection, which paho makes in a thread.
    :param answer_timeout: seconds for the answer to CONNECT.
    :param refused: is told the reason code of each publication that the broker refuses (MQTT 5).
    """
    if not is_real(context):
        return
    paho = context._client
    paho.connect_timeout = connect_timeout
    paho.on_disconnect = functools.partial(_disconnected, context, paho.on_disconnect, logger)
    _sockets.watch_when_connected(context)
    if paho.protocol == protocol_version("5"):
        paho.on_connect = functools.partial(_connected, paho.on_connect)
        paho.on_publish = functools.partial(_published, paho.on_publish, refused)
        paho._handle_pubrec = functools.partial(_received, paho, paho._handle_pubrec)
    context.pending_calls_threshold = PENDING_CALLS
    if "keepalive" not in given:
        context._keepalive = KEEPALIVE
    if "timeout" not in given:
        context.timeout = answer_timeout
    if "socket_options" not in given and given.get("transport") != "unix":
        context._socket_options = _NODELAY
    if "logger" not in given:
        context._logger = logger
        paho.enable_logger(logger)


def entered(context: Any, *, given: Mapping[str, Any], lost: Callable[[BaseException | None], None]) -> None:
    """Call ``lost`` as soon as the client's link is down.

    From here on the client itself waits without a limit, which spares each publish a task;
    the limits are the link's own.
    """
    if not is_real(context):
        return
    if "timeout" not in given:
        context.timeout = math.inf
    disconnected = context._disconnected
    disconnected.add_done_callback(lambda future: lost(_outcome(future)))
    if context._client.socket() is None:  # it went down before aiomqtt made that future
        lost(ConnectionResetError("the broker closed the connection"))


def why_lost(context: Any) -> BaseException | None:
    """Return what the client knows of the end of its link, or None: calls that fail for it say less."""
    return _outcome(context._disconnected) if is_real(context) and context._disconnected.done() else None


def waiting(context: Any) -> Iterator[Any]:
    """Yield messages that have arrived already, which spares each of them a task of its own."""
    if not is_real(context):
        return
    queue = context._queue
    while not queue.empty():
        yield queue.get_nowait()


def expires_in(message: Any) -> float | None:
    """Return the seconds that a message has left, or None: without MQTT 5 nobody says."""
    properties = getattr(message, "properties", None)
    left = None if properties is None else getattr(properties, "MessageExpiryInterval", None)
    return float(left) if isinstance(left, int) else None


def ignore_answers(context: Any) -> None:
    """Let the answers to calls that were ended pass: aiomqtt logs each of them as an error."""
    if is_real(context):
        context._client.on_subscribe = context._client.on_unsubscribe = None


def abandon(context: Any) -> None:
    """Make an ``__aenter__`` in progress fail as soon as it can, without telling the broker anything."""
    if not is_real(context):
        return
    context._client.disable_logger()  # it would tell of the refusal as of an error
    context._client.on_socket_open = _refuse_socket
    close(context)
    if not context._connected.done():
        context._connected.set_exception(_MqttError("abandoned"))
        context._connected.exception()


def close(context: Any) -> None:
    """Close the socket and end aiomqtt's own loop task; whoever waits for the client is woken."""
    if not is_real(context):
        return
    context._client._sock_close()
    if context._misc_task is not None:
        context._misc_task.cancel()
    if context._disconnected.done():
        _outcome(context._disconnected)
    else:
        context._disconnected.set_result(None)


def discard(context: Any, exc: BaseException) -> None:
    """Close what a failed ``__aenter__`` left open: the socket, and one whose handshake has failed."""
    if not is_real(context):
        return
    close(context)
    trace = exc.__context__.__traceback__ if exc.__context__ is not None else None
    while trace is not None:  # paho keeps that socket nowhere but in a variable
        for name in ("ssl_sock", "sock"):  # of TLS, of websockets
            half_open = trace.tb_frame.f_locals.get(name)
            if isinstance(half_open, socket.socket):
                half_open.close()
        trace = trace.tb_next


def close_in_child(context: Any) -> None:
    """Close a forked process's copy of the socket; the parent's link and its event loop stay as they are."""
    if not is_real(context):
        return
    sock, context._client._sock = context._client._sock, None
    inner = getattr(sock, "_socket", sock)  # of a websocket
    if isinstance(inner, socket.socket) and inner.fileno() >= 0:
        os.close(inner.detach())


def is_real(context: Any) -> bool:
    """Return whether this is a client of aiomqtt, and no mock, which may claim to be one."""
    return _RealClient is not None and issubclass(type(context), _RealClient)


def _disconnected(context: Any, told: Callable[..., None], logger: QuietLogger, *args: Any) -> None:
    """Tell why the link is down; end an ``__aenter__`` at once then, where aiomqtt waits its whole time-out."""
    told(*args)
    trouble = logger.take_trouble()
    if not context._connected.done():
        context._connected.set_exception(_MqttError(UNANSWERED))
    for future in (context._connected, context._disconnected):
        if future.done() and (exc := _outcome(future)) is not None:
            exc.__cause__ = trouble


def _connected(told: Callable[..., None], paho: Any, *args: Any) -> None:
    """Have no more in flight than the broker takes, or it cuts each link: paho does not look; MQTT 5.0, section 3.2.2.3.3."""
    if most := getattr(args[3], "ReceiveMaximum", 0):
        paho._max_inflight_messages = min(paho._max_inflight_messages or most, most)
    told(paho, *args)


def _received(paho: Any, told: Callable[[], Any]) -> Any:
    """End a publication of QoS 2 that a PUBREC refuses, where paho goes on with it; MQTT 5.0, section 4.3.3."""
    packet = paho._in_packet["packet"]
    mid = int.from_bytes(packet[:2])
    if len(packet) < 3 or packet[2] < 0x80 or mid not in paho._out_messages:
        return told()
    return paho._do_on_publish(mid, SimpleNamespace(value=packet[2]), None)


def _published(told: Callable[..., None], refused: Callable[[int], None], *args: Any) -> None:
    """Look at the reason code of a PUBACK or PUBREC, which aiomqtt does not; MQTT 5.0, section 3.4.2.1."""
    reason = args[3].value
    if reason >= 0x80:
        refused(reason)
    told(*args)


def _outcome(future: asyncio.Future[None]) -> BaseException | None:
    return None if future.cancelled() else future.exception()


def _refuse_socket(*_: Any) -> None:
    raise OSError("the connection is no longer wanted")
