"""K5: the page shows nothing of the secrets that stand where a user may put one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from browsing import Tabs
from pages import EACH_BROKER, Kind, fresh, region, row
from playwright.async_api import expect
from served_page import Upstream, served

from testing_tools.canaries import run_with_secrets, shown_in

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]


@pytest.mark.full
@EACH_BROKER
async def test_no_secret_is_on_the_page(tabs: Tabs, kind: Kind, tmp_path: Path) -> None:
    """Values, log lines, errors and names of a run that fails, in the document, its addresses and its complaints."""
    with fresh(kind) as broker:
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await expect(region(tab.page, "Engines")).to_contain_text("No engines")
            await asyncio.to_thread(run_with_secrets, broker.url, tmp_path / "runs", tmp_path / "events")
            ended = row(tab.page, "bad", panel="Recent runs")
            await expect(ended).to_contain_text("RuntimeError")
            await ended.get_by_role("button").click()
            await expect(row(tab.page, "place", panel="Values")).to_contain_text("https://shop.example")
            await expect(row(tab.page, "login with", panel="Log")).to_contain_text("WARNING")
            page = "\n".join([await tab.page.content(), *tab.requests, *tab.complaints])
    assert shown_in(page.encode()) == set()
