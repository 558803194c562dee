"""A process that lives on sends again what the collector has not acknowledged, though no run follows."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.runtime import LocalHub
from cascade.runtime._outbox import acknowledgements
from cascade.testkit import NatsServer, eventually, no_leaks


@cs.task
async def press(part: int) -> int:
    return part


class Collector:
    """Acknowledges the events of the source ``press``, once it works; it has lost what came before."""

    def __init__(self, connector: Any) -> None:
        self._connector = connector
        self.works = False
        self.lost = 0

    async def receive(self, topic: str, data: dict[str, Any]) -> None:
        """Store an event and acknowledge all before it, which have come by then."""
        if not self.works:
            self.lost += 1
            return
        series = f"{data['run_id']}-{data['token']}"
        ack = {"v": "1.0", "by": "c-1", "upto": {series: data["seq"]}, "missing": {}}
        await self._connector.publish("cascade/ack/press", ack, 1, retain=True)


@contextlib.contextmanager
def pair(kind: str) -> Iterator[tuple[Any, Any]]:
    """Return the connectors of an engine and of a collector."""
    if kind == "local":
        hub = LocalHub()
        yield cs.LocalConnector(hub, source_id="press"), cs.LocalConnector(hub)
        return
    with NatsServer() as broker:
        yield (
            MqttConnector("127.0.0.1", broker.port, source_id="press"),
            MqttConnector("127.0.0.1", broker.port),
        )


@pytest.mark.parametrize("kind", ["local", pytest.param("mqtt", marks=pytest.mark.broker)])
async def test_events_that_were_lost_are_sent_again_after_the_last_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker has accepted every event, and the collector has lost them."""
    monkeypatch.setattr(acknowledgements, "RESEND_AFTER", 0.1)
    folder = tmp_path / "events"
    with pair(kind) as (connector, reader):
        async with no_leaks(), connector, reader:
            collector = Collector(reader)
            await reader.subscribe("cascade/telemetry/+/+/+/events", collector.receive, 1)
            engine = cs.Engine(connector=connector, outbox=cs.Outbox(folder, ack="c-1"))
            assert await engine.run(press(1)) == 1
            await eventually(lambda: collector.lost >= 4)
            await eventually(
                lambda: sum(each.sent + each.waiting for each in cs.Outbox(folder).senders()) == 4
            )
            collector.works = True
            await eventually(lambda: not [*folder.glob("*")])
