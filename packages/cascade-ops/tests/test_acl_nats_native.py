"""``cascade acl --for nats`` for the server's own clients: the rules of each role on a real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import nats
import pytest
from roles import MATRIX, ROLES, RUN, USERS

import cascade as cs
from cascade.connectors.nats import NatsConnector
from cascade.interfaces import Complete, Message
from cascade.interfaces.topics import constraint_topic
from cascade.testkit import eventually, time_limit
from cascade.testkit.brokers import NatsServer
from cascade.testkit.waiting import busyness
from testing_tools.engines import PASSWORD, Plant

pytestmark = [pytest.mark.broker, pytest.mark.process, pytest.mark.usefixtures("patient_with_nats")]
BOUND = 60.0
PATIENT = "from cascade.connectors.nats import _link\n_link.OPEN_TIMEOUT = 60.0\n"
KEPT = {
    topic
    for topic in MATRIX
    if not topic.startswith(
        ("cascade/telemetry/", "cascade/requests/", "cascade/responses/", "cascade/leases/")
    )
}
PAUSE = constraint_topic("global", "pause")


def keeps(user: str) -> bool:
    """Whether a user may write any key: one who only looks must not, as a message to a key can empty the bucket."""
    return user not in (*ROLES.observers, *ROLES.requesters)


@asynccontextmanager
async def connected(server: NatsServer, user: str) -> AsyncIterator[NatsConnector]:
    """Connect as a user, without presence."""
    keywords: dict[str, Any] = {"presence": False, "required": True, "connect_timeout": BOUND}
    connector = NatsConnector(server.host, server.nats_port, user=user, password=PASSWORD, **keywords)
    async with connector:
        yield connector


@pytest.mark.wrong_messages("each user tries each topic, in each way", "cascade/#")
async def test_each_role_may_do_what_the_table_says_and_nothing_else(guarded: NatsServer) -> None:
    """Every user, topic and QoS, as a message and as a key of the bucket; a denied message never cuts the link."""
    heard: set[tuple[str, str]] = set()

    async def hear(topic: str, data: dict[str, Any]) -> None:
        heard.add((topic, json.dumps(data)))

    async with connected(guarded, "witness") as witness:
        await witness.subscribe("#", hear)
        for user in USERS:
            async with connected(guarded, user) as client:
                for topic in MATRIX:
                    await client.subscribe(topic, hear)
                readable = {topic for topic, (_, readers) in MATRIX.items() if user in readers}
                assert client.statistics().refused.keys() == MATRIX.keys() - readable, user
                for qos, retain in ((0, False), (1, False), (1, True)):
                    for topic in MATRIX if not retain else KEPT:
                        await client.publish(topic, {"from": user, "as": [qos, retain]}, qos, retain=retain)
                    assert await client.flush(BOUND)  # of reports that wait the outbox keeps the latest
                assert client.statistics().connections == 1, user
        await witness.publish("end", {}, 1)
        await eventually(lambda: ("end", "{}") in heard)
    expected = {
        (topic, json.dumps({"from": user, "as": how}))
        for topic, (writers, _) in MATRIX.items()
        for user in writers
        for how in ([0, False], [1, False], *([[1, True]] if topic in KEPT and keeps(user) else []))
    }
    assert {each for each in heard if each[0] != "end"} == expected


@pytest.mark.full
async def test_an_engine_obeys_under_its_rules_and_the_server_refuses_nothing(
    guarded: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator and a lead steer; observers and the collector look, and their steering is refused."""
    monkeypatch.setenv("CASCADE_NATS_PASSWORD", PASSWORD)

    def url(user: str) -> str:
        return guarded.nats_url.replace("://", f"://{user}@")

    script = PATIENT + RUN.replace(', protocol="5"', "")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, url("press-3")],
        capture_output=True,
        text=True,
        timeout=120 * busyness(),
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == {"value": [1, 2, 3], "dropped": {}}
    assert "iolation" not in guarded.log
    with Plant(guarded) as plant:

        def cascade(user: str, *arguments: str) -> Any:
            return plant.cascade(*arguments, "--json", environment={"CASCADE_BROKER": url(user)})

        for user in ("ann", "bob", "wall", "c1"):
            found = await asyncio.to_thread(cascade, user, "ps")
            assert (found.returncode, found.stderr) == (0, ""), user
            assert [row["source"] for row in json.loads(found.stdout)] == ["press-3"]
        for user, scope, code in (
            ("ann", "source:press-3", 0),
            ("bob", "project:etl", 0),
            ("wall", "global", 3),
        ):
            assert (await asyncio.to_thread(cascade, user, "pause", scope)).returncode == code, user
        rows = json.loads((await asyncio.to_thread(cascade, "wall", "constraints")).stdout)
        assert {row["scope"] for row in rows} == {"source:press-3", "project:etl"}


