"""The documentation site in a real browser, without a network: complete, readable and usable by keyboard.

``--screenshots FOLDER`` keeps pictures.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browsing import DESKTOP, PHONE, SECONDS, Tab, Tabs
from pages import SIDEWAYS
from playwright.async_api import expect

from cascade.testkit.waiting import eventually
from website.pages import navigation

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(
        importlib.util.find_spec("zensical") is None, reason="needs zensical: pip install --group docs"
    ),
]

PAGES = [page.removesuffix(".md").replace("README", "index") + ".html" for _, page in navigation()]
SAMPLE = [
    "index.html",
    "packages/cascade-py/docs/tasks.html",
    "packages/cascade-interfaces/PROTOCOL.html",
    "packages/cascade-web/MORNING.html",
    "reference/api/cascade.html",
    "reference/commands.html",
]
"""Pages with everything that there is: code with titles, tables, pictures, long words, entries of the API."""

UNREADABLE = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(rgba(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest("script, style, noscript, [hidden]") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), below = behind(element), size = parseFloat(style.fontSize);
    const [one, two] = [light(over(rgba(style.color), below)), light(below)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    const enough = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < enough) {
      const kind = `${element.tagName.toLowerCase()}.${element.className} in ${element.parentElement.tagName.toLowerCase()}.${element.parentElement.className}`;
      found.set(kind, `${kind}: ${ratio.toFixed(2)} of ${enough} (${walker.currentNode.data.trim().slice(0, 30)})`);
    }
  }
  return [...found.values()];
}"""
"""Texts with less contrast than WCAG 2 AA asks for: one for each kind of element."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the site as ``nox -s docs`` does, and serve it: the value is its address."""
    from website.build import build

    html = build(tmp_path_factory.mktemp("site") / "made")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(html))) as server:
        thread = threading.Thread(target=server.serve_forever, name="site")
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@asynccontextmanager
async def opened(tabs: Tabs, site: str, page: str, **options: Any) -> AsyncIterator[Tab]:
    """Open a page; nothing that it asks for is missing or elsewhere, and the console has no error."""
    tab = await tabs.empty(**options)
    missing: list[str] = []
    tab.page.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
    await tab.page.goto(f"{site}{page}")
    await tab.page.wait_for_load_state("networkidle")
    yield tab
    assert [address for address in tab.requests if not address.startswith(site)] == []
    assert (missing, tab.complaints) == ([], [])
    await tab.close()


async def picture(request: pytest.FixtureRequest, tab: Tab, name: str) -> None:
    """Keep a picture where ``--screenshots FOLDER`` asks for pictures."""
    if (folder := request.config.getoption("--screenshots")) is not None:
        await tab.page.screenshot(path=Path(folder) / f"site-{name}.png")


@pytest.mark.nightly
async def test_every_page_is_complete_on_a_phone(tabs: Tabs, site: str) -> None:
    """No error in the console, no missing file, no other host, and no page is wider than 360 px."""
    for page in PAGES:
        async with opened(tabs, site, page, viewport=PHONE) as tab:
            assert await tab.page.evaluate(SIDEWAYS) <= 0, page


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", SAMPLE)
async def test_a_page_can_be_read(
    tabs: Tabs, site: str, page: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    """In the colours of the system, on a phone and on a desk: contrast of AA, and nothing scrolls sideways."""
    for place, viewport in (("phone", PHONE), ("desk", DESKTOP)):
        async with opened(tabs, site, page, viewport=viewport, color_scheme=scheme) as tab:
            assert await tab.page.evaluate(UNREADABLE) == []
            assert await tab.page.evaluate(SIDEWAYS) <= 0
            await picture(request, tab, f"{page.replace('/', '-').removesuffix('.html')}-{place}-{scheme}")


@pytest.mark.full
async def test_the_search_finds_a_page_by_keyboard_alone(
    tabs: Tabs, site: str, request: pytest.FixtureRequest
) -> None:
    """Without a network: the index is a file of the site."""
    async with opened(tabs, site, "index.html") as tab:

        async def searching() -> bool:
            await tab.page.keyboard.press("Control+k")
            return bool(await tab.page.evaluate("!!document.activeElement.shadowRoot?.activeElement"))

        await eventually(searching, SECONDS)
        await tab.page.keyboard.type("effects that must not happen twice", delay=20)
        found = tab.page.locator("a").filter(has_text="Effects that must not happen twice")
        await expect(found.first).to_be_visible()
        await picture(request, tab, "search")
        await tab.page.keyboard.press("Enter")
        await tab.page.wait_for_url("**/recorded-runs.html*")


@pytest.mark.full
async def test_tab_reaches_every_part(tabs: Tabs, site: str) -> None:
    """First the link that skips the navigation, then tabs, the pages of the section, the contents, and the text."""
    async with opened(tabs, site, "packages/cascade-py/docs/tasks.html") as tab:
        seen = []
        for _ in range(150):
            await tab.page.keyboard.press("Tab")
            seen.append(await tab.page.evaluate("document.activeElement.innerText.trim()"))
        assert seen[0] == "Skip to content"
        order = [seen.index(text) for text in ("Search", "Reference", "Caches", "Loops", "etl")]
        assert order == sorted(order)
