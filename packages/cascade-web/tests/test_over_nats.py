"""Engines on NATS, seen through nats-server's MQTT: their events are shown, and the page says what it cannot show."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from browsing import PHONE, SECONDS, Tab, Tabs
from live import engine, running
from pages import SIDEWAYS, fresh, log_in, pause_everything, region, row, with_websocket
from playwright.async_api import Page, expect
from served_page import Upstream, served
from test_no_link import keep, let_pass
from test_problems import PASSWORD, file_page

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.connectors.nats import NatsConnector
from cascade.interfaces.topics import constraint_topic, state_topic
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.ports import free_port
from cascade.testkit.waiting import eventually
from testing_tools.recorder import Recorder

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]
BANNER = re.compile("^Only events of")


@pytest.fixture
def gate() -> asyncio.Event:
    """Opens the way for the tasks that wait."""
    return asyncio.Event()


def work(gate: asyncio.Event, *, before: int = 3) -> Any:
    """Return a run whose first tasks end at once; two wait at the gate, and three wait for these."""

    @cs.task
    async def weld(part: int) -> int:
        if part >= before:
            await gate.wait()
        return part

    return weld.map(part=range(before + 5)).with_concurrency(2)


@asynccontextmanager
async def nats_engine(server: NatsServer, source: str) -> AsyncIterator[cs.Engine]:
    """Connect an engine over NATS."""
    async with NatsConnector.from_url(f"{server.nats_url}?source_id={source}") as connector:
        yield cs.Engine(connector=connector)


async def opened(tabs: Tabs, url: str, **options: Any) -> Tab:
    """Open a page whose clocks the test moves, and wait until everything has arrived."""
    tab = await tabs.empty(**options)
    await tab.page.clock.install()
    await tab.page.goto(url)
    await tab.started()
    await expect(tab.page.locator("#link")).to_have_attribute("data-link", "ready")
    return tab


def banner(page: Page) -> Any:
    """Find what the page says of engines of which only events arrive."""
    return page.locator("#problems p").filter(has_text=BANNER)


@pytest.mark.full
async def test_the_page_says_what_it_does_not_know_of_an_engine_on_nats(
    tabs: Tabs, tmp_path: Path, gate: asyncio.Event, request: pytest.FixtureRequest
) -> None:
    """Its events are shown; it is neither online nor lost, has no buttons, and counts in no answer. Beside it, MQTT works."""
    port = free_port()
    with with_websocket(NatsServer, port) as server:
        assert isinstance(server, NatsServer)
        page_file = await file_page(tabs, tmp_path, f"ws://127.0.0.1:{port}")
        tab = await opened(tabs, page_file.page.url)
        page = tab.page
        async with nats_engine(server, "nats-1") as nats, engine(server, "mqtt-1") as mqtt:
            async with (
                running(nats.run(work(gate), name="night", run_id="n-1")) as night,
                running(mqtt.run(work(gate), name="day", run_id="m-1")) as day,
            ):
                unknown, online = row(page, "nats-1"), row(page, "mqtt-1")
                await expect(row(page, "night", panel="Runs")).to_contain_text("3 completed, 2 running")
                await expect(row(page, "day", panel="Runs")).to_contain_text("3 completed, 2 running")
                await expect(unknown).to_have_accessible_name(
                    re.compile("^nats-1, not known, so far only events")
                )
                await expect(banner(page)).to_have_count(0)
                await let_pass(page, "00:13")
                await expect(banner(page)).to_contain_text(
                    "Only events of nats-1 arrive here, neither a birth nor a report."
                )
                for text in (
                    "does not know whether it is online, which constraints it obeys, or what waits",
                    "If it is connected over NATS, MQTT clients such as this page get only its events",
                    "what you set here does not reach it",
                    "cascade watch --broker nats://HOST",
                    "cascade pause SOURCE --broker nats://HOST",
                    "If it is connected over MQTT, this user may not read cascade/status/+ and cascade/state/+/+",
                ):
                    await expect(banner(page)).to_contain_text(text)
                await expect(unknown).to_contain_text(
                    "whether it is online, its constraints and what waits are not known"
                )
                await expect(unknown).to_contain_text("what you set here does not reach it")
                await expect(unknown).to_contain_text(re.compile(r"last event \d+s ago"))
                await expect(unknown.get_by_role("button")).to_have_count(0)
                await expect(online.get_by_role("button")).to_have_count(2)
                await expect(region(page, "Engines")).to_contain_text("1 online, 1 not known")
                await expect(region(page, "Runs")).to_contain_text("1 active, 1 not known")
                await expect(region(page, "Constraints")).to_contain_text("None is set over MQTT.")
                await shows_only_events(page)
                await keep(page, request, "nats")
                await pause_everything(page)
                answer = "applied by 1 of 1, not known of nats-1: only events arrive"
                await expect(region(page, "Steering").get_by_role("status")).to_contain_text(answer)
                await let_pass(page, "20:00")
                pause = row(page, "pause · global", panel="Constraints")
                await expect(pause).to_contain_text(answer)
                await expect(online).to_have_accessible_name(re.compile("^mqtt-1, online, paused"))
                await expect(region(page, "Engines")).not_to_contain_text("lost")
                await expect(region(page, "Runs")).not_to_contain_text("lost", ignore_case=True)
                gate.set()
                await night  # the pause that the page has written does not hold it
                await expect(row(page, "day", panel="Runs")).to_contain_text("5 completed")
                assert not day.done()
            ended = row(page, "night", panel="Recent runs")
            await expect(ended).to_contain_text("Succeeded")
            await expect(ended).to_contain_text("8 completed")
            await expect(banner(page)).to_have_count(1)
        assert tab.complaints == []


async def shows_only_events(page: Page) -> None:
    """Select the run on NATS: no panel claims what only a report can say, and the timeline is drawn."""
    run = row(page, "night", panel="Runs")
    await expect(run).to_have_accessible_name(re.compile("^night, not known, 3 of 5 so far"))
    await expect(run).to_contain_text("when its last event arrived: 3 completed, 2 running")
    await expect(run.get_by_role("button", name="Cancel night")).to_be_hidden()
    await expect(row(page, "day", panel="Runs").get_by_role("button", name="Cancel day")).to_be_visible()
    await run.get_by_role("button", name="night").click()
    await expect(page.get_by_role("heading", name="night on nats-1")).to_be_visible()
    for panel in ("Graph", "Waiting", "Tasks by name"):
        await expect(region(page, panel)).to_contain_text(
            "Not known: only events of this engine arrive, no reports."
        )
    await expect(region(page, "Waiting")).not_to_contain_text("reason")
    await expect(region(page, "Running").get_by_role("row")).to_have_count(2)
    await expect(region(page, "Running")).to_contain_text("when its last event arrived")
    await expect(region(page, "Timeline")).to_contain_text(
        re.compile("1 task name over .*, up to the last event")
    )
    await expect(page.get_by_role("img", name=re.compile("^1 task name over"))).to_be_visible()


@pytest.mark.full
async def test_a_page_that_is_opened_late_counts_what_it_has_seen_of_a_run_on_nats(
    tabs: Tabs, gate: asyncio.Event
) -> None:
    """No report makes up for the events that were sent before: the page says how many, and shows no share of a whole."""
    early = asyncio.Event()

    @cs.task
    async def weld(part: int) -> int:
        await (early if part == 1 else gate).wait() if part else None
        return part

    with NatsServer() as server:
        async with served(Upstream.of(server.url)) as port, nats_engine(server, "nats-1") as nats:
            first = await opened(tabs, f"http://127.0.0.1:{port}/", viewport=PHONE)
            async with running(nats.run(weld.map(part=range(3)), name="night")) as night:
                await expect(row(first.page, "night", panel="Runs")).to_contain_text("1 completed, 2 running")
                late = await opened(tabs, f"http://127.0.0.1:{port}/")
                early.set()
                run = region(late.page, "Runs").get_by_role("row")
                await expect(run).to_contain_text("seen here: 1 completed ·")
                await expect(run).to_contain_text(re.compile(r"· \d+ events did not reach this page"))
                await expect(run).not_to_contain_text(re.compile(r"\d of \d"))
                await expect(late.page.get_by_role("progressbar")).to_have_count(0)
                await expect(first.page.get_by_role("progressbar").first).to_be_visible()
                await let_pass(first.page, "00:13")
                await expect(banner(first.page)).to_be_visible()
                assert await first.page.evaluate(SIDEWAYS) == 0
                gate.set()
                await night
                ended = region(late.page, "Recent runs").get_by_role("row")
                await expect(ended).to_contain_text("seen here: 2 completed ·")
                await expect(row(first.page, "night", panel="Recent runs")).to_contain_text("3 completed")
                await expect(row(first.page, "night", panel="Recent runs")).not_to_contain_text("seen here")


@pytest.mark.full
async def test_an_engine_on_nats_without_a_name_reports_and_does_not_get_what_the_page_sets(
    tabs: Tabs, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """It retains nothing, so its reports arrive; that they come without the pause shows that it follows another set."""
    monkeypatch.setattr("platform.node", lambda: "vm")
    with NatsServer() as server, Recorder(server.host, server.port, "cascade/state/#") as recorder:
        url = server.nats_url
        async with (
            served(Upstream.of(server.url)) as port,
            NatsConnector.from_url(url) as unnamed,
            NatsConnector.from_url(url, presence=False, required=True) as operator,
            engine(server, "mqtt-1") as mqtt,
        ):
            tab = await opened(tabs, f"http://127.0.0.1:{port}/")
            page, source = tab.page, unnamed.source_id

            async def reports(limit: int) -> None:
                """Have the engine report that it obeys a limit of its own set, and wait until the page has that report."""
                before = len(recorder.of(state_topic(source, "constraints")))
                params = {"type": "concurrency", "params": {"limit": limit}}
                await operator.publish(constraint_topic("task:other", "concurrency"), params, 1, retain=True)
                await eventually(
                    lambda: len(recorder.of(state_topic(source, "constraints"))) > before,
                    SECONDS,
                    what="it reports",
                )

            async with (
                running(cs.Engine(connector=unnamed).run(work(gate), name="night")) as night,
                running(mqtt.run(work(gate), name="day")) as day,
            ):
                await expect(row(page, "day", panel="Runs")).to_contain_text("3 completed, 2 running")
                await expect(row(page, "night", panel="Runs")).to_contain_text("3 completed, 2 running")
                await expect(row(page, source).get_by_role("button")).to_have_count(2)
                await pause_everything(page)
                await expect(row(page, "mqtt-1").get_by_text("paused", exact=True)).to_be_visible()
                await reports(7)
                step = region(page, "Steering").get_by_role("status")
                await expect(step).to_contain_text(f"applied by 1 of 2, {source} ")
                await page.clock.fast_forward("00:16")
                await reports(8)
                await reports(9)
                await expect(step).to_contain_text(f"applied by 1 of 1, it does not reach {source}")
                await expect(page.locator("#problems")).to_contain_text(
                    f"What you set here does not reach {source}:"
                )
                await expect(page.locator("#problems")).to_contain_text(
                    "cascade pause SOURCE --broker nats://HOST"
                )
                await expect(row(page, source)).to_contain_text("online")
                await expect(row(page, source)).to_contain_text("what you set here does not reach it")
                await expect(row(page, source).get_by_role("button")).to_have_count(0)
                await expect(row(page, "mqtt-1").get_by_role("button")).to_have_count(2)
                await expect(row(page, "mqtt-1")).not_to_contain_text("does not reach")
                await expect(page.get_by_role("button", name="Cancel night")).to_be_hidden()
                await expect(page.get_by_role("button", name="Cancel day")).to_be_visible()
                await keep(page, request, "nats-unnamed")
                gate.set()
                await night
                assert not day.done()
            await expect(page.locator("#problems")).not_to_contain_text("does not reach")  # it has ended
        assert tab.complaints == []


# A user who may not read the state of engines

PERMITTED = ("cascade.telemetry.>", "cascade.constraints", "cascade.constraints.>", "cascade.sync.wall.*")


def blind(kind: type[Mosquitto] | type[NatsServer], *, state: bool = False) -> Broker:
    """Make a broker whose user ``wall`` may read events and constraints, and not the state of engines.

    :param state: whether it may read the reports of engines, and not their births; for nats-server.
    """
    if kind is Mosquitto:
        acl = ["user press", "topic readwrite cascade/#", "user wall"]
        acl += ["topic read cascade/telemetry/#", "topic read cascade/constraints/#"]
        acl += ["topic readwrite cascade/sync/wall/+"]
        return fresh(
            kind, users=dict.fromkeys(("press", "wall"), PASSWORD), acl=acl, max_queued_messages=65_000
        )
    own = json.dumps([*PERMITTED, *(["cascade.state.*.*"] if state else [])])
    lines = [
        "authorization {", "  users = [",
        f'    {{ user: "press", password: "{PASSWORD}" }}',
        f'    {{ user: "wall", password: "{PASSWORD}", permissions: {{ publish: {own}, subscribe: {own} }} }}',
        "  ]", "}",
    ]  # fmt: skip
    return NatsServer(lines=lines)


@asynccontextmanager
async def watched(
    tabs: Tabs, broker: Broker, monkeypatch: pytest.MonkeyPatch, gate: asyncio.Event, *, done: bool = False
) -> AsyncIterator[Page]:
    """Open the page as ``wall`` beside an engine on MQTT, which reports; the value is the page when it shows events.

    :param done: whether its run ends, and the engine stays connected.
    """
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
    async with served(Upstream.of(broker.url)) as port:
        tab = await tabs.empty()
        await tab.page.clock.install()
        await tab.page.goto(f"http://127.0.0.1:{port}/")
        await tab.started()
        await log_in(tab.page, "wall", PASSWORD)
        await expect(tab.page.locator("#link")).to_have_attribute("data-link", "ready")
        own = broker.url.replace("mqtt://", "mqtt://press@")
        async with (
            MqttConnector.from_url(f"{own}?source_id=press-1", keepalive=120) as connector,
            running(cs.Engine(connector=connector).run(work(gate), name="day")),
        ):
            panel, counts = ("Recent runs", "8 completed") if done else ("Runs", "3 completed, 2 running")
            await expect(row(tab.page, "day", panel=panel)).to_contain_text(counts)
            await let_pass(tab.page, "00:13")
            yield tab.page


@pytest.mark.full
async def test_a_user_whose_rules_hide_the_state_of_engines_is_told_so_and_nothing_of_nats(
    tabs: Tabs, monkeypatch: pytest.MonkeyPatch, gate: asyncio.Event
) -> None:
    """nats-server says which subscriptions it refuses: then the cause is known."""
    with blind(NatsServer) as server:
        async with watched(tabs, server, monkeypatch, gate) as page:
            refused = page.locator("#problems").get_by_text("The broker does not let this user read")
            await expect(refused).to_contain_text("cascade/state/+/+")
            await expect(row(page, "press-1")).to_contain_text("not known")
            await expect(row(page, "press-1")).to_contain_text(
                "only its events arrive: this user may not read its reports"
            )
            await expect(page.get_by_text("NATS")).to_have_count(0)
            await expect(row(page, "press-1").get_by_role("button")).to_have_count(0)


@pytest.mark.full
async def test_a_broker_that_hides_state_without_a_word_leaves_both_causes_possible(
    tabs: Tabs, monkeypatch: pytest.MonkeyPatch, gate: asyncio.Event
) -> None:
    """mosquitto grants every subscription and delivers nothing: the page names the rights beside NATS."""
    with blind(Mosquitto) as broker:
        async with watched(tabs, broker, monkeypatch, gate) as page:
            await expect(banner(page)).to_contain_text("If it is connected over NATS,")
            await expect(banner(page)).to_contain_text(
                "this user may not read cascade/status/+ and cascade/state/+/+"
            )
            await expect(row(page, "press-1")).to_contain_text("not known")


@pytest.mark.full
async def test_an_engine_whose_birth_this_user_may_not_read_is_not_called_lost(
    tabs: Tabs, monkeypatch: pytest.MonkeyPatch, gate: asyncio.Event
) -> None:
    """While it runs nothing, only its birth would show that it is there; and a hidden birth does not count as forged."""
    gate.set()
    with blind(NatsServer, state=True) as server:
        async with watched(tabs, server, monkeypatch, gate, done=True) as page:
            engine_row = row(page, "press-1")
            await expect(engine_row).to_contain_text("not known")
            await expect(engine_row).to_contain_text("this user may not read cascade/status/+")
            await expect(engine_row).not_to_contain_text("no birth")
            await expect(engine_row.get_by_role("button")).to_have_count(0)
            await expect(region(page, "Engines")).to_contain_text("0 online, 1 not known")
            await expect(banner(page)).to_have_count(0)
