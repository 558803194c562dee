"""The broker that a command uses, and a link to it for a tool: without will, presence or a name."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

import click

from cascade.cli.command import settings
from cascade.cli.errors import NO_BROKER, USAGE, CommandError
from cascade.cli.output import Output
from cascade.interfaces.abilities import SupportsFlush, SupportsWatch
from cascade.interfaces.connector import Connector
from cascade.interfaces.errors import ConnectorUnavailable
from cascade.interfaces.logs import get_logger
from cascade.transport.credentials import is_exposed, plain_password_problem


class Link(Connector, SupportsWatch, SupportsFlush, Protocol):
    """A connector that can be watched and flushed."""


T = TypeVar("T")

RETRY_SECONDS = 1.0
"""Between two attempts to reach a broker that is not there yet."""
_ABSENT = ("unreachable", "silent", "closed")
ENCRYPTED = ("mqtts", "wss", "tls")
_NATS = ("nats", "tls")
_MQTT = ("mqtt", "mqtts", "ws", "wss")
_FILES = {"ca": "CASCADE_MQTT_CA", "cert": "CASCADE_MQTT_CERT", "key": "CASCADE_MQTT_KEY"}
_WRITE = "write mqtt://host:1883, or mqtts://, ws://, wss://, nats:// or tls://"


class Address:
    """A broker, and how to log in there."""

    def __init__(self, url: str, password: str | None = None, *, from_environment: bool = False) -> None:
        self.url = url
        self.password = password
        self.from_environment = from_environment
        """Whether no option names it, so that a person does not see it."""

    @property
    def place(self) -> str:
        """Scheme, host and port: the URL without user and password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"

    @property
    def user(self) -> str:
        """Who logs in; empty without a user."""
        try:
            return unquote(urlsplit(self.url).username or "")
        except ValueError:
            return ""

    @property
    def over_nats(self) -> bool:
        """Whether the URL names the protocol of NATS."""
        return self.url.partition(":")[0] in _NATS

    def connector(self, **keywords: Any) -> Connector:
        """Make the connector that the URL's scheme names; ``keywords`` are its own."""
        from cascade.sdk.plugins import connector

        if self.password is not None:
            keywords["password"] = self.password
        return connector(self.url, **keywords)

    @property
    def leaves_version_open(self) -> bool:
        """Whether the URL names MQTT, and no version of it."""
        parts = urlsplit(self.url)
        return parts.scheme in _MQTT and "protocol=" not in parts.query

    def tool(self, **keywords: Any) -> Link:
        """Make a connector for a tool: it has no presence, and it requires its link.

        :raises CommandError: if this kind of connector cannot be watched.
        """
        from cascade.sdk.plugins import CONNECTORS, find

        scheme = self.url.partition(":")[0]
        if not hasattr(find(CONNECTORS, scheme).load(), "watch"):
            raise CommandError(f"a {scheme} connector has no broker to watch or to steer", _WRITE, code=USAGE)
        return cast(Link, self.connector(presence=False, required=True, **keywords))


def note_place(address: Address, output: Output) -> None:
    """Show a person which broker a command is about to change, where the environment names it."""
    if address.from_environment and output.terminal:
        output.note(f"broker {address.place}")


