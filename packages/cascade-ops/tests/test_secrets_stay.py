"""K5: secrets in every place where a user may put them appear nowhere that others can look."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import paho.mqtt.client as paho
import pytest
from nats.aio.msg import Msg
from paho.mqtt import publish
from paho.mqtt.enums import CallbackAPIVersion

from cascade.testkit import eventually as soon
from cascade.testkit.brokers import Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.canaries import CANARIES, bytes_below, run_with_secrets, shown_in
from testing_tools.engines import Plant, eventually
from testing_tools.patient import PATIENT

PROBE_TOPIC = "cascade/telemetry/local/default/probe/events"
PROBE = json.dumps(
    {"v": "1.0", "ts": "2026-11-21T03:00:20+00:00", "run_id": "probe", "org_id": "local", "project_id": "default",
     "source": "probe", "seq": 1, "token": "c41e07d2", "event_id": "probe-c41e07d2-1",
     "body": {"type": "LifecycleEvent", "event": "ENGINE_STARTED"}}
)  # fmt: skip


@pytest.fixture
def guarded() -> Iterator[Mosquitto]:
    """A broker that asks for a password, which is a secret, too."""
    require_mosquitto()
    with Mosquitto(users={"press-3": CANARIES["login"]}, max_queued_messages=65_000) as broker:
        yield broker


@pytest.fixture
def published(guarded: Mosquitto) -> Iterator[list[bytes]]:
    """Every topic and payload that the broker delivers."""
    found: list[bytes] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("press-3", CANARIES["login"])
    subscribed: list[Any] = []
    client.on_subscribe = lambda *rest: subscribed.append(rest)
    client.on_message = lambda _, __, message: found.append(message.topic.encode() + b" " + message.payload)
    client.connect(guarded.host, guarded.port)
    client.loop_start()
    client.subscribe("#", 1)
    eventually(lambda: subscribed, "the witness has subscribed")
    yield found
    client.disconnect()
    client.loop_stop()


@contextmanager
def collecting(url: str, path: Path) -> Iterator[None]:
    """Run ``cascade collect`` beside the test."""
    process = subprocess.Popen(
        [*PATIENT, "collect", "--to", str(path), "--name", path.suffix.strip("."), "--broker", url],
        env={**os.environ, "CASCADE_MQTT_PASSWORD": CANARIES["login"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def stored(folder: Path, word: bytes) -> bool:
    """Whether both collectors have stored an event with this word."""
    return all(
        any(word in path.read_bytes() for path in folder.glob(f"events.{kind}*"))
        for kind in ("sqlite", "jsonl")
    )


def probed(broker: Mosquitto, folder: Path) -> bool:
    """Publish an event; return whether both collectors have stored an earlier one."""
    login: Any = {"username": "press-3", "password": CANARIES["login"]}
    publish.single(PROBE_TOPIC, PROBE, 1, hostname=broker.host, port=broker.port, auth=login)
    return stored(folder, b"probe")


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_no_secret_is_shown(guarded: Mosquitto, published: list[bytes], tmp_path: Path) -> None:
    """Published bytes, log lines, reports, history of both kinds, files of the outbox and of the collector, and what objects show (H4)."""
    url = guarded.url.replace("://", "://press-3@")
    state, outbox = tmp_path / "runs", tmp_path / "events"
    kept = tmp_path / "kept"
    kept.mkdir()
    with collecting(url, kept / "events.sqlite"), collecting(url, kept / "events.jsonl"):
        eventually(lambda: probed(guarded, kept), "both collectors have subscribed")
        done = run_with_secrets(url, state, outbox)
        eventually(lambda: stored(kept, b"ENGINE_STOPPED"), "both collectors have the last event")
    eventually(lambda: any(b"ENGINE_STOPPED" in each for each in published), "all events have arrived")
    assert any(b"/logs " in each for each in published)
    assert any(b"/data " in each for each in published)
    shown = {
        "published": shown_in(b"\n".join(published)),
        "standard output": shown_in(done.stdout),
        "outbox": shown_in(bytes_below(outbox)),
        "files of collectors": shown_in(bytes_below(kept)),
    }
    log = [line for line in done.stderr.splitlines() if b":shop:" not in line]  # that line is the user's own
    shown["log"] = shown_in(b"\n".join(log))
    with Plant(guarded) as plant:
        further = {"CASCADE_BROKER": url, "CASCADE_MQTT_PASSWORD": CANARIES["login"]}
        for arguments in (
            ["ps"], ["runs"], ["constraints"], ["runs", "--json"], ["pause", "--by", "ann"], ["resume"],
            ["history", "--state", str(state)], ["history", "night", "--state", str(state)],
            ["history", "night", "--state", str(state), "--json"], ["watch", "--until-done", "night", "--plain"],
            ["watch", "--until-done", "night", "--json"], ["ps", "--debug"],
            ["history", "--from", str(kept / "events.sqlite")], ["history", "night", "--from", str(kept / "events.sqlite"), "--json"],
            ["logs", "--from", str(kept / "events.sqlite")],
            ["ps", "--broker", "mqtt://press-3:x@127.0.0.1"],
        ):  # fmt: skip
            answer = plant.cascade(*arguments, environment=further)
            shown[" ".join(arguments)] = shown_in((answer.stdout + answer.stderr).encode())
    assert {where: found for where, found in shown.items() if found} == {}
    # A run continues with these, so its folder has them as they are; only its owner can read it.
    assert shown_in(bytes_below(state)) <= {"parameter", "message", "header"}
    assert not state.stat().st_mode & 0o077
    assert not outbox.stat().st_mode & 0o077


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
async def test_no_secret_is_in_a_message_of_nats(tmp_path: Path) -> None:
    """Subjects, headers and payloads of all that the server carries: telemetry, and the bucket with its reports."""
    with NatsServer() as server:
        client = await nats.connect(server.nats_url)
        seen: list[bytes] = []

        async def keep(message: Msg) -> None:
            seen.append(f"{message.subject} {message.headers} ".encode() + message.data)

        await client.subscribe(">", cb=keep)
        await client.flush()
        await asyncio.to_thread(run_with_secrets, server.nats_url, tmp_path / "runs", tmp_path / "events")
        await soon(lambda: any(b'"offline"' in each for each in seen), what="the last message has arrived")
        await client.close()
    everything = b"\n".join(seen)
    assert b"ENGINE_STOPPED" in everything
    assert b".logs " in everything
    assert b".data " in everything
    assert b"$KV.cascade.cascade.state.press-3.runs" in everything
    assert shown_in(everything) == set()
