"""Services on a real broker: clients that nobody here wrote."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

import cascade as cs
from cascade.interfaces import Linked, Message
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import busyness

pytestmark = [pytest.mark.broker, pytest.mark.process]

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PROGRAM = """
import os, sys
import cascade as cs

@cs.task
def inspect(text: str, effects: str) -> str:
    with open(effects, "a") as file:
        file.write(text + "\\n")
    return text.upper()

@cs.workflow(overlap="allow", answer=True)
def audit(text: str = "parts") -> cs.LazyResult[str]:
    return inspect(text, sys.argv[2])

if __name__ == "__main__":
    cs.serve(audit, connector=cs.connector(sys.argv[1], required=True), state=sys.argv[3])
"""


@cs.task
def upper(text: str) -> str:
    return text.upper()


@cs.workflow(answer=True)
def shout(text: str = "parts") -> cs.LazyResult[str]:
    return upper(text)


def tool(name: str, broker: Broker, *arguments: str) -> list[str]:
    path = shutil.which(name) or ""
    if not path:
        message = f"{name} is not installed: apt-get install mosquitto-clients"
        pytest.fail(message, pytrace=False) if os.environ.get("CI") else pytest.skip(message)
    return [path, "-h", broker.host, "-p", str(broker.port), *arguments]


async def run(command: list[str]) -> str:
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=50 * busyness(), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Desk:
    """A service in a process of its own, and a client that hears its responses."""

    def __init__(self, broker: Broker, folder: Path, client: Any) -> None:
        self.broker, self.folder, self.client = broker, folder, client
        self.effects = folder / "effects"
        self.responses: list[dict[str, Any]] = []
        self.reports = 0
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "jobs.py").write_text(PROGRAM)
        self.effects.touch()

    async def listen(self) -> None:
        async for item in self.client.watch("cascade/responses/#", "cascade/state/press/workflows"):
            if not isinstance(item, Message):
                continue
            if item.topic.startswith("cascade/responses/"):
                self.responses.append(json.loads(item.payload))
            elif not item.retain and item.payload:
                self.reports += 1

    async def start(self, more: str = "", *, port: int | None = None) -> None:
        url = f"mqtt://{self.broker.host}:{port or self.broker.port}?source_id=press{more}"
        reports = self.reports
        self.process = subprocess.Popen(
            [sys.executable, "jobs.py", url, str(self.effects), str(self.folder / "runs")], cwd=self.folder
        )
        await eventually(lambda: self.reports > reports)

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=50 * busyness())

    async def ask(self, id_: str, **content: Any) -> None:
        await self.client.publish("cascade/requests/press/audit", {"id": id_, **content}, 1)

    async def heard(self, status: str, ids: list[str]) -> None:
        """Wait until each of these requests has a response with this status."""
        await eventually(lambda: set(ids) <= set(self.answers(status)))

    def answers(self, status: str) -> list[str]:
        return [each["id"] for each in self.responses if each["status"] == status]


@asynccontextmanager
async def desk(broker: Broker, folder: Path) -> AsyncIterator[Desk]:
    client: Any = cs.connector(f"mqtt://{broker.host}:{broker.port}", presence=False)
    async with client:
        made = Desk(broker, folder, client)
        listening = asyncio.create_task(made.listen())
        await client.flush(10)
        try:
            yield made
        finally:
            listening.cancel()
            await asyncio.wait({listening})
            if made.process is not None and made.process.poll() is None:
                made.end(signal.SIGKILL)


async def trace_of(service: Desk, broker: Broker) -> str:
    """Ask with a user property, as OpenTelemetry's instrumentations do; return the trace of the run that starts."""
    traced = ["-V", "5", "-t", "cascade/requests/press/audit", "-m", '{"id": "t", "params": {"text": "t"}}']
    events = service.client.watch("cascade/telemetry/+/+/audit~t/events")
    while not isinstance(await anext(events), Linked):
        pass
    await run(tool("mosquitto_pub", broker, *traced, "-D", "publish", "user-property", "traceparent", TRACE))
    async with contextlib.aclosing(events):
        async for item in events:
            if isinstance(item, Message) and b"ENGINE_STARTED" in item.payload:
                return str(json.loads(item.payload)["body"]["traceparent"])
    raise AssertionError("unreachable")


@pytest.mark.wrong_messages("a request is retained, and one is too long, on purpose", "cascade/requests/#")
async def test_mosquittos_own_clients_ask_and_are_answered(tmp_path: Path) -> None:
    """mosquitto_rr gets the end on its response topic, mosquitto_pub with MQTT 3.1.1 on that of its id; SIGTERM ends with 143."""
    require_mosquitto()
    with Mosquitto() as broker:
        async with desk(broker, tmp_path) as service:
            await service.start()
            request = ["-V", "5", "-t", "cascade/requests/press/audit", "-W", "30"]
            request += [
                "-e",
                "cascade/responses/press/rr",
                "-m",
                '{"id": "a", "wait": true, "params": {"text": "rr"}}',
            ]
            answer = json.loads(await run(tool("mosquitto_rr", broker, *request)))
            assert (answer["status"], answer["outcome"], answer["value"]) == ("ended", "Succeeded", "RR")
            assert await trace_of(service, broker) == TRACE
            old = ["-V", "311", "-q", "1", "-t", "cascade/requests/press/audit", "-m"]
            await run(tool("mosquitto_pub", broker, *old, '{"id": "b"}'))
            await eventually(lambda: service.answers("accepted") == ["t", "b"])
            retained = ["-r", "-V", "5", "-q", "1", "-t", "cascade/requests/press/audit", "-m", '{"id": "c"}']
            await run(tool("mosquitto_pub", broker, *retained))
            await eventually(lambda: "c" in service.answers("refused"))
            assert [each["code"] for each in service.responses if each["id"] == "c"] == ["retained"]
            large = service.folder / "large"
            large.write_bytes(b'{"params": {"text": "' + b"x" * 1_000_000 + b'"}}')
            to_answer = ["-D", "publish", "response-topic", "cascade/responses/press/pub"]
            too_long = ["-V", "5", "-t", "cascade/requests/press/audit", "-f", str(large), *to_answer]
            await run(tool("mosquitto_pub", broker, *too_long))
            await eventually(lambda: service.responses[-1].get("code") == "invalid")
            assert service.responses[-1]["reason"] == "the request is longer than 64 KiB"
            await eventually(lambda: service.effects.read_text() == "rr\nt\nparts\n")
            assert service.end(signal.SIGTERM) == 143


