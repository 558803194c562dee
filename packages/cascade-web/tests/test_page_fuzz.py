"""Any bytes on any topic leave the page in a browser running."""

from __future__ import annotations

import asyncio
import random

import pytest
from browsing import Tabs
from pages import publish_all, region, row
from playwright.async_api import expect
from served_page import Upstream, served

from cascade.interfaces.topics import status_topic
from cascade.testkit.brokers import Broker
from testing_tools.hostile import send

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.wrong_messages("the page must bear anything", "cascade/#"),
    pytest.mark.asyncio(loop_scope="session"),
]


@pytest.mark.parametrize(
    ("control", "others"),
    [
        pytest.param(400, 200, id="short"),
        pytest.param(100_000, 20_000, marks=[pytest.mark.nightly, pytest.mark.timeout(3_600)], id="long"),
    ],
)
async def test_the_page_goes_on(
    tabs: Tabs, fresh_broker: Broker, seeded_random: random.Random, control: int, others: int
) -> None:
    """It shows an engine that comes after hostile control messages, reports, births and events, without a complaint."""
    async with served(Upstream.of(fresh_broker.url)) as port:
        tab = await tabs.open(f"http://127.0.0.1:{port}/")
        await expect(region(tab.page, "Engines")).to_contain_text("No engines")
        await asyncio.to_thread(send, fresh_broker, seeded_random.randrange(2**32), control, others)
        birth = {"status": "online", "session": "s", "ts": "2026-11-23T00:00:00+00:00", "pid": 1, "host": "h"}
        publish_all(fresh_broker, {status_topic("after"): birth})
        await expect(row(tab.page, "after")).to_contain_text("online")
        assert tab.complaints == []
