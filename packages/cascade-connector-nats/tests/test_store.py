"""What a link asks JetStream for, and where each message goes, by what JetStream has answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from jetstream import ABSENT, BUCKET, STREAM, JetStream

from cascade.connectors.nats._client import ApiError
from cascade.connectors.nats._store import JetStreamEnded, Store
from cascade.interfaces import Lacking
from cascade.interfaces.subjects import subject_of
from cascade.interfaces.topics import constraint_topic, telemetry_topic
from cascade.testkit import eventually
from cascade.transport.faults import LinkLost, MessageRejected
from cascade.transport.outbox import Outgoing

PAUSE = constraint_topic("global", "pause")
EVENT = telemetry_topic("o", "p", "r")
KEY = f"$KV.cascade.{subject_of(PAUSE)}"


@pytest.fixture
async def jetstream(monkeypatch: pytest.MonkeyPatch) -> JetStream:
    """A server that has neither bucket nor stream."""
    monkeypatch.setattr("cascade.connectors.nats._store.STORE_TIMEOUT", 600.0)
    return JetStream()


async def opened(jetstream: JetStream) -> Store:
    store = jetstream.store()
    await store.open()
    return store


async def sent_by(
    store: Store, topic: str, payload: str = "{}", *, qos: int = 0, retain: bool = False
) -> None:
    """Publish a message, and wait for its acknowledgement."""
    if (sending := store.publish(Outgoing(0, topic, payload, qos, retain))) is not None:
        await sending


async def test_another_bucket_has_keys_and_a_stream_of_its_own(jetstream: JetStream) -> None:
    """So that several plants can share one server."""
    store = jetstream.store("line-3")
    await store.open()
    assert store.usable
    assert {name: found["config"]["subjects"] for name, found in jetstream.streams.items()} == {
        "KV_line-3": ["$KV.line-3.>"],
        "line-3": ["cascade.telemetry.>"],
    }
    jetstream.pending = 3
    await sent_by(store, "a/b", retain=True)
    assert jetstream.sent[0][0] == "$KV.line-3.a.b"
    assert await store.consume("inbox", ["a.b"]) == 3
    subject, request = jetstream.asked[-1]
    assert subject.startswith("$JS.API.CONSUMER.CREATE.KV_line-3.")
    assert request["stream_name"] == "KV_line-3"
    assert request["config"]["filter_subjects"] == ["$KV.line-3.a.b"]
    assert request["config"]["deliver_subject"] == "inbox"
    await store.keep_for("box-1", ["cascade.telemetry.>"])
    subject, request = jetstream.asked[-1]
    assert subject == "$JS.API.CONSUMER.CREATE.line-3.box-1"
    assert request["config"]["durable_name"] == "box-1"
    assert request["config"]["filter_subjects"] == ["cascade.telemetry.>"]
    assert store.next_of("box-1") == "$JS.API.CONSUMER.MSG.NEXT.line-3.box-1"


ALLOW = "allow it to publish to $JS.API.> and $KV.cascade.>, and to subscribe to _INBOX.>"
ENDED = "its JetStream has ended; does the server end? start it again"
WITHOUT = "it has no JetStream; start it with -js, or allow it for this account"


def refusing(code: int, err_code: int, description: str) -> ApiError:
    return ApiError({"code": code, "err_code": err_code, "description": description})


@pytest.mark.parametrize(
    ("error", "has_jetstream", "lacking", "text"),
    [
        (
            TimeoutError(),
            True,
            Lacking.STORE_ANSWER,
            "JetStream does not answer; does its cluster have a leader?",
        ),
        (MessageRejected(403), True, Lacking.STORE_RIGHTS, f"this user may not use JetStream; {ALLOW}"),
        (ApiError(ABSENT), False, Lacking.STORE, WITHOUT),
        (ApiError(ABSENT), True, Lacking.STORE, ENDED),
        (refusing(503, 10076, "not enabled"), True, Lacking.STORE, ENDED),
        (refusing(503, 10039, "JetStream not enabled for account"), True, Lacking.STORE, WITHOUT),
        (
            refusing(400, 10047, "insufficient storage"),
            True,
            Lacking.STORE_ANSWER,
            "JetStream refuses: insufficient storage; look into the server's log",
        ),
    ],
)
async def test_why_nothing_is_kept_is_named_with_its_remedy(
    jetstream: JetStream,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    has_jetstream: bool,
    lacking: Lacking,
    text: str,
) -> None:
    """By kind, so that a tool can tell the cases apart; nothing is made where the server did not say that it is missing."""
    monkeypatch.setattr("cascade.connectors.nats._store.STORE_TIMEOUT", 0.0)
    jetstream.client.has_jetstream = has_jetstream
    jetstream.errors["$JS.API."] = error
    store = await opened(jetstream)
    assert not store.usable
    control, telemetry = store.missing
    assert (control.lacking, telemetry.lacking) == (lacking, Lacking.TELEMETRY)
    assert control.text == telemetry.text == text
    assert (store.answered.done(), store.opened.done()) == (True, False)
    assert sorted(jetstream.names()) == [f"STREAM.INFO.{BUCKET}", f"STREAM.INFO.{STREAM}"]


@pytest.mark.parametrize(
    ("absent", "lacking"), [(BUCKET, [Lacking.STORE_ANSWER]), (STREAM, [Lacking.TELEMETRY])]
)
async def test_bucket_and_stream_fail_apart(
    jetstream: JetStream, absent: str, lacking: list[Lacking]
) -> None:
    """A server with room for one of them keeps what that one is for."""
    full = ApiError({"code": 400, "err_code": 10047, "description": "insufficient storage"})
    jetstream.errors[f"$JS.API.STREAM.CREATE.{absent}"] = full
    store = await opened(jetstream)
    assert [each.lacking for each in store.missing] == lacking
    assert (store.usable, store.no_stream is None) == (absent == STREAM, absent == BUCKET)
    del jetstream.errors[f"$JS.API.STREAM.CREATE.{absent}"]
    await store.open()
    assert store.missing == []
    assert store.opened.done()


async def test_a_jetstream_that_has_ended_is_not_an_answer_yet(jetstream: JetStream) -> None:
    """The server ends, and what waits is for the link to the next one."""
    jetstream.errors["$JS.API."] = ApiError(ABSENT)
    store = await opened(jetstream)
    assert not store.answered.done()
    jetstream.errors.clear()
    await store.open()
    assert store.answered.done()
    assert store.opened.done()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"max_age": 60}, "with max_age=60"),
        ({"sealed": True}, "with sealed=True"),
        ({"mirror": {"name": "x"}, "max_age": 5}, "with max_age=5, mirror={'name': 'x'}"),
        ({"subjects": ["$KV.cascade.>", "x"]}, "with subjects=['$KV.cascade.>', 'x']"),
        ({"subjects": None}, "with subjects=None"),
    ],
    ids=str,
)
async def test_a_bucket_that_another_program_made_is_not_used(
    jetstream: JetStream, config: dict[str, Any], text: str
) -> None:
    """The text has each setting that does not fit, and how to go on."""
    jetstream.has(BUCKET, **{"subjects": ["$KV.cascade.>"], "allow_msg_ttl": True, **config})
    store = await opened(jetstream)
    (problem,) = store.missing
    assert problem.lacking is Lacking.STORE_SETTINGS
    assert problem.text == (
        f"another program made the bucket cascade {text}; delete it (nats kv del cascade), or pass bucket="
    )
    assert not store.opened.done()


@pytest.mark.parametrize(
    ("version", "upgrade"),
    [
        ("2.10.29", "upgrade to nats-server 2.11 or newer (this is 2.10.29) and delete the bucket"),
        ("2.9.1", "upgrade to nats-server 2.11 or newer (this is 2.9.1) and delete the bucket"),
        ("1.20.0", "upgrade to nats-server 2.11 or newer (this is 1.20.0) and delete the bucket"),
        ("2.11.0", "; delete the bucket"),
        ("3.0.0-beta.1", "; delete the bucket"),
    ],
)
async def test_without_time_to_live_only_presence_is_missing(
    jetstream: JetStream, version: str, upgrade: str
) -> None:
    """An upgrade is the remedy of an old server only. A constraint is cleared without a time to live, too."""
    jetstream.client.server_version = version
    jetstream.has(BUCKET, subjects=["$KV.cascade.>"])
    store = await opened(jetstream)
    (problem,) = store.missing
    assert (problem.lacking, store.usable) == (Lacking.PRESENCE, True)
    assert upgrade in problem.text
    await sent_by(store, PAUSE, "", qos=1, retain=True)
    assert jetstream.sent == [(KEY, b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub"})]
    jetstream.has(BUCKET, subjects=["$KV.cascade.>"], allow_msg_ttl=True)
    await store.open()
    assert store.missing == []
    await sent_by(store, PAUSE, "", qos=1, retain=True)
    assert "Nats-TTL" in (jetstream.sent[-1][2] or {})


@pytest.mark.parametrize(("ttl", "header"), [(1, "1s"), (2.5, "3s"), (10.0, "10s"), (0.2, "1s")])
async def test_a_time_to_live_is_rounded_up_to_seconds(jetstream: JetStream, ttl: float, header: str) -> None:
    """The server knows whole seconds, and a process must not seem gone before its time."""
    store = await opened(jetstream)
    await store.keep("a", b"1", ttl=ttl)
    assert jetstream.sent == [("$KV.cascade.a", b"1", {"Nats-TTL": header})]


Route = tuple[str, Mapping[str, str] | None] | str


@pytest.mark.parametrize(
    ("topic", "qos", "retain", "route"),
    [
        (PAUSE, 1, True, (KEY, None)),
        ("any/topic", 0, True, ("$KV.cascade.any.topic", None)),
        (EVENT, 1, False, (EVENT.replace("/", "."), {"Nats-Msg-Id": "r-1"})),
        (EVENT, 0, False, "written"),
        (EVENT, 1, True, ("$KV.cascade." + EVENT.replace("/", "."), None)),
        ("cascade/other", 1, False, "settled"),
        (PAUSE, 1, False, "settled"),
        ("a/b", 0, False, "written"),
    ],
)
async def test_each_message_goes_where_it_is_kept(
    jetstream: JetStream, topic: str, qos: int, retain: bool, route: Route
) -> None:
    """Retained ones into the bucket, telemetry at QoS 1 into the stream; at QoS 1 it counts when the server has it."""
    store = await opened(jetstream)
    payload = json.dumps({"event_id": "r-1"})
    await sent_by(store, topic, payload, qos=qos, retain=retain)
    subject = subject_of(topic)
    if isinstance(route, str):
        assert jetstream.sent == []
        assert jetstream.written == [(subject, payload.encode())]
        assert jetstream.settled == ([subject] if route == "settled" else [])
    else:
        assert jetstream.written == []
        assert jetstream.sent == [(route[0], payload.encode(), route[1])]


async def test_a_constraint_waits_for_the_first_answer(jetstream: JetStream) -> None:
    """And is in the bucket then: nothing half kept goes out before."""
    store = jetstream.store()
    sending = asyncio.ensure_future(sent_by(store, PAUSE, qos=1, retain=True))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (jetstream.sent, jetstream.written) == ([], [])
    await store.open()
    await sending
    assert [subject for subject, *_ in jetstream.sent] == [KEY]


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (ApiError(ABSENT), True),
        (ApiError({"code": 503, "err_code": 10077, "description": "store is closed"}), True),
        (ApiError({"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}), False),
        (ApiError({"code": 400, "err_code": 10054, "description": "message size exceeds"}), False),
        (MessageRejected(403), False),
        (MessageRejected(503), False),
    ],
    ids=str,
)
async def test_only_a_store_that_is_away_gets_a_message_again(
    jetstream: JetStream, monkeypatch: pytest.MonkeyPatch, error: MessageRejected, absent: bool
) -> None:
    """One that refuses it is asked once."""
    monkeypatch.setattr("cascade.transport.store_sender.AGAIN", 0.0)
    store = await opened(jetstream)
    jetstream.errors["$KV."] = error
    sending = asyncio.ensure_future(sent_by(store, PAUSE, qos=1, retain=True))
    if not absent:
        with pytest.raises(type(error)):
            await sending
        assert len(jetstream.sent) == 1
        return
    await eventually(lambda: len(jetstream.sent) > 2)
    assert not sending.done()
    jetstream.errors.clear()
    await sending


@pytest.mark.parametrize(("topic", "retain", "looked_for"), [(PAUSE, True, BUCKET), (EVENT, False, STREAM)])
async def test_the_store_of_a_message_is_looked_for_and_made_anew(
    jetstream: JetStream, monkeypatch: pytest.MonkeyPatch, topic: str, retain: bool, looked_for: str
) -> None:
    """Of a bucket that was deleted only the bucket, of a stream only the stream; an end of JetStream ends the link."""
    monkeypatch.setattr("cascade.transport.store_sender.AGAIN", 0.0)
    store = await opened(jetstream)
    prefix = "$KV." if retain else "cascade."
    jetstream.errors[prefix] = ApiError(ABSENT)
    jetstream.streams.clear()
    jetstream.asked.clear()
    sending = asyncio.ensure_future(sent_by(store, topic, qos=1, retain=retain))
    await eventually(lambda: jetstream.streams)
    assert [*jetstream.streams] == [looked_for]
    jetstream.errors["$JS.API."] = ApiError(ABSENT)
    with pytest.raises(LinkLost) as raised:
        await sending
    assert isinstance(raised.value.cause, JetStreamEnded)
    assert str(raised.value.cause).startswith("JetStream has ended: its JetStream has ended")
    assert {name.rpartition(".")[2] for name in jetstream.names()} == {looked_for}


async def test_a_second_set_of_mqtt_clients_is_reported(
    jetstream: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what steers and reports counts; one without rights to look cannot know, and reports nothing."""
    store = await opened(jetstream)
    kept = ["constraints.global.pause", "status.a", "state.a", "telemetry.o.p.r", "statusx"]
    state = {"subjects": {f"$MQTT.rmsgs.cascade.{name}": 1 for name in kept}}
    assert await store.limitations() == []
    jetstream.streams["$MQTT_rmsgs"] = {"state": state}
    (found,) = await store.limitations()
    assert found.lacking is Lacking.ONE_SET
    assert "MQTT clients of this account keep 3 retained messages of Cascade" in found.text
    assert jetstream.asked[-1] == (
        "$JS.API.STREAM.INFO.$MQTT_rmsgs",
        {"subjects_filter": "$MQTT.rmsgs.cascade.>"},
    )
    jetstream.streams["$MQTT_rmsgs"] = {"state": {}}
    assert await store.limitations() == []
    jetstream.streams["$MQTT_rmsgs"] = {"state": {"subjects": {"$MQTT.rmsgs.cascade.telemetry.x": 1}}}
    assert await store.limitations() == []
    for error in (TimeoutError(), MessageRejected(403), LinkLost(EOFError())):
        jetstream.errors["$JS.API.STREAM.INFO.$MQTT_rmsgs"] = error
        assert await store.limitations() == []
    del jetstream.streams[BUCKET]
    jetstream.errors["$JS.API."] = MessageRejected(403)
    await store.open()
    assert [each.lacking for each in await store.limitations()] == [Lacking.STORE_RIGHTS, Lacking.TELEMETRY]