@cs.task
def inspect() -> int:
    return 7


@cs.workflow(answer=True)
def audit() -> cs.LazyResult[int]:
    return inspect()


async def test_a_requester_is_answered_in_its_own_inbox_and_nobody_else_is(guarded: NatsServer) -> None:
    """A service may answer the subject that a request names, once; without a request it may write to no inbox."""
    keywords: dict[str, Any] = {"required": True, "connect_timeout": BOUND, "source_id": "press-3"}
    press = NatsConnector(guarded.host, guarded.nats_port, user="press-3", password=PASSWORD, **keywords)
    client = await nats.connect(guarded.nats_url, user="hmi", password=PASSWORD, inbox_prefix=b"_INBOX.hmi")
    serving = asyncio.create_task(cs.aserve(audit, connector=press))
    try:
        async with (
            connected(guarded, "ann") as screen,
            aclosing(screen.watch("cascade/state/+/workflows")) as stream,
        ):
            await until(stream, Message)
        found = await client.request("cascade.requests.press-3.audit", b'{"wait": true}', timeout=BOUND)
        answer = json.loads(found.data)
        assert (answer["outcome"], answer["value"]) == ("Succeeded", 7)
        assert "iolation" not in guarded.log
        await press.publish("_INBOX/hmi/more", {}, 0)
        assert await press.flush(BOUND)
        await eventually(lambda: "iolation" in guarded.log)
    finally:
        serving.cancel()
        await asyncio.wait({serving})
        await client.close()


async def test_an_observer_cannot_steer(guarded: NatsServer) -> None:
    """Neither by a message or a key, nor by a request to JetStream, nor by a consumer that delivers elsewhere."""
    async with connected(guarded, "ann") as operator:
        await operator.publish(PAUSE, {"type": "pause"}, 1, retain=True)
        assert await operator.flush(BOUND)
        async with aclosing(operator.watch("cascade/constraints/#")) as stream:
            await until(stream, Complete)
            await attack(guarded)
            last = constraint_topic("source:press-3", "pause")
            await operator.publish(last, {"type": "pause"}, 1, retain=True)
            assert (await until(stream, Message)).topic == last  # nothing came before it
        async with aclosing(operator.watch("cascade/constraints/#")) as stream:
            assert (await until(stream, Complete)).topics == frozenset({PAUSE, last})


async def until(stream: Any, kind: type[Any]) -> Any:
    """Return the next item of a kind."""
    async with time_limit(BOUND):
        while not isinstance(item := await anext(stream), kind):
            pass
    return item


async def attack(server: NatsServer) -> None:
    """Do as an observer whatever could change a register."""
    client = await nats.connect(
        server.nats_url, user="wall", password=PASSWORD, inbox_prefix=b"_INBOX.wall", error_cb=ignore
    )
    key = "cascade.constraints.global.=40pause"
    for subject in (key, f"$KV.cascade.{key}", "$KV.cascade.cascade.sync.wall.x"):
        await client.publish(subject, b"")
        await client.publish(subject, b"", headers={"Nats-Rollup": "all"})
    for what in ("STREAM.PURGE", "STREAM.DELETE", "STREAM.UPDATE", "STREAM.CREATE", "STREAM.MSG.DELETE"):
        await client.publish(f"$JS.API.{what}.KV_cascade", b"{}", reply="_INBOX.wall.x")
    for number, subject in enumerate((key, "$JS.API.STREAM.PURGE.KV_cascade", f"$KV.cascade.{key}")):
        config = {"name": f"a{number}", "deliver_subject": subject, "ack_policy": "none"}
        request = json.dumps({"stream_name": "KV_cascade", "config": {**config, "deliver_policy": "all"}})
        with contextlib.suppress(TimeoutError, nats.errors.TimeoutError):
            await client.request(
                f"$JS.API.CONSUMER.CREATE.KV_cascade.a{number}", request.encode(), timeout=BOUND
            )
    await client.flush(60)
    await client.close()


async def ignore(_: Exception) -> None:
    """Do nothing: each refusal is reported."""
