"""K5: secrets in every place where a user may put them appear nowhere that others can look."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from engines import Plant, eventually
from paho.mqtt.enums import CallbackAPIVersion

from cascade.testkit.brokers import Mosquitto
from cascade.testkit.fixtures import require_mosquitto

CANARIES = {
    place: f"canary{number:02d}a7f3{place}"
    for number, place in enumerate(
        (
            "login",
            "argument",
            "parameter",
            "environment",
            "message",
            "cause",
            "context",
            "url",
            "log",
            "header",
            "reason",
        )
    )
}

# A run of an engine with everything switched on, in which each secret stands where a user may put it.
SCRIPT = """
import asyncio, json, logging, os, sys
import cascade as cs

S = json.loads(os.environ["CANARIES"])
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)

@cs.task
async def good(value, other):
    await cs.checkpoint(done=1, total=2)
    logging.getLogger("shop").warning("login with password=%s", S["log"])
    cs.publish("place", {"where": f"https://shop.example/?token={S['url']}"})
    return 1

@cs.task
async def bad(value, found):
    try:
        raise ValueError(f"api_key: {S['context']}")
    except ValueError:
        try:
            raise ConnectionError(f"postgres://app:{S['cause']}@db/x")
        except ConnectionError as cause:
            raise RuntimeError(f"password={S['message']} Authorization: Bearer {S['header']}") from cause

async def main():
    connector = cs.connector(sys.argv[1], source_id="press-3")
    engine = cs.Engine(
        connector=connector, logs="INFO",
        state_backend=cs.SqliteState(sys.argv[2]), outbox=cs.Outbox(sys.argv[3]),
    )
    async with connector:
        target = bad(good(S["argument"], cs.Param("word")), cs.Env("CANARY_ENVIRONMENT"))
        try:
            await engine.run(target, {"word": S["parameter"]}, run_id="night")
        except RuntimeError:
            pass
        print(repr(connector), repr(engine), repr(target))
        await connector.flush(20)

asyncio.run(main())
"""


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


def shown_in(data: bytes) -> set[str]:
    """The places whose secret stands in some bytes, as ``strings`` would find it."""
    wide = data.replace(b"\0", b"")  # text of two bytes a character
    return {place for place, secret in CANARIES.items() if secret.encode() in data or secret.encode() in wide}


def bytes_below(folder: Path) -> bytes:
    """The content of all files of a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.broker
@pytest.mark.slow
def test_no_secret_is_shown(guarded: Mosquitto, published: list[bytes], tmp_path: Path) -> None:
    """Published bytes, log lines, reports, history, files of the outbox and of the collector, and what objects show."""
    url = guarded.url.replace("://", "://press-3@")
    state, outbox = tmp_path / "runs", tmp_path / "events"
    environment = {
        **os.environ,
        "CANARIES": json.dumps(CANARIES),
        "CANARY_ENVIRONMENT": CANARIES["environment"],
        "CASCADE_MQTT_PASSWORD": CANARIES["login"],
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, str(state), str(outbox)],
        capture_output=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    eventually(lambda: any(b"ENGINE_STOPPED" in each for each in published), "all events have arrived")
    assert any(b"/logs " in each for each in published)
    assert any(b"/data " in each for each in published)
    shown = {
        "published": shown_in(b"\n".join(published)),
        "standard output": shown_in(done.stdout),
        "outbox": shown_in(bytes_below(outbox)),
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
            ["ps", "--broker", "mqtt://press-3:x@127.0.0.1"],
        ):  # fmt: skip
            answer = plant.cascade(*arguments, environment=further)
            shown[" ".join(arguments)] = shown_in((answer.stdout + answer.stderr).encode())
    assert {where: found for where, found in shown.items() if found} == {}
    # A run continues with these, so its folder has them as they are; only its owner can read it.
    assert shown_in(bytes_below(state)) <= {"parameter", "message", "header"}
    assert not state.stat().st_mode & 0o077
    assert not outbox.stat().st_mode & 0o077
