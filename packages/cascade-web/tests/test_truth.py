"""No number on the page is wrong: not with lost events, many engines, large runs, or clocks that differ."""

from __future__ import annotations

import asyncio
import json
import random
import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from browsing import Tabs
from live import engine, running
from lossy import lossy
from pages import EACH_BROKER, Kind, fresh, pause_everything, publish_all, region, row
from playwright.async_api import expect
from served_page import Upstream, served

import cascade as cs
from cascade.interfaces.topics import state_topic, status_topic
from cascade.testkit.brokers import Broker

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]
SPACE = "\u202f"
"""Stands between thousands."""


def stamp(**ago: float) -> str:
    """Return a moment before now as engines write it."""
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def birth(ts: str, *, status: str = "online", **more: Any) -> dict[str, Any]:
    """Return the presence of an engine."""
    return {"status": status, "session": "s", "ts": ts, "pid": 1, "host": "pi", "version": "1", **more}


def report(source: str, ts: str, **more: Any) -> dict[str, Any]:
    """Return an engine's report of its runs."""
    head = {"v": "1.0", "source": source, "session": "e", "presence": "s", "paused": False, "ts": ts}
    return {**head, "runs": [], "recent": [], **more}


def send(broker: Broker, topic: str, content: dict[str, Any]) -> None:
    """Publish what a page that is open takes for news: its engine lives."""
    from paho.mqtt import publish

    publish.single(topic, json.dumps(content), 1, retain=True, hostname=broker.host, port=broker.port)


@pytest.mark.full
@EACH_BROKER
async def test_every_count_is_right_where_a_third_of_the_events_is_lost(
    tabs: Tabs, kind: Kind, seeded_random: random.Random
) -> None:
    """Counts come from reports, in the middle of a run and at its end; the page says how many events are missing."""
    gate = asyncio.Event()

    @cs.task
    async def inspect(part: int) -> int:
        if part >= 1_000:
            await gate.wait()
        if part % 100 == 7:
            raise ValueError(f"part {part} is dark")
        return part

    with fresh(kind) as broker:
        async with (
            lossy(broker, seeded_random, share=0.3) as losses,
            served(losses.upstream) as port,
            engine(broker, "press-1") as press,
        ):
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await expect(row(tab.page, "press-1")).to_contain_text("online")
            parts = inspect.map(part=range(1_200))
            async with running(press.run(parts, name="shift-1", on_failure="continue")):
                run = row(tab.page, "shift-1", panel="Runs")
                await expect(run).to_contain_text("990 completed, 200 running, 10 failed")
                await expect(region(tab.page, "Tasks by name")).to_contain_text(f"1{SPACE}000 of 1{SPACE}200")
                await expect(region(tab.page, "Timeline")).to_contain_text("did not reach this page")
                gate.set()
                ended = row(tab.page, "shift-1", panel="Recent runs")
                await expect(ended).to_contain_text(f"1{SPACE}188 completed, 12 failed")
            assert losses.lost > 300
            assert losses.carried > losses.lost


@pytest.mark.full
@EACH_BROKER
async def test_fifty_engines_are_paused_and_resumed_by_one_button(tabs: Tabs, kind: Kind) -> None:
    """Each reports; the page counts their answers."""

    @cs.task
    async def press(part: int) -> int:
        await asyncio.Event().wait()
        return part

    with fresh(kind) as broker:
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(served(Upstream.of(broker.url)))
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            for number in range(50):
                each = await stack.enter_async_context(engine(broker, f"press-{number:02}"))
                _ = await stack.enter_async_context(running(each.run(press(number), run_id=f"run-{number}")))
            await expect(region(tab.page, "Engines")).to_contain_text("50 online")
            await expect(region(tab.page, "Runs").get_by_role("row")).to_have_count(50)
            await pause_everything(tab.page)
            await expect(tab.page.get_by_text("applied by 50 of 50").first).to_be_visible()
            await expect(
                region(tab.page, "Engines").get_by_text("paused", exact=True).filter(visible=True)
            ).to_have_count(50)
            await tab.page.get_by_role("button", name="Resume everything").click()
            await expect(tab.page.get_by_text("lifted at 50 of 50")).to_be_visible()
            await expect(
                region(tab.page, "Engines").get_by_text("paused", exact=True).filter(visible=True)
            ).to_have_count(0)


@pytest.mark.full
@EACH_BROKER
async def test_of_a_hundred_engines_ninety_are_gone(tabs: Tabs, kind: Kind) -> None:
    """Those that live are listed, the others counted, and shown on demand."""
    kept = dict[str, dict[str, Any]]()
    for number in range(100):
        gone: dict[str, Any] = {} if number < 10 else {"status": "offline"}
        if number >= 50:
            gone["reason"] = "ended"
        kept[status_topic(f"press-{number:02}")] = birth(stamp(minutes=5), **gone)
    with fresh(kind) as broker:
        publish_all(broker, kept)
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            engines = region(tab.page, "Engines")
            await expect(engines).to_contain_text("10 online, 90 lost or ended")
            await expect(engines.get_by_role("row")).to_have_count(10)
            await engines.get_by_role("button", name="Show 90 engines that are gone").click()
            await expect(engines.get_by_role("row")).to_have_count(100)
            await expect(row(tab.page, "press-49")).to_contain_text("lost")
            await expect(row(tab.page, "press-99")).to_contain_text("ended")
            await engines.get_by_role("button", name="Hide those that are gone").click()
            await expect(engines.get_by_role("row")).to_have_count(10)


