"""Without a link the page stands still: what it shows is from the moment at which the link was lost, and it says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browsing import Tab, Tabs
from pages import EACH_BROKER, Kind, fresh, publish_all, region, row
from playwright.async_api import Page, expect
from served_page import Upstream, served
from test_truth import birth, report, send, stamp

from cascade.interfaces.topics import constraint_topic, state_topic, status_topic

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]
TIME = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"
PRESENCE = status_topic("press-1")
REPORT = state_topic("press-1", "runs")
LIMIT = constraint_topic("task:weld", "concurrency")
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SHOWN = """() => [document.querySelector("main").innerText, document.querySelector("#timeline").toDataURL(),
    ...[...document.querySelectorAll("[aria-label]")].map((each) => each.getAttribute("aria-label"))]"""


def working(name: str, *, minutes: float = 10.5) -> dict[str, Any]:
    """Return a run that lasts for so many minutes, with a task and a reason to wait."""
    return {"run_id": name, "target": name, "counts": {"RUNNING": 1, "BLOCKED": 1}, "known": 2, "open": False,
            "started": stamp(minutes=minutes), "attempt": 1, "lost": 0, "eta_s": 60.0,
            "waiting": [{"why": "constraint", "topic": LIMIT, "type": "concurrency", "id": "x", "n": 1, "since": stamp(minutes=3)}],
            "running": [{"task_id": "weld", "task_name": "weld", "since": stamp(minutes=5.5), "paused": False}]}  # fmt: skip


async def opened(tabs: Tabs, port: int) -> Tab:
    """Open a page whose clocks the test moves; the engine is online, and everything has arrived."""
    tab = await tabs.empty()
    await tab.page.clock.install()
    await tab.page.goto(f"http://127.0.0.1:{port}/")
    await tab.started()
    await expect(row(tab.page, "press-1")).to_contain_text("online")
    await expect(tab.page.locator("#link")).to_have_attribute("data-link", "ready")
    return tab


async def let_pass(page: Page, time: str) -> None:
    """Let the page's clocks go on by so much, and let it draw."""
    await page.clock.fast_forward(time)
    await page.evaluate(TWO_FRAMES)


async def keep(page: Page, request: pytest.FixtureRequest, name: str) -> None:
    """Keep a picture where ``--screenshots FOLDER`` asks for pictures."""
    if (folder := request.config.getoption("--screenshots")) is not None:
        await page.screenshot(path=Path(folder) / f"{name}.png")


def without_date(shown: list[str]) -> list[str]:
    """Return what the page shows without the date that stands before a time once midnight has passed."""
    return [re.sub(rf"\d{{4}}-\d\d-\d\d ({TIME})", r"\1", each) for each in shown]


