"""What the page shows of one run: values, log lines, and what stays when the run has ended."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest
from browsing import Tabs
from live import engine, running
from pages import EACH_BROKER, Kind, fresh, region, row
from playwright.async_api import expect
from served_page import Upstream, served

import cascade as cs
from cascade.interfaces.topics import state_topic
from cascade.testkit import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]
HOSTILE = "<img src=x onerror=alert(1)>\u202e"


@pytest.mark.full
@EACH_BROKER
async def test_values_and_log_lines_of_a_run_are_shown_and_its_graph_stays(tabs: Tabs, kind: Kind) -> None:
    """The latest value of each name, hostile text as it is; after the end, graph and counts are still there."""
    open_, over = asyncio.Event(), asyncio.Event()
    graphs: list[dict[str, Any]] = []

    async def collect(_: str, report: dict[str, Any]) -> None:
        graphs.append(report)

    @cs.task
    async def bake(part: int) -> int:
        await open_.wait()
        cs.publish("temperature", {"celsius": 20 + part, "zone": HOSTILE})
        cs.publish("shape", {"sides": [1, {"deep": part}]})
        logging.getLogger("oven").warning("door %s is open", part)
        return part

    @cs.task
    async def pack(parts: list[int]) -> int:
        await over.wait()
        return len(parts)

    with fresh(kind) as broker:
        async with (
            served(Upstream.of(broker.url)) as port,
            engine(broker, "oven-1", logs="INFO") as oven,
            running(oven.run(pack(bake.map(part=range(3))), name="batch-7")) as run,
        ):
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await expect(region(tab.page, "Graph")).to_contain_text("bake")
            await expect(region(tab.page, "Values")).to_have_count(0)
            await expect(region(tab.page, "Log")).to_have_count(0)
            open_.set()
            celsius = row(tab.page, "temperature", panel="Values")
            await expect(celsius).to_contain_text("celsius: 2")
            await expect(celsius).to_contain_text("zone: <img src=x onerror=alert(1)>\\u202e")
            await expect(row(tab.page, "shape", panel="Values")).to_contain_text('"deep":')
            await expect(row(tab.page, "door 2 is open", panel="Log")).to_contain_text("WARNING")
            await expect(region(tab.page, "Log").get_by_role("row")).to_have_count(3)
            over.set()
            await run
            ended = row(tab.page, "batch-7", panel="Recent runs")
            await expect(ended).to_contain_text("4 completed")
            await ended.get_by_role("button").click()
            await expect(region(tab.page, "Graph").get_by_role("listitem")).to_have_count(2)
            await expect(region(tab.page, "Values")).to_be_visible()
            reader = cs.connector(broker.url, presence=False, required=True)
            await reader.connect()
            await reader.subscribe(state_topic("oven-1", "graph"), collect, 1)
            await eventually(lambda: graphs and not graphs[-1]["runs"])  # up to a second after the end
            await reader.disconnect()
            late = await tabs.open(f"http://127.0.0.1:{port}/")
            # what the broker keeps of the end, without a click: it is the latest run
            nodes = region(late.page, "Graph").get_by_role("listitem")
            await expect(nodes).to_have_count(2)
            said = [await each.get_attribute("aria-label") for each in await nodes.all()]
            assert [str(each).split(",")[:2] for each in said] == [
                ["bake: map", " 3 of 3 ended"],
                ["pack: task", " 1 of 1 ended"],
            ]
            await expect(row(late.page, "bake", panel="Tasks by name")).to_contain_text("3 of 3")
            await expect(late.page.locator("#details-end")).to_contain_text(
                re.compile("Succeeded · began .* · ended .* · took .* · 4 of 4")
            )
            await expect(region(late.page, "Timeline")).to_contain_text("arrive while the page is open")
            assert tab.complaints == late.complaints == []


@pytest.mark.full
@EACH_BROKER
async def test_limit_lift_and_cancel_are_in_the_engines_reports(tabs: Tabs, kind: Kind) -> None:
    """Each by its dialog or button; the page shows the effect when the engine reports it."""

    @cs.task
    async def audit(part: int) -> int:
        await asyncio.Event().wait()
        return part

    with fresh(kind) as broker:
        async with (
            served(Upstream.of(broker.url)) as port,
            engine(broker, "press-1") as press,
            running(press.run(audit.map(part=range(9)).with_concurrency(9), name="shift-3")) as run,
        ):
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await tab.page.get_by_role("button", name="Limit press-1", exact=True).click()
            dialog = tab.page.get_by_role("dialog", name="Limit")
            await dialog.get_by_label("Covers").fill("task:audit")
            await dialog.get_by_label("Value").fill("nothing")
            await expect(dialog.get_by_role("alert")).to_contain_text("Write a whole number")
            await dialog.get_by_label("Value").fill("3")
            await expect(dialog).to_contain_text("cascade/constraints/task/audit/@concurrency")
            await dialog.get_by_role("button", name="Write the limit").click()
            limit = row(tab.page, "at most 3 at a time · task:audit", panel="Constraints")
            await expect(limit).to_contain_text("applied by 1 of 1")
            await limit.get_by_role("button", name="Lift").click()
            await expect(limit).to_have_count(0)
            await expect(tab.page.get_by_text("lifted at 1 of 1")).to_be_visible()
            await row(tab.page, "shift-3", panel="Runs").get_by_role("button", name="Cancel").click()
            sure = tab.page.get_by_role("dialog", name="Cancel this run?")
            await expect(sure.get_by_role("button", name="Keep it running")).to_be_focused()
            await sure.get_by_role("button", name="Cancel the run").click()
            await expect(row(tab.page, "shift-3", panel="Recent runs")).to_contain_text("Cancelled")
            with pytest.raises(cs.RunCancelledError):
                await run