@pytest.mark.full
@EACH_BROKER
async def test_twenty_thousand_tasks_are_drawn_by_name(tabs: Tabs, kind: Kind) -> None:
    """The page has a few rows, not one for each task, and its buttons answer."""
    gate = asyncio.Event()

    @cs.task
    async def measure(part: int) -> int:
        if part >= 500:
            await gate.wait()
        return part

    with fresh(kind) as broker:
        async with served(Upstream.of(broker.url)) as port, engine(broker, "press-1") as press:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            async with running(
                press.run(measure.map(part=range(20_000)).with_concurrency(50), name="shift-1")
            ):
                graph = region(tab.page, "Graph")
                await expect(graph.get_by_role("listitem")).to_have_count(1)
                await expect(graph.get_by_role("listitem")).to_contain_text(f"500 / 20{SPACE}000  ▶ 50")
                await expect(row(tab.page, "shift-1", panel="Runs")).to_contain_text(f"500 of 20{SPACE}000")
                assert await tab.page.locator("*").count() < 2_000
                await tab.page.get_by_role("button", name="Pause press-1", exact=True).click()
                await expect(row(tab.page, "press-1").get_by_text("paused", exact=True)).to_be_visible()
    assert tab.complaints == []


@pytest.mark.full
@EACH_BROKER
async def test_a_list_of_thousands_has_pages(tabs: Tabs, kind: Kind) -> None:
    """A hundred rows at a time; each row can be reached."""
    with fresh(kind) as broker:
        kept = {f"cascade/constraints/task/t{number:04}/@pause": {"type": "pause"} for number in range(2_345)}
        publish_all(broker, kept)
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            constraints = region(tab.page, "Constraints")
            await expect(constraints).to_contain_text(f"1 to 100 of 2{SPACE}345")
            await expect(constraints.get_by_role("row")).to_have_count(100)
            await constraints.get_by_role("button", name="Last").click()
            await expect(row(tab.page, "task:t2344", panel="Constraints")).to_be_visible()
            await expect(constraints.get_by_role("button", name="Next")).to_be_disabled()
            await constraints.get_by_label("Find").fill("t0815")
            await expect(constraints.get_by_role("row")).to_have_count(1)
            await expect(row(tab.page, "task:t0815", panel="Constraints")).to_be_visible()


@pytest.mark.full
@EACH_BROKER
@pytest.mark.parametrize("hours", [-2, 2])
async def test_times_of_a_live_engine_with_a_wrong_clock_are_right(
    tabs: Tabs, kind: Kind, hours: int
) -> None:
    """Its reports show the difference: lengths use its clock, and the page names the difference."""
    with fresh(kind) as broker:
        publish_all(broker, {status_topic("press-1"): birth(stamp(hours=hours, minutes=30))})
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            engine_row = row(tab.page, "press-1")
            await expect(engine_row).to_contain_text("connected since")
            run = {"run_id": "r", "target": "shift", "counts": {"RUNNING": 1}, "known": 2, "open": False,
                   "started": stamp(hours=hours, minutes=10), "attempt": 1, "lost": 0,
                   "running": [{"task_id": "weld", "task_name": "weld", "since": stamp(hours=hours, minutes=5), "paused": False}]}  # fmt: skip
            send(broker, state_topic("press-1", "runs"), report("press-1", stamp(hours=hours), runs=[run]))
            await expect(engine_row).to_contain_text("connected for 30m")
            await expect(row(tab.page, "shift", panel="Runs")).to_contain_text("for 10m")
            await expect(row(tab.page, "weld", panel="Running")).to_contain_text("5m")
            where = "behind" if hours < 0 else "ahead of"
            await expect(tab.page.get_by_role("alert").first).to_contain_text(
                re.compile(f"This computer's clock is (2h|119m) {where} the engine's")
            )
            ended = {"status": "offline", "session": "s", "reason": "ended"}
            publish_all(broker, {status_topic("press-1"): ended})
            await expect(engine_row).to_contain_text("ended")
            alert = tab.page.get_by_role("alert")  # what was known of the two clocks is known still
            known = re.compile(f"clock is (2h|119m) {where} the engine's")
            await expect(alert.filter(has_text=known)).to_be_visible()
            await expect(alert.filter(has_text="other engines")).to_have_count(0)


@pytest.mark.full
@EACH_BROKER
async def test_times_that_cannot_be_compared_are_shown_as_they_were_given(tabs: Tabs, kind: Kind) -> None:
    """An engine that is gone had a clock that cannot be checked: the page shows no duration by it, and names a time in the future."""
    with fresh(kind) as broker:
        ended = {"run_id": "r", "target": "shift", "status": "Failed", "error": "no oil", "counts": {"FAILED": 1},
                 "started": stamp(hours=-3), "ended": stamp(hours=-2), "attempt": 1, "duration_ms": 3.6e6}  # fmt: skip
        backwards = {
            **ended,
            "run_id": "q",
            "target": "night",
            "started": stamp(hours=1),
            "ended": stamp(hours=2),
        }
        publish_all(
            broker,
            {
                status_topic("press-1"): birth(stamp(hours=-2), status="offline"),
                state_topic("press-1", "runs"): report("press-1", stamp(hours=-2), recent=[ended, backwards]),
            },
        )
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            future = row(tab.page, "shift", panel="Recent runs")
            await expect(future).to_contain_text(re.compile(r"at (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"))
            await expect(future).not_to_contain_text("ago")
            await expect(row(tab.page, "night", panel="Recent runs")).not_to_contain_text("took")
            await expect(row(tab.page, "press-1")).to_contain_text(
                re.compile(r"last report at .*\d\d:\d\d:\d\d")
            )
            await expect(tab.page.get_by_role("alert").first).to_contain_text(
                "What press-1 reported last lies in the future"
            )
            assert not re.search(r"-\d+[smhd]\b", await tab.page.locator("body").inner_text())
