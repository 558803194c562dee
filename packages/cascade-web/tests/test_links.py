"""A link, or a page around this one, that another web site has made: it gets neither a connection nor a click."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from browsing import Tabs
from playwright.async_api import expect
from served_page import HOST, Upstream, served

from cascade.testkit.brokers import Broker
from cascade.web import page as made_page

pytestmark = [pytest.mark.full, pytest.mark.process, pytest.mark.asyncio(loop_scope="session")]


@asynccontextmanager
async def attacker() -> AsyncIterator[tuple[str, list[str]]]:
    """A server that waits for passwords: its address, and the first line of each request."""
    asked: list[str] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode())
        writer.close()

    server = await asyncio.start_server(take, HOST, 0)
    async with server:
        yield f"ws://{HOST}:{server.sockets[0].getsockname()[1]}", asked


@pytest.mark.broker
async def test_a_link_names_no_broker_where_cascade_web_serves_the_page(
    tabs: Tabs, fresh_broker: Broker
) -> None:
    """Row 54: the page uses its relay, and the browser refuses it any other address, also one that its user is made to enter."""
    async with attacker() as (address, asked), served(Upstream.of(fresh_broker.url)) as port:
        tab = await tabs.open(f"http://{HOST}:{port}/?broker={quote(address, safe='')}")
        await expect(tab.page.locator("#link-text")).to_contain_text(f"ws://{HOST}:{port}/mqtt")
        await expect(tab.page.get_by_text("No engines").first).to_be_visible()
        assert tab.complaints == []
        assert not await tab.page.get_by_label("Broker").is_editable()
        refused = await tab.page.evaluate(
            """(url) => new Promise((done) => {
              document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
              new WebSocket(url);
            })""",
            address,
        )
        assert (refused, asked) == ("connect-src", [])


async def test_a_link_to_a_saved_page_on_a_server_connects_when_a_person_says_so(tabs: Tabs) -> None:
    """Then the page shows the address first."""
    async with attacker() as (address, asked), served(None, broker="") as port:
        tab = await tabs.open(f"http://{HOST}:{port}/?broker={quote(address, safe='')}")
        await expect(tab.page.locator("#problems")).to_contain_text(f"The link names the broker {address}")
        assert asked == []
        await tab.page.get_by_role("button", name="Connect").click()
        await expect(tab.page.locator("#problems")).to_contain_text("No WebSocket answers at")
        assert asked[0].startswith("GET /mqtt ")


async def test_a_saved_page_does_not_work_inside_another_page(tabs: Tabs) -> None:
    """A frame over which somebody else's button lies: the page shows nothing that acts, and connects to nothing."""
    async with attacker() as (address, asked):
        tab = await tabs.empty()
        await tab.page.set_content("<iframe id='inside'></iframe>")
        frame = await (await tab.page.query_selector("#inside")).content_frame()  # type: ignore[union-attr]
        assert frame is not None
        await frame.set_content(made_page())
        await expect(tab.page.frame_locator("#inside").locator("body")).to_have_text(
            "This page does not work inside another one."
        )
        assert await frame.locator("button, input").count() == 0
        assert (address in tab.requests, asked) == (False, [])


async def test_any_end_of_a_link_leaves_the_page_working(tabs: Tabs) -> None:
    """Also one that is not percent-encoded."""
    async with served(Upstream(HOST, 1), token="s3cret") as port:
        for end in ("#%", "#token=%", "#a b", "#\u00e4"):
            tab = await tabs.open(f"http://{HOST}:{port}/{end}")
            await expect(
                tab.page.get_by_text("open the link that cascade web has printed").first
            ).to_be_visible()
