"""What goes wrong is on the page in words, with what to do about it, and it shows no number that is not known."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from browsing import Tab, Tabs
from pages import EACH_BROKER, Kind, fresh, guarded, log_in, pause_everything, region, row
from playwright.async_api import Page, expect
from served_page import Upstream, served

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import Mosquitto
from cascade.web import page as made_page

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]
ROLES = ("--engine", "press-1", "--operator", "ann", "--observer", "wall")
PASSWORD = "s3cret"
NO_ENGINES = re.compile("^No engines")


@pytest.mark.full
@EACH_BROKER
async def test_a_wrong_password_and_a_user_who_may_only_look_are_told_so(tabs: Tabs, kind: Kind) -> None:
    """Neither is a crash or a silence: the page says what to do, and with the right user it goes on."""
    with guarded(kind, ROLES, PASSWORD) as broker:
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            problem = tab.page.locator("#problems")
            await expect(problem).to_contain_text("Enter user name and password, then connect.")
            await log_in(tab.page, "wall", "guessed")
            await expect(problem).to_contain_text(
                "The broker refuses the user wall: wrong user name or password"
            )
            await expect(problem).not_to_contain_text("closed the connection")
            await expect(tab.page.get_by_text(NO_ENGINES)).to_have_count(0)
            await log_in(tab.page, "wall", PASSWORD)
            await expect(tab.page.get_by_text(NO_ENGINES)).to_be_visible()
            await expect(problem).to_be_empty()
            everything = tab.page.get_by_role("button", name="Pause everything")
            await pause_everything(tab.page)
            step = region(tab.page, "Steering").get_by_role("status")
            await expect(step).to_contain_text("may only look")
            await expect(step).to_contain_text("cascade acl --operator USER")
            await expect(step).to_contain_text("cascade/constraints/global/@pause")
            await tab.page.get_by_text("Connection", exact=True).click()
            await log_in(tab.page, "ann", PASSWORD)
            await expect(everything).to_be_enabled()
            await pause_everything(tab.page)
            await expect(row(tab.page, "pause · global", panel="Constraints")).to_be_visible()
            assert PASSWORD not in await tab.page.content()


@pytest.mark.full
async def test_a_broker_that_proves_nothing_is_not_called_empty(tabs: Tabs) -> None:
    """A user without its own sync topic: what is there is shown, and what may be missing is said."""
    acl = ["user wall", "topic read cascade/#"]
    with fresh(Mosquitto, users={"wall": PASSWORD}, acl=acl) as broker:
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await log_in(tab.page, "wall", PASSWORD)
            problem = tab.page.locator("#problems")
            await expect(problem).to_contain_text("does not show that everything has arrived")
            await expect(problem).to_contain_text("cascade/sync/USER/+")
            await expect(region(tab.page, "Engines")).to_contain_text(
                "Nothing has arrived: the broker has nothing"
            )
            await expect(tab.page.get_by_text(NO_ENGINES)).to_have_count(0)


@pytest.mark.full
async def test_what_the_rules_hide_is_not_called_nothing(tabs: Tabs) -> None:
    """A user who reads births only, such as one who starts workflows: what runs and what holds it is not known."""
    acl = ["user press", "topic readwrite #", "user wall", "topic read cascade/status/+"]
    acl += ["topic readwrite cascade/sync/wall/+"]
    users = dict.fromkeys(("press", "wall"), PASSWORD)
    with fresh(Mosquitto, users=users, acl=acl, max_queued_messages=65_000) as broker:
        url = broker.url.replace("://", f"://press:{PASSWORD}@")
        async with (
            MqttConnector.from_url(url, source_id="press"),
            served(Upstream.of(broker.url)) as port,
        ):
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await log_in(tab.page, "wall", PASSWORD)
            await expect(row(tab.page, "press")).to_contain_text("no report of it arrives")
            for panel in ("Runs", "Constraints"):
                await expect(region(tab.page, panel)).to_contain_text(
                    "Not known: no report of press arrives."
                )


async def file_page(tabs: Tabs, folder: Path, address: str) -> Tab:
    """Open the page as a file."""
    path = folder / "page.html"
    path.write_text(made_page(), "utf-8")
    return await tabs.open(f"{path.as_uri()}?broker={quote(address, safe='')}")


def protocol_levels(page: Page) -> list[int]:
    """Collect the protocol level of each CONNECT that the page sends: 4 is MQTT 3.1.1."""
    found: list[int] = []

    def note(frame: str | bytes) -> None:
        if isinstance(frame, bytes) and frame[0] == 0x10:
            found.append(frame[frame.index(b"MQTT") + 4])

    page.on("websocket", lambda socket: socket.on("framesent", note))
    return found


@pytest.mark.full
@EACH_BROKER
async def test_a_page_of_cascade_web_names_a_broker_that_is_away_before_and_after_a_link(
    tabs: Tabs, kind: Kind
) -> None:
    """The relay gives the reason, which is not taken for the answer of a broker that knows MQTT 3.1.1 only."""
    with fresh(kind) as broker:
        broker.terminate()
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.empty()
            levels = protocol_levels(tab.page)
            await tab.page.goto(f"http://127.0.0.1:{port}/")
            await tab.started()
            problem = tab.page.locator("#problems")
            away = (
                f"No link: no broker at {broker.host}:{broker.port}: the connection is refused. "
                "Check that the broker runs, and its host and port. The page tries again by itself."
            )
            await expect(problem).to_contain_text(away)
            assert set(levels) == {5}
            broker.start()
            await expect(tab.page.locator("#link")).to_have_attribute("data-link", "ready")
            assert levels[-1] == (5 if kind is Mosquitto else 4)
            broker.terminate()
            await expect(problem).to_contain_text(away)


@pytest.mark.full
@EACH_BROKER
async def test_a_broker_without_a_websocket_port_is_told_from_one_that_is_away(
    tabs: Tabs, kind: Kind, tmp_path: Path
) -> None:
    """At its usual port no WebSocket answers: the page says what the broker needs, or to start ``cascade web``."""
    with fresh(kind) as broker:
        tab = await file_page(tabs, tmp_path, f"ws://127.0.0.1:{broker.port}")
        problem = tab.page.locator("#problems")
        await expect(problem).to_contain_text(f"No WebSocket answers at ws://127.0.0.1:{broker.port}/mqtt")
        await expect(problem).to_contain_text("Check that the broker runs, and its host and port.")
        await expect(problem).to_contain_text("cascade web")
        await expect(tab.page.get_by_text(NO_ENGINES)).to_have_count(0)
        await expect(tab.page.get_by_label("Broker")).to_be_visible()


@pytest.mark.full
async def test_a_browser_that_is_too_old_says_so(tabs: Tabs) -> None:
    """One that cannot unpack the script shows which browsers can, and not an empty page."""
    async with served(None) as port:
        tab = await tabs.empty()
        await tab.page.add_init_script("delete window.DecompressionStream")
        await tab.page.goto(f"http://127.0.0.1:{port}/")
        await expect(tab.page.get_by_role("alert").first).to_contain_text("Firefox from 113")