@pytest.mark.wrong_messages("a request is retained on purpose", "cascade/requests/#")
async def test_over_mqtt_311_a_retained_request_starts_once_and_never_again(tmp_path: Path) -> None:
    """A live copy does not show that it is retained; each restart gets it marked, and refuses it."""
    require_mosquitto()
    with Mosquitto() as broker:
        async with desk(broker, tmp_path) as service:
            await service.start("&protocol=3.1.1")
            retained = ["-r", "-q", "1", "-t", "cascade/requests/press/audit", "-m", "{}"]
            await run(tool("mosquitto_pub", broker, *retained))
            await eventually(lambda: service.effects.read_text() == "parts\n")
            assert service.end(signal.SIGTERM) == 143
            for refused in (1, 2):
                await service.start("&protocol=3.1.1")
                await eventually(lambda n=refused: len(service.answers("refused")) == n)  # type: ignore[misc]
                assert service.end(signal.SIGTERM) == 143
            assert {each.get("code") for each in service.responses} == {None, "retained"}
            assert service.effects.read_text() == "parts\n"


async def test_a_broker_of_mqtt_311_alone_answers_on_the_topic_of_the_id(tmp_path: Path) -> None:
    """nats-server speaks no MQTT 5: mosquitto_pub asks, and the answer is where the id is."""
    with NatsServer() as broker:
        async with desk(broker, tmp_path) as service:
            await service.start()
            ask = [
                "-V",
                "311",
                "-q",
                "1",
                "-t",
                "cascade/requests/press/audit",
                "-m",
                '{"id": "a", "wait": true}',
            ]
            await run(tool("mosquitto_pub", broker, *ask))
            await service.heard("ended", ["a"])


async def test_zmqtts_request_is_answered_on_the_topic_that_it_expects(tmp_path: Path) -> None:
    """With its correlation data: the end of the run, and a refusal; on a topic elsewhere it waits in vain.

    Row 37: the service is 60 ms from a stock broker, where an engine would use MQTT 3.1.1, which has no response topics.
    """
    from zmqtt import PublishProperties, create_client

    require_mosquitto()
    with Mosquitto(lines=["max_inflight_messages 20"]) as broker:
        async with (
            desk(broker, tmp_path) as service,
            create_client(broker.host, broker.port, version="5.0") as client,
            ChaosProxy(broker.port) as distance,
        ):
            distance.delay(0.03)
            await service.start(port=distance.port)

            async def asked(content: dict[str, Any], **expected: Any) -> Any:
                answer = await client.request(
                    "cascade/requests/press/audit",
                    json.dumps(content),
                    timeout=50 * busyness(),
                    properties=PublishProperties(**expected),
                )
                return json.loads(answer.payload)

            mine = {"response_topic": "cascade/responses/press/zmqtt", "correlation_data": b"\xff\x00"}
            end = await asked({"id": "a", "wait": True, "params": {"text": "z"}}, **mine)
            assert (end["id"], end["outcome"], end["value"]) == ("a", "Succeeded", "Z")
            refused = await asked({"id": "b", "params": {"texts": "z"}}, **mine)
            assert (refused["id"], refused["code"]) == ("b", "invalid")
            elsewhere = asyncio.create_task(asked({"id": "c"}))
            await service.heard("accepted", ["c"])
            assert not elsewhere.done()
            elsewhere.cancel()
            await asyncio.wait({elsewhere})


async def test_a_request_of_nats_is_answered_in_its_inbox() -> None:
    """The client's own ``request`` gets the end as its answer, as JSON."""
    with NatsServer() as server:
        link: Any = cs.connector(f"nats://{server.host}:{server.nats_port}", source_id="press")
        serving = asyncio.create_task(cs.aserve(shout, connector=link))
        client = await nats.connect(f"nats://{server.host}:{server.nats_port}")
        try:

            async def asked() -> Any:
                try:
                    return await client.request(
                        "cascade.requests.press.shout", b'{"id": "a", "wait": true}', timeout=2
                    )
                except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                    # it does not listen yet; the same id asks again without harm
                    return None

            answer = json.loads((await eventually(asked)).data)
            assert (answer["status"], answer["outcome"], answer["value"]) == ("ended", "Succeeded", "PARTS")
        finally:
            serving.cancel()
            await asyncio.wait({serving})
            await client.close()