@pytest.mark.full
@EACH_BROKER
async def test_without_a_link_every_number_is_from_the_moment_of_the_loss(
    tabs: Tabs, kind: Kind, request: pytest.FixtureRequest
) -> None:
    """Lengths, ages, time left, bars and counts stand still under a banner with the time; with the link they go on."""
    limit = {"type": "concurrency", "params": {"limit": 1}, "by": "ada"}
    ended = {"run_id": "q", "target": "night", "status": "Failed", "error": "no oil", "counts": {"FAILED": 1},
             "started": stamp(hours=1), "ended": stamp(minutes=20), "attempt": 1, "duration_ms": 2.4e6}  # fmt: skip
    with fresh(kind) as broker:
        publish_all(broker, {PRESENCE: birth(stamp(minutes=30)), LIMIT: limit})
        async with served(Upstream.of(broker.url)) as port:
            tab = await opened(tabs, port)
            send(broker, REPORT, report("press-1", stamp(), runs=[working("shift")], recent=[ended]))
            await expect(row(tab.page, "press-1")).to_contain_text("connected for 30m")
            await expect(row(tab.page, "shift", panel="Runs")).to_contain_text("for 10m")
            await let_pass(tab.page, "02:00")
            await expect(row(tab.page, "shift", panel="Runs")).to_contain_text(re.compile("for 1[23]m"))
            await tab.page.get_by_role("button", name="Limit everything").click()
            writes = tab.page.get_by_role("button", name="Write the limit")
            await expect(writes).to_be_enabled()
            broker.terminate()
            problem = tab.page.locator("#problems")
            await expect(problem).to_contain_text(
                re.compile(f"No link since {TIME}: what you see is from then")
            )
            await expect(writes).to_be_disabled()
            await tab.page.get_by_role("button", name="Back").click()
            await expect(region(tab.page, "Engines")).to_contain_text(re.compile(f"at {TIME}: 1 online"))
            await expect(region(tab.page, "Runs")).to_contain_text(re.compile(f"at {TIME}: 1 active"))
            await expect(row(tab.page, "shift", panel="Runs")).to_contain_text(re.compile("for 1[23]m"))
            await expect(tab.page.locator(".columns")).to_have_css("opacity", re.compile(r"^0\.\d+$"))
            buttons = tab.page.locator("main [data-writes]").filter(visible=True)
            assert [await each.is_disabled() for each in await buttons.all()] == [True] * 6
            since = re.search(TIME, await problem.inner_text())
            before = without_date(await tab.page.evaluate(SHOWN))
            for passed in ("20:00", "05:00:00"):
                await let_pass(tab.page, passed)
                assert without_date(await tab.page.evaluate(SHOWN)) == before
            assert since is not None
            await expect(problem).to_contain_text(re.compile(f"No link since (\\S+ )?{since[0]}"))
            await keep(tab.page, request, f"no-link-{kind.name}")
            broker.start()
            await expect(tab.page.locator("#link")).to_have_attribute("data-link", "ready")
            await expect(problem).not_to_contain_text("link")
            publish_all(broker, {PRESENCE: birth(stamp(minutes=50)), LIMIT: limit})
            send(broker, REPORT, report("press-1", stamp(), runs=[working("late", minutes=35.5)]))
            await expect(row(tab.page, "press-1")).to_contain_text("connected for 50m")
            await expect(row(tab.page, "late", panel="Runs")).to_contain_text("for 35m")
            await expect(region(tab.page, "Engines")).not_to_contain_text(re.compile(TIME))
            await expect(region(tab.page, "Engines")).to_contain_text("1 online")
            await expect(tab.page.locator(".columns")).to_have_css("opacity", "1")
            await expect(tab.page.get_by_role("button", name="Pause everything")).to_be_enabled()
            await let_pass(tab.page, "02:00")
            await expect(row(tab.page, "late", panel="Runs")).to_contain_text(re.compile("for 3[789]m"))
    assert [each for each in tab.complaints if "WebSocket" not in each] == []


@pytest.mark.full
@EACH_BROKER
async def test_a_run_whose_engine_is_lost_is_not_counted_as_active(
    tabs: Tabs, kind: Kind, request: pytest.FixtureRequest
) -> None:
    """It counts as lost; its timeline ends with the engine's last report, and its counts are said to be from there."""
    with fresh(kind) as broker:
        publish_all(broker, {PRESENCE: birth(stamp(minutes=30))})
        async with served(Upstream.of(broker.url)) as port:
            tab = await opened(tabs, port)
            send(broker, REPORT, report("press-1", stamp(), runs=[working("shift")]))
            panel, shift = region(tab.page, "Runs"), row(tab.page, "shift", panel="Runs")
            await expect(shift).to_contain_text("for 10m")
            await expect(panel).to_contain_text("1 active")
            send(broker, PRESENCE, {"status": "offline", "session": "s"})
            await expect(shift).to_contain_text("Lost")
            await expect(panel).to_contain_text("1 lost")
            await expect(panel).not_to_contain_text("active")
            await expect(shift).to_contain_text("last reported: 1 running, 1 waiting")
            await expect(shift).to_contain_text("ran when the link broke: ")
            await expect(region(tab.page, "Running")).to_contain_text("ran when the link broke")
            await expect(region(tab.page, "Waiting")).to_contain_text("The run is not active.")
            await expect(region(tab.page, "Waiting")).not_to_contain_text("reason")
            await let_pass(tab.page, "20:00")
            await expect(region(tab.page, "Timeline")).to_contain_text("1 task name over 5m")
            await keep(tab.page, request, f"lost-run-{kind.name}")
    assert tab.complaints == []
