"""What a broker's access list does to a connector that speaks MQTT 5, which has words for it."""

from __future__ import annotations

import logging

import aiomqtt
import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Mosquitto, eventually
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.recorder import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("patient")]


@pytest.mark.parametrize("qos", [1, 2])
async def test_row_11_what_the_access_list_forbids_is_counted_and_said(
    caplog: pytest.LogCaptureFixture, qos: int
) -> None:
    """The link stays, and what is allowed arrives."""
    require_mosquitto()
    with (
        # 2.0.11 with no limit (0) cuts the link after each refusal: 0 packets waiting are not fewer than 0
        Mosquitto(acl=["topic readwrite open/#"], max_queued_messages=1_000) as broker,
        Recorder(broker.host, broker.port, "open/#") as recorder,
    ):
        connector = MqttConnector(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5)
        async with connector:
            for number in range(20):
                await connector.publish("open/a", {"n": number}, qos)
                await connector.publish("closed/a", {"n": number}, qos)
            assert await connector.flush(600)
            counts = connector.statistics()
            assert (counts.sent, counts.dropped, counts.connections) == (20, {"refused by the broker": 20}, 1)
            await eventually(lambda: len(recorder.messages) == 20)
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    refused, lost = said
    assert "access list" in refused
    assert "20 refused by the broker" in lost
