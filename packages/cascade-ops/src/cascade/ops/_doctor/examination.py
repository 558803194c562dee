"""Gather the facts about a broker, in the order in which a client meets them; the first fault on the way ends it."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import SplitResult, parse_qs, unquote

from cascade.cli.link import Address
from cascade.cli.snapshot import CANARIES, PROBE, REGISTERS, STATES, STATUS
from cascade.interfaces.abilities import SupportsLimitations, supports
from cascade.interfaces.errors import ConnectorUnavailable
from cascade.interfaces.logs import get_logger
from cascade.interfaces.topics import constraint_topic, encode_level, status_topic
from cascade.interfaces.watch import Complete, Lost, Message
from cascade.ops._access.mosquitto import STORED_SESSIONS
from cascade.ops._doctor.broker_probes import (
    ANSWER_SECONDS,
    EXPIRED,
    VERSION,
    Examined,
    RightsProbe,
    ask_service,
    count_queued,
    happens,
    read_back,
    read_kept_requests,
    read_published,
    retained,
    try_size,
)
from cascade.ops._doctor.facts import Facts, Files, Login, Target
from cascade.ops._doctor.gate_checks import silent_topics
from cascade.ops._doctor.gate_probes import hear_topics
from cascade.ops._doctor.local_server import local_configuration
from cascade.ops._doctor.network_probes import find_websocket, try_port, try_tls
from cascade.ops._doctor.rights_checks import EVENTS, OWN_SYNC, PRESENCE, PROGRESS, STEERING, SYNC
from cascade.ops._doctor.service_checks import offers_of
from cascade.ops._leftovers import leftovers
from cascade.transport import urls
from cascade.transport.credentials import end_problem, is_exposed
from cascade.wire import Presence, View, parse

MESSAGES = 1_200
"""The most retained messages that are tried: more than the 1,000 that brokers queue or cut by default."""
MOST_ASKED = 50
"""Workflows that are asked for, of all services together."""
LISTEN_SECONDS = 2.0
RENEWAL_SECONDS = 4.0
"""In which an engine that uses the protocol of NATS renews its presence."""
_OVER_NATS = "$KV/cascade/cascade/status/+"
"""Where MQTT clients of a nats-server hear that."""
_USUAL_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443, "nats": 4222, "tls": 4222}
_WEBSOCKET_PORTS = (8080, 8083, 9001)
_SECRET_FILES = (
    "CASCADE_MQTT_PASSWORD_FILE",
    "CASCADE_NATS_PASSWORD_FILE",
    "CASCADE_NATS_TOKEN_FILE",
    "CASCADE_NATS_CREDS",
    "CASCADE_NATS_NKEY",
)
_TLS = ("CA", "CERT", "KEY")
_REPORTS = (STATUS, STATES, REGISTERS)

log = get_logger("cascade.cli.doctor")


class Examination:
    """One examination of one broker.

    Facts that were found before a fault of the network stay.

    :param probe_write: also try to write a constraint, and to start what services offer; both have expired already.
    """

    def __init__(self, address: Address, *, probe_write: bool = False) -> None:
        self._address = address
        self._probe_write = probe_write
        self._name = f"{PROBE}{secrets.token_hex(4)}"
        self._topics_seen: frozenset[str] = frozenset()
        self._read = asyncio.Event()
        """Set when the presence of this user's engine has arrived, or it is known that there is none."""
        self.facts = Facts(target_of(address.url))

    async def run(self) -> Facts:
        """Return what was found."""
        facts, target = self.facts, self.facts.target
        self._connector()  # raises what is wrong with the settings
        facts.files = files_of(os.environ, certificate=f"{target.prefix}CERT")
        facts.sqlite = _sqlite()
        facts.reachability = await try_port(target)
        if facts.reachability.fault:
            return facts
        if target.tls:
            variables = (f"{target.prefix}{name}" for name in _TLS)
            facts.certificate = await try_tls(target, urls.tls_context_of(*variables, log=log))
            if facts.certificate.code is not None or facts.certificate.detail:
                return facts
        facts.login = await self._log_in()
        if facts.login.linked:
            await self._examine()
        return facts

    async def _log_in(self) -> Login:
        first = await self._attempt()
        if first.cause or self.facts.target.nats:
            return first
        mqtt5 = not (await self._attempt(protocol="5")).cause
        anonymous = bool(self.facts.target.user) and await self._accepts_anyone()
        return Login(linked=True, mqtt5=mqtt5, anonymous=anonymous)

    async def _attempt(self, **keywords: str) -> Login:
        link = self._connector(**keywords)
        try:
            await link.connect()
        except ConnectorUnavailable as error:
            return Login(kind=error.kind, cause=error.cause)
        await link.disconnect()
        return Login(linked=True)

    async def _accepts_anyone(self) -> bool:
        scheme, _, rest = self._address.url.partition("://")
        anonymous = Address(f"{scheme}://{rest.rpartition('@')[2]}")
        link = anonymous.connector(presence=False, required=True)
        try:
            await link.connect()
        except ConnectorUnavailable:
            return False
        await link.disconnect()
        return True

    def _connector(self, **keywords: str) -> Examined:
        made: Examined = self._address.connector(presence=False, required=True, **keywords)  # type: ignore[assignment]
        return made

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[Examined]:
        """Connect with MQTT 5 where the broker speaks it: only there does it say what it denies."""
        login = self.facts.login
        link = self._connector(**({"protocol": "5"} if login is not None and login.mqtt5 else {}))
        await link.connect()
        try:
            yield link
        finally:
            await link.disconnect()

    async def _examine(self) -> None:
        facts, target = self.facts, self.facts.target
        facts.configuration = local_configuration(target.port) if target.local else None
        try:
            await self._try_links()
        except ConnectorUnavailable as error:
            facts.refused = error.cause
        self._count_leftovers()
        if not target.websocket and not target.nats and not target.tls:
            seen = facts.configuration.websockets if facts.configuration is not None else ()
            facts.websocket = await find_websocket(target.host, seen or _WEBSOCKET_PORTS)

    async def _try_links(self) -> None:
        """Try everything that needs links, up to five at a time.

        :raises ConnectorUnavailable: if the broker refuses one of them.
        """
        async with self._link() as watcher:
            watching = asyncio.create_task(self._watch(watcher), name="cascade-doctor-watch")
            aside = [
                asyncio.create_task(self._ask_version(), name="cascade-doctor-version"),
                asyncio.create_task(self._hear_nats(), name="cascade-doctor-nats"),
                asyncio.create_task(self._read_requests(), name="cascade-doctor-requests"),
            ]
            try:
                await self._try_rights()
                base = self._base()
                if base and not self.facts.cut:
                    await self._try_retained(base)
                elif self.facts.target.nats and self.facts.target.user:
                    self.facts.keeps_none = not self.facts.keeps_nothing and not self.facts.cut
                await asyncio.wait([watching], timeout=LISTEN_SECONDS)
                await asyncio.gather(*aside)
                await self._hear_gates()
                self._note_services()
                if self._probe_write:
                    await self._ask_services()
            finally:
                for task in (*aside, watching):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    async def _ask_version(self) -> None:
        """Read the broker's version and count of sessions on a link of its own: one that refuses the topic harms nothing else."""
        if not self.facts.target.nats:
            with suppress(ConnectorUnavailable):
                async with self._link() as link:
                    self.facts.version = await read_published(link, VERSION)
                async with self._link() as link:
                    found = await read_published(link, STORED_SESSIONS)
                    self.facts.stored_sessions = int(found) if found.isdecimal() else None

    async def _read_requests(self) -> None:
        """Look for retained requests on a link of its own: most users may not read the topics."""
        if not self.facts.target.nats:
            with suppress(ConnectorUnavailable):
                async with self._link() as link:
                    self.facts.kept_requests = await read_kept_requests(link)

    async def _hear_gates(self) -> None:
        """Listen to what engines do not hear, on a link of its own: this user may not read it either."""
        if topics := silent_topics(self.facts.view, time.monotonic()):
            with suppress(ConnectorUnavailable):
                async with self._link() as link:
                    self.facts.heard_topics = await hear_topics(link, topics)

    def _note_services(self) -> None:
        live = self.facts.view.live(time.monotonic()) if self.facts.view is not None else []
        self.facts.services = {each.source: each.workflows for each in live if each.workflows is not None}

    async def _ask_services(self) -> None:
        """Ask live services to start what they offer, with requests that have expired already."""
        offers = offers_of(self.facts).items()
        pairs = [(source, name) for source, names in offers for name in names][:MOST_ASKED]
        for number, (source, name) in enumerate(pairs):
            async with self._link() as link:
                self.facts.asked[source, name] = await ask_service(
                    link, source, name, f"{self._name}-{number}"
                )

    async def _hear_nats(self) -> None:
        """Listen, on a link that nothing else needs, for engines that use a nats-server by its own protocol."""
        login = self.facts.login
        # nats-server speaks MQTT 3.1.1 only
        if self.facts.target.nats or login is None or login.mqtt5:
            return
        heard = asyncio.Event()

        async def hear(_: str, data: object) -> None:
            heard.set()

        with suppress(ConnectorUnavailable):
            async with self._link() as link:
                await link.subscribe(_OVER_NATS, hear)
                self.facts.over_nats = await happens(heard, RENEWAL_SECONDS)

    async def _try_rights(self) -> None:
        facts, topics = self.facts, self._topics()
        async with self._link() as link:
            facts.inflight = link.statistics().receive_maximum
            if supports(link, SupportsLimitations):
                facts.limitations = tuple(await link.limitations())
            probe = RightsProbe(link)
            try:
                for name, topic in topics.items():
                    payload = dict(EXPIRED) if name == STEERING else None
                    await probe.send(topic, payload, retain=name not in (EVENTS, PROGRESS))
                found = await probe.outcome()
                facts.rights = {name: found[topic] for name, topic in topics.items()}
                facts.cut = probe.cut
            finally:
                if STEERING in topics:
                    await probe.clear(topics[STEERING])

    def _topics(self) -> dict[str, str]:
        name, user = self._name, self.facts.target.user
        org = encode_level(os.environ.get("CASCADE_ORG_ID") or "local")
        project = encode_level(os.environ.get("CASCADE_PROJECT_ID") or "default")
        topics = {
            PRESENCE: f"cascade/status/{name}",
            EVENTS: f"cascade/telemetry/{org}/{project}/{name}/events",
            PROGRESS: f"cascade/telemetry/{org}/{project}/{name}/progress",
            SYNC: f"cascade/sync/{name}/{name}",
        }
        if user:
            topics[OWN_SYNC] = f"cascade/sync/{encode_level(user)}/{name}"
        if self._probe_write:
            topics[STEERING] = constraint_topic(f"source:{name}", "pause")
        return topics

    def _base(self) -> str:
        """Return the sync topic, without its last level, on which this user may write and read."""
        found = (self.facts.rights.get(name) for name in (SYNC, OWN_SYNC))
        return next(
            (each.topic.rpartition("/")[0] for each in found if each is not None and each.returned), ""
        )

    async def _try_retained(self, base: str) -> None:
        facts, name = self.facts, self._name
        async with self._link() as writer:
            facts.size = await try_size(writer, f"{base}/{name}")
            if facts.keeps_nothing:
                return
            if await self._is_used(base):
                facts.untried = self.facts.target.user
                return
            async with retained(writer, base, name, MESSAGES) as kept:
                async with self._link() as reader:
                    seen = await read_back(reader, base, name, kept)
                async with self._link() as reader:
                    seen = seen.with_queued(await count_queued(reader, base, name))
        facts.retained = seen

    async def _is_used(self, base: str) -> bool:
        """Return whether an engine is online whose subscription the probe messages would reach."""
        user = self.facts.target.user
        if not user or base != f"cascade/sync/{encode_level(user)}":
            return False
        # a broker that denies a report shows no end of them
        await happens(self._read, ANSWER_SECONDS)
        view = self.facts.view
        engine = view.engines.get(user) if view is not None else None
        return engine is not None and engine.is_live(time.monotonic())

    async def _watch(self, link: Examined) -> None:
        """Fold what engines have left, and what they publish meanwhile, until this is cancelled."""
        facts = self.facts
        facts.view = View()
        user = facts.target.user
        # an engine may read no other presence
        own = (status_topic(user),) if user else ()
        stream = link.watch(*_REPORTS, CANARIES, *own)
        try:
            async for item in stream:
                if isinstance(item, Message):
                    self._fold(item, facts.view)
                elif isinstance(item, Complete):
                    self._topics_seen = item.topics or frozenset()
                    self._read.set()
                elif isinstance(item, Lost):
                    facts.unread = tuple(each for each in _REPORTS if each in link.statistics().refused)
        finally:
            await stream.aclose()

    def _fold(self, item: Message, view: View) -> None:
        facts = self.facts
        view.fold(item.topic, item.payload, now=time.monotonic(), retained=item.retain)
        found = parse(item.topic, item.payload)
        if isinstance(found, Presence):
            if found.source == facts.target.user:
                self._read.set()
            if found.online and found.session:
                facts.births.setdefault(found.source, set()).add(found.session)
        source = getattr(found, "source", "")
        sent = getattr(found, "seconds", None)
        if source and sent is not None and not item.retain:
            facts.late_by[source] = time.time() - sent

    def _count_leftovers(self) -> None:
        view = self.facts.view
        if view is not None:
            found = leftovers(view, self._topics_seen, now=time.monotonic(), wall=time.time())
            self.facts.leftovers = sum(self._name not in each.topic for each in found)


