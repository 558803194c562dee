"""The page says why a gate holds a run, in words, and shows that it goes on."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from browsing import DESKTOP, PHONE, Tabs
from live import engine, running
from pages import EACH_BROKER, SIDEWAYS, Kind, fresh, publish_all, region, row
from playwright.async_api import expect
from served_page import Upstream, served

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import constraint_topic

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]
POWER = cs.gate("power", topic="site/power", path="w", above=800, settle=1, stale=600)
OVEN = cs.gate("oven", topic="oven/temperature", path="celsius", outside=(160, 190), stale=600)
HIGH = "site/power is 878 w, must stay below 800"
COLD = "oven/temperature is 21.5 celsius, must stay within 160 to 190"


@cs.task
async def press(part: int) -> int:
    await asyncio.sleep(0.01)
    return part


@pytest.mark.full
@EACH_BROKER
async def test_a_gate_is_shown_with_its_reason_and_lifted_by_the_plant(
    tabs: Tabs, kind: Kind, request: pytest.FixtureRequest
) -> None:
    """On the run, under the reasons to wait and beside the constraint; of a gate that the program declares, too."""
    register = {"type": POWER.type, "params": POWER.params(), "by": "ada"}
    with fresh(kind) as broker:
        publish_all(broker, {constraint_topic("global", POWER.type): register})
        async with (
            served(Upstream.of(broker.url)) as port,
            engine(broker, "press-1", gates=[OVEN], host_report=False) as press_1,
            MqttConnector.from_url(broker.url, presence=False) as plant,
            running(press_1.run(press.map(part=range(50)), run_id="shift-7", name="shift")) as run,
        ):
            light = await tabs.open(f"http://127.0.0.1:{port}/", viewport=DESKTOP)
            phone = await tabs.open(f"http://127.0.0.1:{port}/", viewport=PHONE)
            await expect(row(light.page, "shift", panel="Runs")).to_contain_text(
                "site/power has sent nothing yet"
            )
            await plant.publish("oven/temperature", {"celsius": 21.5})
            await plant.publish("site/power", {"w": 878})
            for tab in (light, phone):
                for text in (HIGH, COLD):
                    await expect(row(tab.page, "shift", panel="Runs")).to_contain_text(text)
                    await expect(region(tab.page, "Waiting")).to_contain_text(text)
                constraint = row(
                    tab.page, "gate.power: site/power must stay below 800 · global", panel="Constraints"
                )
                await expect(constraint).to_contain_text(f"press-1: {HIGH}")
                assert await tab.page.evaluate(SIDEWAYS) == 0
            await expect(row(light.page, "press-1").get_by_text("paused", exact=True)).to_be_hidden()
            if (folder := request.config.getoption("--screenshots")) is not None:
                for name, tab in (("gate", light), ("gate-phone", phone)):
                    await tab.page.screenshot(path=Path(folder) / f"{name}.png")
            await plant.publish("oven/temperature", {"celsius": 180})
            await plant.publish("site/power", {"w": 640})
            assert await run == [*range(50)]
            await expect(region(light.page, "Recent runs")).to_contain_text(re.compile("shift.*Succeeded"))
            for tab in (light, phone):
                assert tab.complaints == []
