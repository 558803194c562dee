"""The page in a real browser, on real brokers: what it shows is what engines report, and its buttons steer them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import factory
import pytest
from browsing import DESKTOP, PHONE, SECONDS, Tabs
from pages import (
    EACH_BROKER,
    SIDEWAYS,
    Kind,
    completed,
    fresh,
    pause_everything,
    publish_all,
    reported,
    row,
    running,
    with_websocket,
)
from playwright.async_api import expect
from served_page import Upstream, served

from cascade.cli import main
from cascade.interfaces.topics import constraint_topic, state_topic, status_topic
from cascade.testkit.brokers import Mosquitto
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.ports import free_port
from cascade.testkit.waiting import eventually
from cascade.web import page as made_page
from testing_tools.engines import Plant
from testing_tools.recorder import Recorder

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "${alert(1)}{{7*7}}",
    "javascript:alert(1)",
    '" onmouseover="alert(1)',
    "&lt;b&gt; &amp; %00",
)


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


@pytest.mark.full
@EACH_BROKER
async def test_a_click_pauses_and_resumes_a_live_engine(tabs: Tabs, kind: Kind) -> None:
    """Served and relayed by ``cascade web``: the engine's own report says paused, and the page shows that report."""
    with (
        fresh(kind) as broker,
        Plant(broker) as plant,
        Recorder(broker.host, broker.port, "cascade/state/#") as recorder,
    ):
        async with page_of_command(plant) as url:
            tab = await tabs.open(url)
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


@pytest.mark.full
@EACH_BROKER
async def test_names_and_errors_are_shown_as_they_are(tabs: Tabs, kind: Kind) -> None:
    """Markup, scripts and templates in a source, a run, an error and a constraint stay text."""
    with fresh(kind) as broker:
        retained = dict[str, dict[str, Any]]()
        for number, text in enumerate(HOSTILE):
            source = f"{number} {text}"
            ended = {"run_id": text, "target": text, "status": "Failed", "error": text, "counts": {"FAILED": 1},
                     "started": "2026-11-23T00:00:00+00:00", "ended": "2026-11-23T00:00:01+00:00",
                     "attempt": 1, "duration_ms": 1_000.0}  # fmt: skip
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
                "ts": "2026-11-23T00:00:00+00:00",
            }
            pause = {"type": "pause", "id": text, "by": text}
            retained |= {status_topic(source): birth, state_topic(source, "runs"): report}
            retained[constraint_topic(f"task:{text}", "pause")] = pause
        publish_all(broker, retained)
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
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


@pytest.mark.full
@EACH_BROKER
@pytest.mark.wrong_messages("only a named process retains a report", "cascade/state/false/constraints")
async def test_a_report_without_a_birth_is_marked(tabs: Tabs, kind: Kind) -> None:
    """Any client may have written it; with its birth it is an engine as any other."""
    with fresh(kind) as broker:
        report = {"v": "1.0", "source": "false", "session": "e", "presence": "made up", "sync": "synced",
                  "applied": {}, "effective": [], "in_scope_running": 0, "ts": "2026-11-23T00:00:00+00:00"}  # fmt: skip
        birth = {"status": "online", "session": "made up", "ts": "2026-11-23T00:00:00+00:00", "pid": 1, "host": "pi", "version": "1"}  # fmt: skip
        publish_all(broker, {state_topic("false", "constraints"): report})
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await expect(row(tab.page, "false")).to_contain_text("its session has no birth on the broker")
            publish_all(broker, {status_topic("false"): birth})
            await expect(row(tab.page, "false")).to_contain_text("online")
            await expect(row(tab.page, "false")).not_to_contain_text("no birth")
    assert tab.complaints == []


@pytest.mark.full
@EACH_BROKER
async def test_what_engines_obey_and_the_broker_has_lost_is_a_row_that_can_be_lifted(
    tabs: Tabs, kind: Kind, request: pytest.FixtureRequest
) -> None:
    """The broker comes back empty and the engine stays paused: nobody has lifted it, and the page does not say so."""
    scope = "source:press-1"
    with fresh(kind) as broker, Plant(broker) as plant:
        plant.start("press-1", tasks=100_000, seconds=0.02)
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await tab.page.get_by_role("button", name="Pause press-1", exact=True).click()
            await expect(row(tab.page, "press-1")).to_have_accessible_name(re.compile("online, paused"))
            broker.restart(keep_store=False)
            kept = row(tab.page, f"pause · {scope}", panel="Constraints")
            said = "not on the broker, still obeyed by press-1"
            await expect(kept).to_contain_text(said)
            await expect(kept).to_have_accessible_name(re.compile(said))
            if (folder := request.config.getoption("--screenshots")) is not None:
                await tab.page.screenshot(path=Path(folder) / f"lost-{kind.name}.png", full_page=True)
            await tab.page.get_by_role("button", name=f"Lift pause · {scope}").click()
            await expect(row(tab.page, "press-1")).not_to_have_accessible_name(re.compile("paused"))
            await expect(kept).to_have_count(0)
    assert tab.complaints == []


