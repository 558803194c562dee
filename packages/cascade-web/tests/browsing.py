"""A real browser for tests: the Chromium that the system has."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, ViewportSize, async_playwright

SECONDS = 120.0
"""Bound of every wait for the page; none needs it while all is well."""

_NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=360, height=740)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start Chromium for as long as the context lasts; fail the test where it is not installed."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("Chromium is not installed: apt-get install chromium", pytrace=False)
    async with async_playwright() as playwright:
        # As root, which containers run as, Chromium starts only without its sandbox.
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"], timeout=SECONDS * 1000
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass  # without slots: playwright sets attributes
class Tab:
    """A page in the browser, with everything that it has asked for and complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """URLs, WebSockets too."""
    complaints: list[str] = field(default_factory=list)
    """Errors of scripts and what the browser refuses."""

    @classmethod
    async def of(cls, browser: Browser, **options: Any) -> Tab:
        """Open an empty tab; ``options`` are those of a browser context."""
        context = await browser.new_context(**{"viewport": DESKTOP, **options})
        context.set_default_timeout(SECONDS * 1000)
        tab = cls(await context.new_page())
        tab.page.on("request", tab._requested)
        tab.page.on("websocket", lambda socket: tab.requests.append(socket.url))
        tab.page.on("console", tab._said)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        return tab

    async def close(self) -> None:
        """Close the tab and forget everything of it; links to brokers end with it."""
        await self.page.context.close()

    async def load(self, page: str) -> None:
        """Show a page that is given as a text, and wait until its script is unpacked."""
        await self.page.set_content(page)
        await self.started()

    async def started(self) -> None:
        """Wait until the page has unpacked its script and listens."""
        await self.page.wait_for_function("window.cascade || window.top !== window.self")

    def _requested(self, request: Request) -> None:
        if not request.url.startswith("data:"):
            self.requests.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


class Tabs:
    """Opens the page in tabs, and closes them with the test."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._open: list[Tab] = []

    async def open(self, url: str, **options: Any) -> Tab:
        """Open an address in a new tab; ``options`` are those of a browser context."""
        tab = await self.empty(**options)
        await tab.page.goto(url)
        await tab.started()
        return tab

    async def empty(self, **options: Any) -> Tab:
        """Open an empty tab."""
        self._open.append(tab := await Tab.of(self._browser, **options))
        return tab

    async def close(self) -> None:
        """Close every tab."""
        while self._open:
            await self._open.pop().close()
