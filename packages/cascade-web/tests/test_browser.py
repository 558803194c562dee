"""The page in a real browser, on real brokers: what it shows is what engines report, and its buttons steer them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import factory
import pytest
from browsing import DESKTOP, PHONE, SECONDS, Tab, chromium
from engines import Plant
from playwright.async_api import Browser, Locator, Page, expect
from served_page import served

from cascade.cli import main
from cascade.interfaces.topics import constraint_topic, state_topic, status_topic
from cascade.testkit._process import free_port
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.recorder import Recorder
from cascade.testkit.waiting import eventually
from cascade.web import page as made_page
from cascade.web._upstream import Upstream

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(600)]
expect.set_options(timeout=SECONDS * 1000)

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "${alert(1)}{{7*7}}",
    "javascript:alert(1)",
    '" onmouseover="alert(1)',
    "&lt;b&gt; &amp; %00",
)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser for one test."""
    async with chromium() as found:
        yield found


def websocket_mosquitto(port: int) -> Mosquitto:
    """A mosquitto with a WebSocket port on loopback beside its usual one."""
    require_mosquitto()
    more = (
        f"listener {port} 127.0.0.1",
        "protocol websockets",
        "socket_domain ipv4",
    )
    return Mosquitto(lines=more)


async def opened(browser: Browser, url: str, **options: Any) -> Tab:
    """Open the page, and wait until it has what the broker keeps."""
    tab = await Tab.of(browser, **options)
    await tab.page.goto(url)
    return tab


def row(page: Page, name: str, *, panel: str = "Engines") -> Locator:
    """Find the row of a panel whose accessible name has a text."""
    return page.get_by_role("region", name=panel, exact=True).get_by_role("row", name=name)


def reported(recorder: Recorder, source: str) -> dict[str, Any]:
    """Return the engine's latest report of its runs."""
    found = recorder.of(state_topic(source, "runs"))
    return found[-1].json_object() if found else {}


def publish_all(broker: Broker, retained: dict[str, Any]) -> None:
    """Publish retained messages, as an engine or a tool has left them."""
    from paho.mqtt import publish

    messages: list[Any] = [(topic, json.dumps(each), 1, True) for topic, each in retained.items()]
    publish.multiple(messages, hostname=broker.host, port=broker.port)


@asynccontextmanager
async def page_of_command(plant: Plant) -> AsyncIterator[str]:
    """Start ``cascade web``; the value is the link that it prints."""
    process = plant.begin("web", "--port", str(free_port()), "--json")
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("kind", [Mosquitto, NatsServer], ids=lambda kind: kind.name)
async def test_a_click_pauses_and_resumes_a_live_engine(browser: Browser, kind: Callable[[], Broker]) -> None:
    """Served and relayed by ``cascade web``: the engine's own report says paused, and the page shows that report."""
    if kind is Mosquitto:
        require_mosquitto()
    with (
        kind() as broker,
        Plant(broker) as plant,
        Recorder(broker.host, broker.port, "cascade/state/#") as recorder,
    ):
        async with page_of_command(plant) as url:
            tab = await opened(browser, url)
            await expect(tab.page.get_by_text(re.compile("^No engines"))).to_be_visible()
            plant.start("press-1", tasks=100_000, seconds=0.02)
            engine = row(tab.page, "press-1")
            await expect(engine).to_contain_text("online")
            await expect(tab.page.get_by_role("progressbar").first).to_be_visible()
            await tab.page.get_by_role("button", name="Pause press-1", exact=True).click()
            await eventually(
                lambda: reported(recorder, "press-1").get("paused"), SECONDS, what="it is paused"
            )
            await expect(engine).to_have_accessible_name(re.compile("^press-1, online, paused"))
            pause = constraint_topic("source:press-1", "pause")
            await expect(row(tab.page, "pause · source:press-1", panel="Constraints")).to_contain_text(pause)
            await tab.page.get_by_role("button", name="Resume press-1", exact=True).click()
            await eventually(
                lambda: reported(recorder, "press-1").get("paused") is False, SECONDS, what="it goes on"
            )
            await expect(engine).not_to_have_accessible_name(re.compile("paused"))
            await expect(tab.page.get_by_role("button", name="Pause press-1", exact=True)).to_be_visible()
            place = urlsplit(url).netloc
    assert {urlsplit(each).netloc for each in tab.requests} == {place}
    assert tab.complaints == []