async def test_telemetry_before_the_first_answer_goes_out_once_if_the_stream_takes_it(
    jetstream: JetStream,
) -> None:
    """And is settled by that, with its id."""
    store = jetstream.store()
    await sent_by(store, EVENT, '{"event_id": "r-1"}', qos=1)
    assert jetstream.sent == [(subject_of(EVENT), b'{"event_id": "r-1"}', {"Nats-Msg-Id": "r-1"})]
    assert (jetstream.written, jetstream.settled) == ([], [])


@pytest.mark.parametrize("kept", [True, False])
async def test_telemetry_that_nothing_took_early_waits_for_the_first_answer(
    jetstream: JetStream, kept: bool
) -> None:
    """Then it goes into the stream, or counts as sent when the server has it where there is none."""
    store = jetstream.store()
    jetstream.errors["cascade."] = ApiError(ABSENT)
    sending = asyncio.ensure_future(sent_by(store, EVENT, '{"event_id": "r-1"}', qos=1))
    await eventually(lambda: len(jetstream.sent) == 1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not sending.done()
    jetstream.errors.clear()
    if not kept:
        full = ApiError({"code": 400, "err_code": 10047, "description": "insufficient storage"})
        jetstream.errors[f"$JS.API.STREAM.INFO.{STREAM}"] = full
    await store.open()
    await sending
    assert jetstream.settled == ([] if kept else [subject_of(EVENT)])
    assert [found for *_, found in jetstream.sent] == [{"Nats-Msg-Id": "r-1"}] * (1 + kept)


async def test_what_is_kept_has_the_limits_that_are_promised(jetstream: JetStream) -> None:
    """Telemetry for 7 days and up to 1 GiB, a reader's place for 8 days; the newest value of each key. All of it outlives the server."""
    store = await opened(jetstream)
    await store.keep_for("box", ["cascade.telemetry.>"])
    stream, bucket = (jetstream.streams[name]["config"] for name in (STREAM, BUCKET))
    (reader,) = jetstream.consumers()
    assert timedelta(microseconds=stream["max_age"] / 1000) == timedelta(days=7)
    assert (stream["max_bytes"], stream["discard"]) == (1024**3, "old")
    assert timedelta(microseconds=reader["inactive_threshold"] / 1000) == timedelta(days=8)
    assert timedelta(0) < timedelta(microseconds=stream["duplicate_window"] / 1000) < timedelta(days=1)
    assert (bucket["max_msgs_per_subject"], bucket["discard"]) == (1, "new")
    # a user who may only read can make consumers that stay
    assert bucket["max_consumers"] == 4_000
    assert {"max_age", "max_bytes"}.isdisjoint(bucket)
    assert (stream["storage"], bucket["storage"]) == ("file", "file")


async def test_a_bucket_is_one_that_tools_of_nats_can_read_and_from_which_no_client_can_delete(
    jetstream: JetStream,
) -> None:
    """A deleted key leaves a marker, which a reader still finds after a week; each key may have an expiry of its own."""
    await opened(jetstream)
    bucket = jetstream.streams[BUCKET]["config"]
    assert bucket["subjects"] == ["$KV.cascade.>"]
    assert (bucket["deny_delete"], bucket["allow_rollup_hdrs"]) == (True, True)
    assert (bucket["allow_direct"], bucket["allow_msg_ttl"]) == (True, True)
    assert timedelta(microseconds=bucket["subject_delete_marker_ttl"] / 1000) == timedelta(days=7)
    assert jetstream.streams[STREAM]["config"]["subjects"] == ["cascade.telemetry.>"]


async def test_what_clears_a_key_stays_for_a_minute_and_no_birth_goes_early(jetstream: JetStream) -> None:
    """A reader without a link for longer than that reads the whole set again."""
    store = await opened(jetstream)
    await store.keep("a.b", b"")
    await store.keep("a.b", b"1", ttl=9.5)
    await store.keep("a.b", b"1")
    headers = [found for *_, found in jetstream.sent]
    cleared = {"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": "60s"}
    assert headers == [cleared, {"Nats-TTL": "10s"}, None]
    assert {subject for subject, *_ in jetstream.sent} == {"$KV.cascade.a.b"}
