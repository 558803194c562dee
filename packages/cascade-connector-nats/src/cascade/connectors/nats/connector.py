"""``NatsConnector``: joins an engine, a tool or any asyncio program to a NATS server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

try:
    import nats
except ImportError:  # the constructor raises, and says what to install
    nats = None  # type: ignore[assignment]

from cascade.connectors.nats import _errors, config
from cascade.connectors.nats._client import NatsClient
from cascade.connectors.nats._kept import Keeping
from cascade.connectors.nats._link import NatsLink
from cascade.interfaces.abilities import Limitation
from cascade.interfaces.connector import Payload
from cascade.interfaces.distribution import install_line
from cascade.interfaces.watch import ReplyTo
from cascade.transport.connector import NetworkConnector
from cascade.transport.credentials import warn_of_plain_password
from cascade.transport.faults import Fault
from cascade.transport.link import LinkParts


class NatsConnector(NetworkConnector):
    """A connector to one NATS server. Call all methods on the event loop on which ``connect`` was called.

    Constraints, presence and every other retained message are in a JetStream bucket; telemetry at QoS 1 is in a
    stream. On a server without JetStream telemetry is sent all the same.

    :param hostname: name or address of the server.
    :param port: usually 4222.
    :param source_id: the name of this process, at most 64 bytes; the connector then announces it. The default is
        host and process id.
    :param presence: False for tools that watch or steer: nothing announces them.
    :param presence_ttl: seconds after which others see that a process has gone that could not say so.
    :param bucket: the name of the bucket and of the stream; all that steer and obey each other use the same.
    :param connect_timeout: seconds after which ``connect`` returns, with or without a link.
    :param required: raise ``ConnectorUnavailable`` from ``connect`` if it has no link by then.
    :param outbox_messages: number of messages that may wait; beyond it the oldest are dropped and counted.
    :param outbox_bytes: number of bytes of messages that may wait.
    :param drain_timeout: seconds for which ``disconnect`` sends waiting messages.
    :param window: number of messages that may be in flight on a distant link; it is 20 at first.
    :param keywords: of ``nats.connect``: ``user`` and ``password``, ``token``, ``nkeys_seed`` (a file),
        ``nkeys_seed_str``, ``user_credentials`` (a file), ``tls`` (a context), ``tls_hostname``,
        ``tls_handshake_first``, ``name``, ``inbox_prefix``.
    :raises ConfigurationError: if a setting cannot work; the message says what to write instead.
    :raises ImportError: if nats-py is not installed.
    """

    def __init__(self, hostname: str, port: int = 4222, **keywords: Any) -> None:
        if nats is None:
            raise ImportError(f"NatsConnector needs nats-py: {install_line('nats')}")
        if "://" in str(hostname):
            hostname, port, keywords = config.from_url(hostname, keywords)
        self._nats = config.settings(hostname, port, keywords)
        self._keeping: Keeping | None = None
        super().__init__(self._nats, log=config.NETWORK.log)

    @classmethod
    def from_url(cls, url: str, **keywords: Any) -> Self:
        """Return a connector for ``nats://user:password@host:4222``, or ``tls://`` for TLS.

        ``?source_id=press-line-3`` names the process, else the environment variable ``CASCADE_SOURCE_ID``
        does. A user without a password is a token. What the URL does not hold may be in ``CASCADE_NATS_PASSWORD``,
        ``CASCADE_NATS_TOKEN`` (both also with ``_FILE``), ``CASCADE_NATS_CREDS`` or ``CASCADE_NATS_NKEY`` (files).

        :raises ConfigurationError: if the URL cannot be understood.
        """
        hostname, port, keywords = config.from_url(url, keywords)
        return cls(hostname, port, **keywords)

    def keep(self, name: str, stored: Callable[[], Awaitable[None]]) -> None:
        """Have the stream keep telemetry for the subscriptions at QoS 1 while this is away; see ``SupportsKeep``.

        :param name: known to the server for 8 days without a link; two connectors at the same time share the messages.
        """
        self._keeping = Keeping(name, stored)

    def answer_nowait(self, reply_to: ReplyTo, payload: Payload) -> None:
        """Answer a request of NATS on its reply subject; see ``SupportsReplies``.

        :raises WrongThreadError: if called from another thread than the loop's.
        """
        self._answer(reply_to, payload)

    async def limitations(self) -> Sequence[Limitation]:
        """Return what the server cannot do for this user, such as to keep constraints; none without a link."""
        link = self._link
        return await link.store.limitations() if isinstance(link, NatsLink) else ()

    def make_client(self) -> NatsClient:
        self._presence.begin()
        if not self._nats.tls and {"password", "token"} & {*self._nats.client}:
            warn_of_plain_password(config.NETWORK.log, self.hostname)
        # its keywords decide on TLS
        return NatsClient(f"nats://{self._nats.address}", self._nats.client)

    def make_link(self, client: NatsClient, parts: LinkParts) -> NatsLink:
        return NatsLink(client, parts, bucket=self._nats.bucket, keeping=self._keeping)

    def explain(self, exc: BaseException | None) -> Fault:
        return _errors.explain(exc, credentials=config.NETWORK.proof(self._nats.client), tls=self._nats.tls)