async def test_names_and_errors_are_shown_as_they_are(browser: Browser) -> None:
    """Markup, scripts and templates in a source, a run, an error and a constraint stay text."""
    require_mosquitto()
    with Mosquitto() as broker:
        retained = dict[str, dict[str, Any]]()
        for number, text in enumerate(HOSTILE):
            source = f"{number} {text}"
            ended = {"run_id": text, "target": text, "status": "Failed", "error": text, "counts": {"FAILED": 1},
                     "started": "2026-11-23T00:00:00+00:00", "ended": "2026-11-23T00:00:01+00:00"}  # fmt: skip
            birth = {
                "status": "online",
                "session": "s",
                "ts": "2026-11-23T00:00:00+00:00",
                "pid": 1,
                "host": text,
                "version": "1",
            }
            report = {
                "v": "1.0",
                "source": source,
                "session": "e",
                "presence": "s",
                "runs": [],
                "recent": [ended],
                "paused": False,
            }
            pause = {"type": "pause", "id": text, "by": text}
            retained |= {status_topic(source): birth, state_topic(source, "runs"): report}
            retained[constraint_topic(f"task:{text}", "pause")] = pause
        publish_all(broker, retained)
        async with served(Upstream.of(broker.url)) as port:
            tab = await opened(browser, f"http://127.0.0.1:{port}/")
            for number, text in enumerate(HOSTILE):
                await expect(
                    row(tab.page, f"{number} {text}").get_by_text(f"{number} {text}", exact=True)
                ).to_be_visible()
                await expect(row(tab.page, f"pause · task:{text}", panel="Constraints")).to_contain_text(
                    f"by {text}"
                )
                await expect(row(tab.page, text, panel="Recent runs")).to_contain_text(text)
            assert await tab.page.locator("img, iframe, object, [onmouseover], [onerror]").count() == 0
            assert await tab.page.locator("script").count() == made_page().count("<script>")
    assert tab.complaints == []


async def test_mosquitto_serves_the_page_itself(browser: Browser, tmp_path: Path) -> None:
    """With the lines of the README: mosquitto's http_dir names no type of content, and nothing of ours runs."""
    (lines,) = re.findall(r"```conf\n(.*?)```", README, re.DOTALL)
    port = free_port()
    assert main(["web", "--save", str(tmp_path / "index.html")]) == 0
    require_mosquitto()
    text = lines.replace("9001", str(port)).replace("/srv/cascade", str(tmp_path))
    with Mosquitto(lines=text.splitlines()) as broker, Plant(broker) as plant:
        plant.start("press-1", tasks=100_000, seconds=0.02)
        tab = await opened(browser, f"http://127.0.0.1:{port}/index.html")
        await expect(row(tab.page, "press-1")).to_contain_text("online")
        await expect(tab.page.get_by_role("progressbar").first).to_be_visible()
    assert tab.complaints == []


async def test_a_file_uses_the_brokers_own_websocket_port(browser: Browser, tmp_path: Path) -> None:
    """As ``cascade web --save`` writes it: the broker is in the link."""
    path = tmp_path / "page.html"
    path.write_text(made_page(), "utf-8")
    port = free_port()
    with websocket_mosquitto(port) as broker, Plant(broker) as plant:
        plant.start("press-1", tasks=100_000, seconds=0.02)
        tab = await opened(browser, f"{path.as_uri()}?broker={quote(f'ws://127.0.0.1:{port}', safe='')}")
        await expect(row(tab.page, "press-1")).to_contain_text("online")


