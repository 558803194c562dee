"""The section "History" and the last night in a real browser, with the keyboard and on a phone."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from browsing import PHONE, Tabs
from pages import SIDEWAYS, region
from playwright.async_api import Page, expect
from served_page import HOST, History, RelayAccess, Upstream, WebServer, assemble

from cascade.testkit.brokers import Broker
from cascade.testkit.ports import free_port
from testing_tools.collected_nights import write_night

LINE = "sensor 4 is slow"

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.full,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]


@asynccontextmanager
async def history(broker: Broker, folder: Path, *, token: str | None = None) -> AsyncIterator[str]:
    """Serve the page with a night that has just ended; the value is its address."""
    path, port = folder / "all.sqlite", free_port()
    write_night(path, time.time())
    server = WebServer(
        assemble("/mqtt", history=True), Upstream.of(broker.url), RelayAccess(token), History(path)
    )
    async with server.listening(HOST, port):
        yield f"http://{HOST}:{port}/"


def rows(page: Page) -> Any:
    """Find the rows of the list."""
    return region(page, "History").get_by_role("row")


async def test_a_person_filters_opens_and_closes_a_past_run_with_the_keyboard(
    tabs: Tabs, fresh_broker: Broker, tmp_path: Path
) -> None:
    """Its panels are those of a live run: failures, tasks by name, time line, log and values. The address can be shared."""
    async with history(fresh_broker, tmp_path) as url:
        tab = await tabs.open(url)
        page = tab.page
        await expect(rows(page)).to_have_count(3)
        await expect(rows(page).nth(1)).to_have_accessible_name(re.compile("^shift, Lost, press-2"))
        await rows(page).get_by_role("button", name="shift").click()
        await expect(page.get_by_text("Lost · began")).to_contain_text("· last heard of ")
        await page.get_by_label("Name or id").fill("night")
        await expect(rows(page)).to_have_count(1)
        await rows(page).get_by_role("button", name="nightly").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="nightly on press-1")).to_be_visible()
        await expect(page.get_by_text("Failed · began")).to_contain_text("41 of 41")
        await expect(region(page, "Failed tasks")).to_contain_text("measure:0[3]")
        await expect(region(page, "Tasks by name").get_by_role("row")).to_have_count(2)
        await expect(region(page, "Graph").get_by_role("listitem")).to_have_count(2)
        await expect(region(page, "Log")).to_contain_text("sensor 4 is slow")
        await expect(region(page, "Values")).to_contain_text("celsius: 21.5")
        await expect(region(page, "Timeline")).to_contain_text("1 task name over")
        assert page.url.endswith("#run=night-7&on=press-1")
        await page.get_by_role("button", name="Close the past run").press("Enter")
        await expect(page.get_by_role("heading", name="nightly on press-1")).to_be_hidden()
        assert page.url == url
        await page.get_by_label("Name or id").fill("nothing has this name")
        await expect(region(page, "History")).to_contain_text("No run matches.")
    assert tab.complaints == []


async def test_the_last_night_shows_failures_first_and_each_is_a_link(
    tabs: Tabs, fresh_broker: Broker, tmp_path: Path
) -> None:
    """On a phone, too: runs as bars, the pause with its author, the lost link. A link opens its run."""
    async with history(fresh_broker, tmp_path) as url:
        tab = await tabs.open(url, viewport=PHONE)
        page = tab.page
        night = region(page, "Last night")
        await expect(night).to_contain_text("3 runs, 2 failed")
        await expect(night.get_by_role("listitem")).to_have_count(4)
        await expect(night.get_by_role("link", name=re.compile("^bake on oven: Succeeded"))).to_be_visible()
        for band in ("^pause of global by ann, .* to ", "^no link to press-2, since "):
            await expect(night.get_by_role("listitem").filter(has_text=re.compile(band))).to_be_visible()
        assert await page.evaluate(SIDEWAYS) == 0
        await night.get_by_role("listitem").get_by_role("link", name=re.compile("nightly")).click()
        await expect(region(page, "Log")).to_contain_text("sensor 4 is slow")
        await page.get_by_role("button", name="Earlier").click()
        await expect(night).to_contain_text("0 runs, 0 failed")
    assert tab.complaints == []


async def test_a_run_that_goes_on_has_no_end_in_the_list(
    tabs: Tabs, fresh_broker: Broker, tmp_path: Path
) -> None:
    """The time of its last message is not its end, and more tasks may follow."""
    async with history(fresh_broker, tmp_path) as url:
        file = sqlite3.connect(tmp_path / "all.sqlite")
        with closing(file), file:
            file.execute("UPDATE summary SET status = 'Running', ended = NULL WHERE run_id = 'bake-3'")
            file.execute("DELETE FROM event WHERE run_id = 'bake-3' AND payload LIKE '%ENGINE_STOPPED%'")
        tab = await tabs.open(url)
        row = rows(tab.page).filter(has_text="bake")
        await expect(row).to_contain_text("Running")
        await expect(row).to_contain_text("last message ")
        await expect(row).not_to_contain_text("took")


async def test_a_page_that_was_open_all_night_shows_the_night_that_was(
    tabs: Tabs, fresh_broker: Broker, tmp_path: Path
) -> None:
    """List and time line are read again, but not under the hands of a person who types."""
    async with history(fresh_broker, tmp_path) as url:
        tab = await tabs.empty()
        await tab.page.clock.install()
        await tab.page.goto(url)
        await expect(rows(tab.page)).to_have_count(3)
        file = sqlite3.connect(tmp_path / "all.sqlite")
        with closing(file), file:
            file.execute("INSERT INTO summary SELECT 'new', source, org_id, project_id, name, status, began + 9, ended, error, attempts, "
                         "latest, counts FROM summary WHERE run_id = 'bake-3'")  # fmt: skip
        await tab.page.get_by_label("Name or id").focus()
        await tab.page.clock.fast_forward(40_000)
        await expect(region(tab.page, "Last night")).to_contain_text("4 runs")
        await expect(rows(tab.page)).to_have_count(3)
        await tab.page.evaluate("document.activeElement.blur()")
        await tab.page.clock.fast_forward(40_000)
        await expect(rows(tab.page)).to_have_count(4)


@pytest.mark.parametrize(
    ("fragment", "shown"),
    [
        ("#run=night-7", LINE),
        ("#run=gone", "no run 'gone' is in"),
        ("#token=s3cret&run=night-7&on=press-1", LINE),
        (
            "#run=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%1B",
            "no run '<img src=x onerror=alert(1)>\\x1b' is in",
        ),
    ],
)
async def test_a_link_opens_its_run(
    tabs: Tabs, fresh_broker: Broker, tmp_path: Path, fragment: str, shown: str
) -> None:
    """With the token of the page, where it has one. Of a run that is gone one line says where to look."""
    async with history(fresh_broker, tmp_path, token="s3cret" if "token" in fragment else None) as url:
        tab = await tabs.open(url + fragment)
        place = region(tab.page, "Log") if shown == LINE else tab.page.locator("#problems")
        await expect(place).to_contain_text(shown)
    assert [each for each in tab.requests if "s3cret" in each] == []


SCREENS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 2},
}


@pytest.mark.parametrize("name", SCREENS)
async def test_a_night_fits_every_screen(
    tabs: Tabs, fresh_broker: Broker, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    """List, night and run; ``--screenshots FOLDER`` keeps a picture of the night and one of the run."""
    async with history(fresh_broker, tmp_path) as url:
        tab = await tabs.open(url, **SCREENS[name])
        folder, night = request.config.getoption("--screenshots"), region(tab.page, "Last night")
        await expect(rows(tab.page)).to_have_count(3)
        await expect(night).to_contain_text("3 runs, 2 failed")
        for part in ("history", "past"):
            assert await tab.page.evaluate(SIDEWAYS) == 0
            if folder is not None:
                await night.scroll_into_view_if_needed()
                await tab.page.screenshot(path=Path(folder) / f"{part}-{name}.png", full_page=part == "past")
            await night.get_by_role("listitem").get_by_role("link", name=re.compile("nightly")).click()
            await expect(region(tab.page, "Failed tasks")).to_contain_text("measure:0[3]")
