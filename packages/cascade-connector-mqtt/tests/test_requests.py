"""Requests over MQTT 5: a program that obeys them, and clients that know nothing of Cascade."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import Complete, Message
from cascade.interfaces.topics import parse_request_topic, request_filters, request_topic
from cascade.interfaces.wire import decode_payload
from cascade.testkit import Broker, eventually
from testing_tools.requesting import Requester

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("patient"),
    pytest.mark.wrong_messages("no schema describes them", "cascade/requests/#", "cascade/responses/#"),
]

NAME = "press-3"
TOPIC = request_topic(NAME, "audit")


class Service:
    """Accepts each request, and answers with what it has asked for; it refuses retained ones."""

    def __init__(self, connector: MqttConnector) -> None:
        self.connector = connector
        self.ready = asyncio.Event()
        self.requests: list[Message] = []

    async def run(self) -> None:
        async with contextlib.aclosing(self.connector.watch(*request_filters(NAME))) as items:
            async for item in items:
                if isinstance(item, Complete):
                    self.ready.set()
                elif isinstance(item, Message) and item.payload:
                    self.requests.append(item)
                    self.answer(item)

    def answer(self, request: Message) -> None:
        if request.reply_to is not None and request.reply_to.is_permitted(request.topic):
            status = "refused" if request.retain else "accepted"
            asked = {"asked": parse_request_topic(request.topic), **decode_payload(request.payload)}
            self.connector.answer_nowait(request.reply_to, {"status": status, **asked})


@contextlib.asynccontextmanager
async def serving(broker: Broker, **keywords: Any) -> AsyncIterator[Service]:
    async with MqttConnector(broker.host, broker.port, source_id=NAME, **keywords) as connector:
        service = Service(connector)
        task = asyncio.create_task(service.run(), name="service")
        try:
            await service.ready.wait()
            yield service
        finally:
            task.cancel()
            await asyncio.wait({task})


async def called(program: str, broker: Broker, *words: str) -> str:
    """Return what a program of mosquitto has printed, when it has ended."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed: it is in the package mosquitto-clients")
    process = await asyncio.create_subprocess_exec(
        found, "-h", broker.host, "-p", str(broker.port), *words, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


@pytest.mark.process
@pytest.mark.parametrize("source", ["press-3", "@all"])
async def test_mosquitto_rr_gets_its_answer_with_its_correlation_data(mosquitto: Broker, source: str) -> None:
    """It waits for one answer to its one request, to one engine or to every one, and prints what came with it."""
    address = ["-t", f"cascade/requests/{source}/audit", "-e", f"cascade/responses/{source}/wall-7"]
    async with serving(mosquitto):
        answer = await called(
            "mosquitto_rr", mosquitto, *address, "-m", '{"id": "b7"}', "-W", "60", "-F", "%t %q %r %D %p", "-q", "1",
            "-D", "publish", "correlation-data", "order-66",
        )  # fmt: skip
    named = "null" if source == "@all" else f'"{source}"'
    content = f'{{"status": "accepted", "asked": [{named}, "audit"], "id": "b7"}}'
    assert answer == f"cascade/responses/{source}/wall-7 1 0 order-66 {content}"


@pytest.mark.process
async def test_a_retained_request_is_recognised_live_and_after_a_restart(mosquitto: Broker) -> None:
    """Row 58: so it is refused in both cases; the same request without the flag, or with MQTT 3.1.1, is not marked."""
    retained = ["-t", TOPIC, "-m", "{}", "-r", "-q", "1"]
    async with serving(mosquitto) as service:
        for words in (["-t", TOPIC, "-m", "{}"], ["-V", "5", *retained], ["-V", "311", *retained]):
            await called("mosquitto_pub", mosquitto, *words)
        await eventually(lambda: len(service.requests) == 3)
        assert [each.retain for each in service.requests] == [False, True, True]
    async with serving(mosquitto) as service:
        assert [each.retain for each in service.requests] == [True]
    async with serving(mosquitto, protocol="3.1.1") as service:
        await called("mosquitto_pub", mosquitto, *retained)
        await eventually(lambda: len(service.requests) == 2)
        assert [each.retain for each in service.requests] == [True, False]
    await called("mosquitto_pub", mosquitto, "-t", TOPIC, "-n", "-r")


async def test_an_answer_goes_nowhere_else(mosquitto: Broker) -> None:
    """Row 57: a response topic that is not below the responses of whom the request names gets nothing."""
    async with (
        serving(mosquitto) as service,
        Requester(mosquitto.host, mosquitto.port) as requester,
    ):
        requester.expect("cascade/constraints/#", "cascade/responses/#")
        elsewhere = [
            await requester.ask(TOPIC, b"{}", answer_on=topic)
            for topic in ("cascade/constraints/global/@pause", "cascade/responses/press-4/1", TOPIC)
        ]
        permitted = await requester.ask(TOPIC, b"{}", answer_on="cascade/responses/press-3/1")
        await eventually(permitted)
        assert [each() for each in elsewhere] == [[], [], []]
        assert len(service.requests) == 4


async def test_with_mqtt_3_1_1_nobody_is_answered(mosquitto: Broker) -> None:
    """The network does not transmit where the answer is expected, so the message shows none; the request arrives."""
    async with (
        serving(mosquitto, protocol="3.1.1") as service,
        Requester(mosquitto.host, mosquitto.port) as requester,
    ):
        await requester.ask(TOPIC, b"{}")
        await eventually(lambda: service.requests)
        assert service.requests[0].reply_to is None