async def test_a_broker_that_is_away_is_shown_in_words_until_it_is_back(
    browser: Browser, closed_port: int
) -> None:
    """The relay's reason stands on the page, no number does; a broker that restarts is found again."""
    async with served(Upstream("127.0.0.1", closed_port)) as port:
        tab = await opened(browser, f"http://127.0.0.1:{port}/")
        await expect(tab.page.get_by_text(f"no broker at 127.0.0.1:{closed_port}").first).to_be_visible()
        await expect(tab.page.get_by_text(re.compile("^No engines"))).to_have_count(0)
    require_mosquitto()
    with Mosquitto() as broker:
        async with served(Upstream.of(broker.url)) as port:
            tab = await opened(browser, f"http://127.0.0.1:{port}/")
            await expect(tab.page.get_by_text(re.compile("^No engines"))).to_be_visible()
            broker.kill()
            await expect(
                tab.page.get_by_text(re.compile("^No link: the broker has closed the connection")).first
            ).to_be_visible()
            await expect(tab.page.get_by_text(re.compile("^No engines"))).to_have_count(0)
            broker.start()
            await expect(tab.page.get_by_text(re.compile("^No engines"))).to_be_visible()


async def test_a_link_without_its_token_says_what_to_open(browser: Browser) -> None:
    """With the token, from the fragment, the page is linked; the token is in no request for the page itself."""
    require_mosquitto()
    with Mosquitto() as broker:
        async with served(Upstream.of(broker.url), token="s3cret") as port:
            tab = await opened(browser, f"http://127.0.0.1:{port}/")
            await expect(
                tab.page.get_by_text("open the link that cascade web has printed").first
            ).to_be_visible()
            tab = await opened(browser, f"http://127.0.0.1:{port}/#token=s3cret")
            await expect(tab.page.get_by_text(re.compile("^No engines"))).to_be_visible()
    assert [each for each in tab.requests if "s3cret" in each and not each.startswith("ws://")] == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"viewport": DESKTOP, "color_scheme": "light"}),
        ("dark", {"viewport": DESKTOP, "color_scheme": "dark"}),
        ("phone", {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 2}),
    ],
)
async def test_it_fits_the_screen(
    browser: Browser, fresh_broker: Broker, name: str, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """No screen scrolls sideways; ``--screenshots FOLDER`` keeps a picture of each."""
    limit = {"type": "concurrency", "params": {"limit": 2}, "by": "ada"}
    publish_all(fresh_broker, {constraint_topic("task:measure", "concurrency"): limit})
    program = [
        sys.executable,
        "-P",
        str(Path(factory.__file__)),
        fresh_broker.url,
        "press-1",
        "press-2",
        "oven-3",
    ]
    with (
        running(program),
        Recorder(fresh_broker.host, fresh_broker.port, "cascade/state/#") as recorder,
    ):
        async with served(Upstream.of(fresh_broker.url)) as port:
            tab = await opened(browser, f"http://127.0.0.1:{port}/", **options)
            await expect(tab.page.get_by_role("region", name="Recent runs")).to_contain_text("too cold")
            await expect(row(tab.page, "press-1")).to_contain_text("online")
            await eventually(lambda: completed(recorder, "press-1") > 500, SECONDS, what="most of it is done")
            await tab.page.get_by_role("button", name="Pause press-2", exact=True).click()
            await expect(row(tab.page, "press-2")).to_contain_text("paused")
            await expect(tab.page.get_by_role("region", name="Graph", exact=True)).to_contain_text("inspect")
            wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert await tab.page.evaluate(wider) == 0
            if (folder := request.config.getoption("--screenshots")) is not None:
                await tab.page.screenshot(path=Path(folder) / f"{name}.png")


def completed(recorder: Recorder, source: str) -> int:
    """Return how many tasks of the engine's run are completed."""
    runs = reported(recorder, source).get("runs") or [{"counts": {}}]
    return int(runs[0]["counts"].get("COMPLETED", 0))


@contextmanager
def running(program: list[str]) -> Iterator[None]:
    """Run a program for as long as the context lasts."""
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()
