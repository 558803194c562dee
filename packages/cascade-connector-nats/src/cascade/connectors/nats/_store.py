"""The store in JetStream: the bucket of retained messages, and the stream of telemetry at QoS 1."""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from cascade.connectors.nats._client import NO_RESPONDERS, ApiError, Headers, NatsClient
from cascade.connectors.nats._subjects import MAX_SUBJECT
from cascade.interfaces.abilities import Lacking, Limitation
from cascade.interfaces.subjects import subject_of
from cascade.interfaces.topics import constraint_topic
from cascade.transport.faults import LinkLost, MessageRejected, MessageTooLarge
from cascade.transport.outbox import Outgoing
from cascade.transport.store_sender import StoreSender

ANSWER_TIMEOUT = 30.0
"""Seconds after which a request to JetStream is made again; without JetStream the server answers at once."""
STORE_TIMEOUT = 10.0
"""Seconds for which a constraint waits for JetStream's first answer, and telemetry until it is known what keeps it.

So long, too, a message waits for what was there and does not answer now.
"""
HEARTBEAT = 3
"""Seconds after which a consumer without news says that it is there."""
ACK_WAIT = 5
"""Seconds after which telemetry that was not acknowledged is sent again: to the next link, after a cut."""
TELEMETRY = "cascade/telemetry/"
"""The beginning of the topics that the stream keeps."""
_SECOND = 1_000_000_000
_WEEK = 7 * 24 * 3600 * _SECOND
_TOMBSTONE = "60s"
_NO_STREAM = 10059
_NOT_ENABLED = 10076
_STORE_FAILED = 10077
_CONSTRAINTS = constraint_topic("global").rpartition("/")[0]
_EVENT_ID = re.compile(r'"event_id": "(.*?)"')
_MQTT = "$MQTT.rmsgs."
_SHARED = tuple(f"{_MQTT}cascade.{kind}." for kind in ("constraints", "state", "status"))

NO_JETSTREAM = Limitation(
    Lacking.STORE, "it has no JetStream", "start it with -js, or allow it for this account"
)
SILENT = Limitation(Lacking.STORE_ANSWER, "JetStream does not answer", "does its cluster have a leader?")
ENDED = Limitation(Lacking.STORE, "its JetStream has ended", "does the server end? start it again")
_MOST_CONSUMERS = 4_000
"""Of a stream: every user who may read can make some that stay, and the server keeps each in memory and on disk."""
_BUCKET = {
    "max_consumers": _MOST_CONSUMERS,
    "max_msgs_per_subject": 1,
    "discard": "new",
    "deny_delete": True,
    "allow_rollup_hdrs": True,
    "allow_direct": True,
    "allow_msg_ttl": True,
    "subject_delete_marker_ttl": _WEEK,
    "storage": "file",
}
_STREAM = {
    "max_consumers": _MOST_CONSUMERS,
    "subjects": [f"{subject_of(TELEMETRY[:-1])}.>"],
    "max_age": _WEEK,
    "max_bytes": 1 << 30,
    "discard": "old",
    "storage": "file",
    "duplicate_window": 120 * _SECOND,
}
_FOLLOWING = {
    "deliver_policy": "last_per_subject",
    "ack_policy": "none",
    "flow_control": True,
    "idle_heartbeat": HEARTBEAT * _SECOND,
    "mem_storage": True,
    "num_replicas": 1,
}


class JetStreamEnded(Exception):
    """JetStream has ended on a link that is up: the server ends, and closes its connections last."""