def with_broker(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a broker; the function gets them as ``address``.

    :raises CommandError: if none is named.
    """

    @functools.wraps(function)
    def called(*args: Any, address: Address | None, **options: Any) -> Any:
        if address is None:
            remedy = "pass --broker mqtt://localhost, or set CASCADE_BROKER"
            raise CommandError("no broker is named", remedy, code=USAGE)
        return function(*args, address=address, **options)

    return with_optional_broker(called)


def with_optional_broker(function: Callable[..., Any], *, login: bool = True) -> Callable[..., Any]:
    """Add the options that name a broker; the function gets them as ``address``, None if none is named.

    :param login: whether the command logs in there: then it may ask for a password.
    """

    @functools.wraps(function)
    def called(*args: Any, broker: str | None, **options: Any) -> Any:
        files = {name: options.pop(name) for name in _FILES}
        return function(*args, address=_address(broker, files, login=login), **options)

    for name, text in (
        ("key", "Its key."),
        ("cert", "The client's certificate."),
        ("ca", "The authorities to trust."),
    ):
        called = click.option(f"--{name}", metavar="FILE", help=f"{text} Or {_FILES[name]}.")(called)
    return click.option(
        "--broker", metavar="URL", help="The broker, such as mqtt://localhost. Or CASCADE_BROKER."
    )(called)


@asynccontextmanager
async def connected(
    address: Address, *, waits: bool = False, learns_refusals: bool = False
) -> AsyncIterator[Link]:
    """Connect to the broker for as long as the context lasts.

    :param waits: wait for a broker that is not there yet.
    :param learns_refusals: use MQTT 5 if the broker takes it and the URL names no version: it says what it refuses.
    :raises ConnectorUnavailable: if the connector has no link within its connect time-out.
    """
    link = address.tool()
    for text in _unsafe(address):
        settings().output.note(f"cascade: {text}")
    if learns_refusals and address.leaves_version_open and (newer := await _linked_with_mqtt5(address)):
        link = newer
    else:
        await (connect_when_there(link) if waits else link.connect())
    try:
        yield link
    finally:
        await link.disconnect()


async def _linked_with_mqtt5(address: Address) -> Link | None:
    """Return a connector that has a link of MQTT 5; None if there is none, for whatever reason."""
    link = address.tool(protocol="5")
    try:
        await link.connect()
    except ConnectorUnavailable:
        return None
    return link


async def connect_when_there(link: Connector) -> None:
    """Connect; if the broker is not there yet, say so once and wait for it, as an engine does.

    :raises ConnectorUnavailable: if the broker refuses this client, which waiting does not change.
    """
    noted = False
    while True:
        try:
            await link.connect()
        except ConnectorUnavailable as error:
            if error.kind not in _ABSENT:
                raise
            if not noted:
                settings().output.note(f"{error}; waiting for the broker")
            noted = True
            await asyncio.sleep(RETRY_SECONDS)
        else:
            if noted:
                settings().output.note("linked")
            return


def _unsafe(address: Address) -> Iterator[str]:
    """Yield what is wrong with how the password is kept and sent: a tool shows nothing of what its connector logs."""
    parts = urlsplit(address.url)
    password = _variable(parts.scheme, "PASSWORD")
    file = os.environ.get(f"{password}_FILE")
    with suppress(OSError):
        if file and not os.environ.get(password) and is_exposed(file):
            yield f"other users of this machine can read the file of {password}_FILE; chmod 600"
    in_clear = parts.scheme not in ENCRYPTED and bool(parts.username)
    if in_clear and (problem := plain_password_problem(parts.hostname or "")):
        yield problem


def run(work: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    """Run a command's coroutine. SIGTERM ends it with 143, after its context managers have ended."""
    with (
        _quiet_logs(debug=debug),
        _handler_kept(),
        asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,
    ):
        return runner.run(_terminable(work))


async def _terminable(work: Coroutine[Any, Any, T]) -> T:
    """Have SIGTERM cancel the work, as Ctrl-C does: an exception of a signal handler would hit the event loop itself."""
    loop, task, terminated = asyncio.get_running_loop(), asyncio.current_task(), False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        assert task is not None
        task.cancel()

    # Windows, or not the main thread
    with suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await work
    except asyncio.CancelledError:
        if terminated:
            sys.exit(128 + signal.SIGTERM)
        raise


@contextmanager
def _handler_kept() -> Iterator[None]:
    """Restore the caller's handler of SIGTERM, which the event loop replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet_logs(*, debug: bool) -> Iterator[None]:
    """Keep what connectors log from the terminal: the command itself prints what a person needs."""
    logger = get_logger("cascade")
    handler = logging.StreamHandler() if debug else logging.NullHandler()
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)


def _address(url: str | None, files: dict[str, str | None], *, login: bool) -> Address | None:
    given = url is not None
    url = url or os.environ.get("CASCADE_BROKER")
    if not url:
        return None
    if ":" not in url:
        raise CommandError("the broker's address is not a URL", _WRITE, code=USAGE)
    scheme = url.partition(":")[0]
    for name, path in files.items():
        if path is None:
            continue
        if scheme not in ENCRYPTED:
            remedy = "write mqtts://, wss:// or tls://"
            raise CommandError(f"--{name} has no effect without TLS", remedy, code=USAGE)
        # the connector reads these where it reads a URL
        os.environ[_variable(scheme, name.upper())] = path
    return Address(url, _password(url, given=given, login=login), from_environment=not given)


def _password(url: str, *, given: bool, login: bool) -> str | None:
    """Ask for the password that a user in the URL needs, if there is a person to ask.

    :param given: whether the URL is an argument, which every user of the machine can read.
    :param login: whether the command needs the password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None  # the connector says what is wrong with the URL
    password = _variable(parts.scheme, "PASSWORD")
    if parts.password is not None and given:
        raise CommandError(
            "a password in an argument is visible in the process list",
            f"set {password} or {password}_FILE, or leave it out to be asked",
            code=USAGE,
        )
    known = parts.password is not None or any(os.environ.get(name) for name in (password, f"{password}_FILE"))
    if parts.username and not known and given and parts.scheme in _NATS:
        raise CommandError(
            "a user without a password is a token, and in an argument it is visible in the process list",
            f"set CASCADE_NATS_TOKEN, or {password} for a user",
            code=USAGE,
        )
    if not login or not parts.username or known or not sys.stdin.isatty() or parts.scheme in _NATS:
        return None
    asked: str = click.prompt(f"Password of {parts.username} at {parts.hostname}", hide_input=True, err=True)
    return asked


def _variable(scheme: str, name: str) -> str:
    """Return the environment variable that a connector of this scheme reads."""
    return f"CASCADE_{'NATS' if scheme in _NATS else 'MQTT'}_{name}"


def unanswered(what: str, remedy: str) -> CommandError:
    """Return the error for a broker that has accepted the link and then does not answer."""
    return CommandError(f"the broker does not {what}", remedy, code=NO_BROKER)