@pytest.mark.full
@EACH_BROKER
async def test_two_processes_of_one_name_are_marked(tabs: Tabs, kind: Kind) -> None:
    """Only one of them answers, so its row says that there are two, and a pause that it obeys does, too."""
    with fresh(kind) as broker, Plant(broker) as plant:
        plant.start("press-1", tasks=100_000, seconds=0.02)
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await expect(row(tab.page, "press-1")).to_contain_text("online")
            plant.start("press-1", tasks=100_000, seconds=0.02)
            await expect(row(tab.page, "press-1")).to_contain_text("two processes use this name")
            await pause_everything(tab.page)
            shared = "two processes use the name press-1, and only one of them answers"
            await expect(row(tab.page, "pause · global", panel="Constraints")).to_contain_text(shared)
    assert tab.complaints == []


@pytest.mark.full
async def test_mosquitto_serves_the_page_itself(tabs: Tabs, tmp_path: Path) -> None:
    """With the lines of the README: mosquitto's http_dir names no type of content, and nothing of ours runs."""
    (lines,) = re.findall(r"```conf\n(.*?)```", README, re.DOTALL)
    port = free_port()
    assert main(["web", "--save", str(tmp_path / "index.html")]) == 0
    require_mosquitto()
    text = lines.replace("9001", str(port)).replace("/srv/cascade", str(tmp_path))
    with Mosquitto(lines=text.splitlines()) as broker, Plant(broker) as plant:
        plant.start("press-1", tasks=100_000, seconds=0.02)
        tab = await tabs.open(f"http://127.0.0.1:{port}/index.html")
        await expect(row(tab.page, "press-1")).to_contain_text("online")
        await expect(tab.page.get_by_role("progressbar").first).to_be_visible()
    assert tab.complaints == []


@pytest.mark.full
@EACH_BROKER
async def test_a_file_uses_the_brokers_own_websocket_port(tabs: Tabs, tmp_path: Path, kind: Kind) -> None:
    """As ``cascade web --save`` writes it: the broker is in the link."""
    path = tmp_path / "page.html"
    path.write_text(made_page(), "utf-8")
    port = free_port()
    with with_websocket(kind, port) as broker, Plant(broker) as plant:
        plant.start("press-1", tasks=100_000, seconds=0.02)
        tab = await tabs.open(f"{path.as_uri()}?broker={quote(f'ws://127.0.0.1:{port}', safe='')}")
        await expect(row(tab.page, "press-1")).to_contain_text("online")


@pytest.mark.full
async def test_a_link_without_its_token_says_what_to_open(tabs: Tabs) -> None:
    """With the token, from the fragment, the page is linked; the token is in no request for the page itself."""
    require_mosquitto()
    with Mosquitto() as broker:
        async with served(Upstream.of(broker.url), token="s3cret") as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await expect(
                tab.page.get_by_text("open the link that cascade web has printed").first
            ).to_be_visible()
            tab = await tabs.open(f"http://127.0.0.1:{port}/#token=s3cret")
            await expect(tab.page.get_by_text(re.compile("^No engines"))).to_be_visible()
    assert [each for each in tab.requests if "s3cret" in each] == []


SCREENS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESKTOP, "color_scheme": "light"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 2},
}


@pytest.mark.full
@EACH_BROKER
async def test_it_fits_every_screen(tabs: Tabs, kind: Kind, request: pytest.FixtureRequest) -> None:
    """No screen scrolls sideways; ``--screenshots FOLDER`` keeps a picture of each."""
    with fresh(kind) as broker:
        limit = {"type": "concurrency", "params": {"limit": 2}, "by": "ada"}
        publish_all(broker, {constraint_topic("task:measure", "concurrency"): limit})
        names = ("press-1", "press-2", "oven-3")
        program = [sys.executable, "-P", str(Path(factory.__file__)), broker.url, *names]
        with (
            running(program),
            Recorder(broker.host, broker.port, "cascade/state/#") as recorder,
        ):
            async with served(Upstream.of(broker.url)) as port:
                shown = [
                    (name, await tabs.open(f"http://127.0.0.1:{port}/", **each))
                    for name, each in SCREENS.items()
                ]
                await eventually(
                    lambda: completed(recorder, "press-1") > 500, SECONDS, what="most of it is done"
                )
                await shown[0][1].page.get_by_role("button", name="Pause press-2", exact=True).click()
                await shown[0][1].page.get_by_role("heading", name="Cascade").hover()
                for name, tab in shown:
                    await expect(tab.page.get_by_role("region", name="Recent runs")).to_contain_text(
                        "too cold"
                    )
                    await expect(row(tab.page, "press-1")).to_contain_text("online")
                    await expect(row(tab.page, "press-2").get_by_text("paused", exact=True)).to_be_visible()
                    await expect(
                        row(tab.page, "pause · source:press-2", panel="Constraints")
                    ).to_contain_text("applied by 1 of 1")
                    await expect(tab.page.get_by_role("region", name="Graph", exact=True)).to_contain_text(
                        "inspect"
                    )
                    assert await tab.page.evaluate(SIDEWAYS) == 0
                    if (folder := request.config.getoption("--screenshots")) is not None:
                        await tab.page.screenshot(path=Path(folder) / f"{name}.png")