class Store:
    """The bucket and the stream, as one link finds or makes them."""

    def __init__(self, client: NatsClient, *, bucket: str) -> None:
        self.client = client
        self.prefix = f"$KV.{bucket}."
        """What stands before a key in the subject of its messages."""
        self._bucket, self._stream = f"KV_{bucket}", bucket
        self._settings = {self._bucket: {"subjects": [f"{self.prefix}>"], **_BUCKET}, self._stream: _STREAM}
        self.problem: Limitation | None = SILENT
        """Why registers cannot be kept; None if they can."""
        self.no_presence: Limitation | None = None
        """Why presence cannot be announced; None if it can."""
        self.no_stream: Limitation | None = SILENT._replace(lacking=Lacking.TELEMETRY)
        """Why telemetry at QoS 1 is not kept; None if it is."""
        self.created = ""
        """When the bucket was made: another time means another bucket."""
        self._sender = StoreSender(
            STORE_TIMEOUT, once=client.request, is_absent=_is_absent, find_store=self._find_store
        )
        self.answered = self._sender.known
        """Done when it is known for the first time what JetStream can do."""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the bucket is there for the first time."""

    @property
    def usable(self) -> bool:
        """Whether retained messages are kept."""
        return self.problem is None

    async def open(self) -> None:
        """Find or make bucket and stream; the problems are in the attributes."""
        bucket, stream = await asyncio.gather(self._ensure(self._bucket), self._ensure(self._stream))
        self.problem = bucket if isinstance(bucket, Limitation) else self._examine(bucket)
        self.no_stream = (
            stream._replace(lacking=Lacking.TELEMETRY) if isinstance(stream, Limitation) else None
        )
        if ENDED in (bucket, stream) and self._sender.time_left():
            return  # the next server's link sends what waits
        for event in (self.answered, self.opened) if self.usable else (self.answered,):
            if not event.done():
                event.set_result(None)

    @property
    def missing(self) -> list[Limitation]:
        """What bucket and stream cannot do, as far as it is known."""
        return [each for each in (self.problem, self.no_presence, self.no_stream) if each is not None]

    async def limitations(self) -> list[Limitation]:
        """Return what is missing, also beside bucket and stream."""
        second = await self._second_set()
        return self.missing if second is None else [*self.missing, second]

    def publish(self, item: Outgoing) -> Awaitable[object] | None:
        """Send one message: into the bucket if it is retained, into the stream if it is telemetry at QoS 1.

        Return what to await for its acknowledgement; None if it is written, and needs none.
        """
        data, subject = item.payload.encode("utf-8", "surrogatepass"), subject_of(item.topic)
        if len(data) > self.client.max_payload:
            raise MessageTooLarge(len(data), self.client.max_payload)
        if len(subject) > MAX_SUBJECT:
            raise MessageTooLarge(len(subject), MAX_SUBJECT, what="its topic as a subject")
        if item.retain and self.usable:
            return self.keep(subject, data)
        if item.retain and item.topic.startswith(_CONSTRAINTS):
            return self._keep_later(subject, data)
        if item.qos and item.topic.startswith(TELEMETRY):
            if self.no_stream is None:
                return self._sender.send(subject, data, _message_id(item.payload))
            if not self.answered.done():
                return self._keep_early(subject, data, _message_id(item.payload))
        roomy = self.client.write(subject, data)
        if item.qos:
            return self.client.settle(subject)
        return None if roomy else self.client.drained()

    def keep(self, key: str, data: bytes, *, ttl: float | None = None) -> Awaitable[None]:
        """Put a value, for ``ttl`` seconds after which the key is gone; an empty value clears the key."""
        headers = {} if ttl is None else {"Nats-TTL": f"{math.ceil(ttl)}s"}
        if not data:
            headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
            headers |= {} if self.no_presence else {"Nats-TTL": _TOMBSTONE}
        return self._sender.send(self.prefix + key, data, headers or None)

    async def forget(self, key: str) -> None:
        """Remove a key without a trace: no watch sees it."""
        await self._api(f"STREAM.PURGE.{self._bucket}", {"filter": self.prefix + key})

    async def consume(self, deliver: str, keys: Sequence[str]) -> int:
        """Have the values of keys sent, then their changes; return how many values there are.

        The consumer ends 5 s after the last subscription to ``deliver``.
        """
        name, subjects = secrets.token_hex(8), [self.prefix + key for key in keys]
        own = {"name": name, "deliver_subject": deliver, "filter_subjects": subjects}
        made = await self._make_consumer(self._bucket, name, _FOLLOWING | own)
        return int(made.get("num_pending", 0))

    async def keep_for(self, name: str, subjects: Sequence[str]) -> None:
        """Find or make the consumer that keeps how far a reader has read telemetry; the server deletes it after 8 days without use."""
        config = {
            "durable_name": name,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": ACK_WAIT * _SECOND,
            "inactive_threshold": _WEEK + _WEEK // 7,
            "filter_subjects": [*subjects],
        }
        await self._make_consumer(self._stream, name, config)

    def next_of(self, name: str) -> str:
        """Return the subject of requests for the next messages of a consumer."""
        return f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{name}"

    async def _keep_later(self, key: str, data: bytes) -> None:
        """Wait for JetStream's first answer, then put a value.

        :raises MessageRejected: if nothing keeps it.
        """
        await asyncio.wait({self.answered}, timeout=STORE_TIMEOUT)
        if not self.usable:
            raise MessageRejected(NO_RESPONDERS)
        await self.keep(key, data)

    async def _keep_early(self, subject: str, data: bytes, headers: Headers) -> None:
        """Send telemetry at once to those who listen, and into the stream if it turns out that there is one."""
        if await self._sender.is_taken_early(subject, data, headers):
            return
        if self.no_stream is None:
            await self._sender.send(subject, data, headers)
        else:
            await self.client.settle(subject)

    async def _find_store(self, subject: str, *_: object) -> None:
        """Check that the stream that did not answer on a subject is still there, or is again; make it if it was deleted.

        A server that ends closes its streams first, then the rest of JetStream, and its connections last.

        :raises LinkLost: if JetStream has ended.
        """
        found = await self._ensure(self._bucket if subject.startswith(self.prefix) else self._stream)
        if isinstance(found, Limitation):
            raise LinkLost(JetStreamEnded(f"JetStream has ended: {found.text}"))

    def _examine(self, bucket: Mapping[str, Any]) -> Limitation | None:
        """Note what a bucket can do; return why it cannot hold registers, if another program made it."""
        has = bucket.get("config", {})
        foreign = {name: has[name] for name in ("max_age", "sealed", "mirror") if has.get(name)}
        if has.get("subjects") != [f"{self.prefix}>"]:
            foreign["subjects"] = has.get("subjects")
        if foreign:
            settings = ", ".join(f"{name}={value}" for name, value in foreign.items())
            return Limitation(
                Lacking.STORE_SETTINGS,
                f"another program made the bucket {self._stream} with {settings}",
                f"delete it (nats kv del {self._stream}), or pass bucket=",
            )
        self.no_presence = None if has.get("allow_msg_ttl") else self._without_ttl()
        self.created = str(bucket.get("created", "unknown"))
        return None

    async def _ensure(self, name: str) -> dict[str, Any] | Limitation:
        """Find or make a stream; return why there is none, if so."""
        for what, request in (("INFO", {}), ("CREATE", {"name": name, **self._settings[name]})):
            try:
                return await self._api(f"STREAM.{what}.{name}", request)
            except (MessageRejected, TimeoutError) as exc:
                problem = self._explain(exc)
                if getattr(exc, "code", 0) != _NO_STREAM:
                    break
        return problem

    async def _make_consumer(self, stream: str, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        return await self._api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})

    async def _api(self, what: str, request: Mapping[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await self.client.request(f"$JS.API.{what}", json.dumps(request).encode())

    async def _second_set(self) -> Limitation | None:
        """Look whether MQTT keeps retained messages of Cascade in the same account; one without rights cannot know."""
        try:
            asked = self._api("STREAM.INFO.$MQTT_rmsgs", {"subjects_filter": f"{_MQTT}cascade.>"})
            found = await asyncio.wait_for(asked, STORE_TIMEOUT)
        except (LinkLost, MessageRejected, TimeoutError):
            return None
        count = sum(each.startswith(_SHARED) for each in found["state"].get("subjects", ()))
        if not count:
            return None
        return Limitation(
            Lacking.ONE_SET,
            f"MQTT clients of this account keep {count} retained messages of Cascade, which are not in the bucket",
            "let all engines and tools of an account use the same protocol; what is left over from MQTT goes with "
            "cascade prune and cascade clear over mqtt://",
        )

    def _without_ttl(self) -> Limitation:
        version = self.client.server_version
        old = tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 11)
        upgrade = f"upgrade to nats-server 2.11 or newer (this is {version}) and " if old else ""
        return Limitation(
            Lacking.PRESENCE,
            f"the bucket {self._stream} has no time to live per key, so that others cannot see that this process ends",
            f"{upgrade}delete the bucket, so that it is made anew",
        )

    def _explain(self, exc: MessageRejected | TimeoutError) -> Limitation:
        if isinstance(exc, TimeoutError):
            return SILENT
        if not isinstance(exc, ApiError):
            return Limitation(
                Lacking.STORE_RIGHTS,
                "this user may not use JetStream",
                f"allow it to publish to $JS.API.> and {self.prefix}>, and to subscribe to _INBOX.>",
            )
        if exc.code in (NO_RESPONDERS, _NOT_ENABLED) and self.client.has_jetstream:
            return ENDED
        if exc.code == NO_RESPONDERS or "not enabled" in str(exc):
            return NO_JETSTREAM
        return Limitation(Lacking.STORE_ANSWER, f"JetStream refuses: {exc}", "look into the server's log")


def _is_absent(exc: BaseException | None) -> bool:
    """Return whether the stream that a message was sent to is not there, or is being closed."""
    closed = isinstance(exc, ApiError) and exc.code == _STORE_FAILED and "closed" in str(exc)
    return closed or (isinstance(exc, ApiError) and exc.code == NO_RESPONDERS)


def _message_id(payload: str) -> dict[str, str] | None:
    """Return the header by which the stream drops a message that is sent twice."""
    found = _EVENT_ID.search(payload)
    return None if found is None else {"Nats-Msg-Id": found[1]}