def target_of(url: str) -> Target:
    """Return what a broker's URL names.

    :raises ConfigurationError: if it is not one.
    """
    parts = urls.split(url, example="write mqtt://host:1883")
    port = urls.port_of(parts, _USUAL_PORTS.get(parts.scheme, 1883), example="write mqtt://host:1883")
    named = parse_qs(parts.query).get("source_id") or [os.environ.get("CASCADE_SOURCE_ID", "")]
    user = "" if _is_token(parts) else unquote(parts.username or "")
    return Target(parts.scheme, parts.hostname or "", port, user, named[0])


def _is_token(parts: SplitResult) -> bool:
    """Return whether the user in a URL is a token of NATS, which nothing may show."""
    passwords = (
        parts.password,
        *map(os.environ.get, ("CASCADE_NATS_PASSWORD", "CASCADE_NATS_PASSWORD_FILE")),
    )
    return parts.scheme in ("nats", "tls") and not any(passwords)


def files_of(environment: os._Environ[str], *, certificate: str = "CASCADE_MQTT_CERT") -> Files:
    """Return what is wrong with the files of secrets that the environment names.

    :param certificate: the variable with the file of the client's certificate.
    """
    exposed = []
    for variable in _SECRET_FILES:
        with suppress(OSError):
            if (path := environment.get(variable)) and is_exposed(path):
                exposed.append(variable)
    end = ""
    with suppress(OSError):
        if path := environment.get(certificate):
            end = end_problem(path, time.time())
    return Files(tuple(exposed), end)


def _sqlite() -> str:
    import sqlite3

    from cascade.runtime.cache import has_wal_reset_bug

    return sqlite3.sqlite_version if has_wal_reset_bug() else ""
