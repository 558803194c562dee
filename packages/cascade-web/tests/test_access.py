"""The page without a mouse and without eyes: keys reach everything, and a screen reader reads what others see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browsing import DESKTOP, PHONE, Tabs
from pages import EACH_BROKER, SIDEWAYS, Kind, fresh, publish_all, region, row
from playwright.async_api import Page, expect
from served_page import Upstream, served

from cascade.interfaces.topics import constraint_topic, state_topic, status_topic
from cascade.testkit.brokers import Broker

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]
DAY = "2026-11-23"
WHEN = f"{DAY}T00:00:00+00:00"
FOCUS = """() => { const at = document.activeElement;
    return at.getAttribute("aria-label") || at.labels?.[0]?.innerText.split("\\n")[0] || at.textContent.trim(); }"""
PANEL = """() => document.activeElement.closest("section")?.querySelector("h2, h3")?.textContent"""
BY_EYE = """() => [...document.querySelectorAll("section")].filter((each) => each.checkVisibility())
    .sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top)
    .map((each) => each.querySelector("h2, h3")?.textContent)"""
OUTLINE = "() => getComputedStyle(document.activeElement).outlineStyle"


def plant() -> dict[str, Any]:
    """Return what a broker keeps of two presses and a constraint, with fixed times."""
    head = {"v": "1.0", "session": "e", "presence": "s", "ts": WHEN}
    run = {
        "run_id": "shift-1", "target": "report", "name": "morning", "started": WHEN, "attempt": 1, "lost": 0, "known": 6, "open": False,
        "counts": {"COMPLETED": 2, "FAILED": 1, "RUNNING": 1, "BLOCKED": 2},
        "tasks": {"inspect": {"known": 5, "counts": {"COMPLETED": 2, "FAILED": 1, "RUNNING": 1, "BLOCKED": 1}, "ms": {"n": 3, "sum": 30, "max": 20}},
                  "report": {"known": 1, "counts": {"BLOCKED": 1}}},
        "running": [{"task_id": "inspect:0[3]", "task_name": "inspect", "since": WHEN, "done": 1, "total": 4, "unit": "sides", "message": "left", "paused": False}],
        "waiting": [{"why": "constraint", "topic": constraint_topic("task:inspect", "concurrency"), "type": "concurrency", "n": 1}],
    }  # fmt: skip
    ended = {"run_id": "r0", "target": "calibrate", "status": "Failed", "error": "RuntimeError: too cold", "counts": {"FAILED": 1},
             "started": WHEN, "ended": WHEN, "attempt": 1, "duration_ms": 0.0}  # fmt: skip
    graph = {"run_id": "shift-1", "rev": 1, "folded": False, "edges": [[0, 1, "argument"]],
             "nodes": [{"id": "a", "name": "inspect", "kind": "map", "known": 5}, {"id": "b", "name": "report", "kind": "call", "known": 1}]}  # fmt: skip
    limit = {"id": "l", "type": "concurrency", "params": {"limit": 1}, "by": "ada"}
    topic = constraint_topic("task:inspect", "concurrency")
    applied = {"sync": "synced", "in_scope_running": 0, "applied": {topic: {"id": "l", "status": "applied"}},
               "effective": [{"topic": topic, "id": "l", "scope": "task:inspect", "type": "concurrency", "params": {"limit": 1}, "expires_at": None}]}  # fmt: skip
    kept: dict[str, Any] = {topic: limit}
    for source, status in (("press-1", "online"), ("press-2", "offline")):
        kept[status_topic(source)] = {"status": status, "session": "s", "ts": WHEN, "host": "pi", "pid": 1, "version": "1"}  # fmt: skip
        kept[state_topic(source, "constraints")] = {**head, "source": source, **applied}
    kept[state_topic("press-1", "runs")] = {**head, "source": "press-1", "runs": [run], "recent": [ended], "paused": False}  # fmt: skip
    last = {"run_id": "audit~7", "status": "Succeeded", "ended": WHEN}
    schedule = {
        "cron": "0 3 * * *",
        "tz": "Europe/Berlin",
        "text": "At 03:00 every day",
        "next": f"{DAY}T03:00:00+01:00",
    }
    params = {
        "type": "object",
        "properties": {
            "number": {"type": "integer", "default": 60, "description": "how many parts there are"},
            "strict": {"type": "boolean", "default": False},
        },
        "required": [],
    }
    audit = {
        "name": "audit",
        "doc": "Inspect parts.",
        "params": params,
        "overlap": "skip",
        "accepting": True,
        "last": last,
        "schedule": schedule,
    }
    kept[state_topic("press-1", "workflows")] = {**head, "source": "press-1", "workflows": [audit]}
    kept[state_topic("press-1", "graph")] = {**head, "source": "press-1", "runs": [graph]}
    return kept


@pytest.mark.full
async def test_a_screen_reader_is_told_everything_that_is_seen(tabs: Tabs, fresh_broker: Broker) -> None:
    """The whole tree of roles, names and values is the one that was read through when it was written down."""
    publish_all(fresh_broker, plant())
    async with served(Upstream.of(fresh_broker.url)) as port:
        tab = await tabs.empty(timezone_id="UTC")
        # The page puts the date before a time of another day than today's.
        await tab.page.clock.set_fixed_time(f"{DAY}T08:30:00Z")
        await tab.page.goto(f"http://127.0.0.1:{port}/")
        await tab.started()
        await expect(region(tab.page, "Graph").get_by_role("listitem")).to_have_count(2)
        await expect(tab.page.locator("body")).to_match_aria_snapshot(
            (Path(__file__).parent / "screen_reader.yaml").read_text("utf-8")
        )
        assert await tab.page.evaluate(UNNAMED) == []
        await tab.page.get_by_role("button", name="Start audit").click()
        await expect(tab.page.get_by_role("dialog")).to_match_aria_snapshot(FORM)
        assert await tab.page.evaluate(UNNAMED) == []


FORM = """
- dialog "Start audit":
  - heading "Start audit" [level=2]
  - paragraph: Inspect parts.
  - text: "On"
  - combobox "On":
    - option "press-1" [selected]
  - text: number
  - textbox "number": "60"
  - paragraph: how many parts there are · whole number
  - text: strict
  - switch "strict"
  - paragraph: "writes cascade/requests/press-1/audit {\\"params\\":{\\"number\\":60,\\"strict\\":false}}"
  - button "Back"
  - button "Start"
"""


UNNAMED = """() => [...document.querySelectorAll("button, input, select, [role=progressbar], [role=table], canvas")]
    .filter((each) => each.checkVisibility() && !each.getAttribute("aria-label") && !each.labels?.length && !each.textContent.trim())
    .map((each) => each.outerHTML)"""


async def press_until(page: Page, name: str, *, key: str = "Tab") -> None:
    """Press a key until the element of this name has the focus; each element on the way shows that it has it."""
    for _ in range(60):
        await page.keyboard.press(key)
        if await page.evaluate(FOCUS) == name:
            break
    assert await page.evaluate(FOCUS) == name
    assert await page.evaluate(OUTLINE) != "none"


@pytest.mark.full
@EACH_BROKER
async def test_keys_alone_pause_limit_cancel_and_select(tabs: Tabs, kind: Kind) -> None:
    """Tab reaches every button in the order of the page; Escape closes a dialog, and the focus goes back."""
    with fresh(kind) as broker:
        publish_all(broker, plant())
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            page = tab.page
            await expect(row(page, "press-1")).to_contain_text("online")
            await expect(page.get_by_role("button", name="Pause everything")).to_be_enabled()
            await press_until(page, "Pause press-1")
            await expect(page.locator("#writes")).to_have_text(
                "writes cascade/constraints/source/press-1/@pause"
            )
            await page.keyboard.press("Enter")
            await expect(row(page, "pause · source:press-1", panel="Constraints")).to_be_visible()
            assert await page.evaluate(FOCUS) == "Resume press-1"
            await press_until(page, "Limit press-1")
            await page.keyboard.press("Enter")
            dialog = page.get_by_role("dialog", name="Limit")
            await expect(dialog.get_by_label("Covers")).to_be_focused()
            await page.keyboard.press("Escape")
            await expect(dialog).to_be_hidden()
            assert await page.evaluate(FOCUS) == "Limit press-1"
            await page.keyboard.press("Enter")
            await press_until(page, "Value")
            await page.keyboard.type("12")
            await page.keyboard.press("Enter")
            await expect(
                row(page, "at most 12 at a time · source:press-1", panel="Constraints")
            ).to_be_visible()
            await press_until(page, "Cancel morning")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("button", name="Keep it running")).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("dialog")).to_be_hidden()
            assert await page.evaluate(FOCUS) == "Cancel morning"
            await press_until(page, "calibrate", key="Shift+Tab")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", name="calibrate on press-1")).to_be_visible()


@pytest.mark.full
@EACH_BROKER
async def test_a_phone_shows_everything_below_one_another(tabs: Tabs, kind: Kind) -> None:
    """Nothing scrolls sideways at 360 pixels, also with names that have no place to break; fingers hit every button."""
    with fresh(kind) as broker:
        kept = plant()
        long = "x" * 64
        kept[status_topic(long)] = {
            "status": "online",
            "session": "s",
            "ts": WHEN,
            "host": long,
            "pid": 1,
            "version": "1",
        }
        kept[constraint_topic(f"task:{long}{long}", "pause")] = {"type": "pause", "by": long}
        publish_all(broker, kept)
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/", viewport=PHONE, has_touch=True)
            await expect(row(tab.page, long)).to_be_visible()
            await expect(region(tab.page, "Graph").get_by_role("listitem")).to_have_count(2)
            assert await tab.page.evaluate(SIDEWAYS) == 0
            heights = await tab.page.get_by_role("button").evaluate_all(
                "(all) => all.filter((each) => each.checkVisibility()).map((each) => [each.className, each.textContent, each.getBoundingClientRect().height])"
            )
            assert [each for each in heights if each[2] < 24] == []  # WCAG 2.2, 2.5.8: at least 24 pixels
            assert re.search("Pause", str(heights))


async def panels_by_keys(page: Page) -> list[str]:
    """Press Tab through the page; return the panels in the order in which the focus enters them."""
    found: list[str] = []
    for _ in range(80):
        await page.keyboard.press("Tab")
        name = await page.evaluate(PANEL)
        if name and name not in found:
            found.append(name)
    return found


@pytest.mark.full
@EACH_BROKER
async def test_on_a_phone_keys_and_eyes_meet_the_panels_in_the_same_order(tabs: Tabs, kind: Kind) -> None:
    """The runs of before come last; on a wide screen they stand beside the run, also after the phone has been turned."""
    with fresh(kind) as broker:
        publish_all(broker, plant())
        async with served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/", viewport=PHONE)
            await expect(region(tab.page, "Graph").get_by_role("listitem")).to_have_count(2)
            await expect(row(tab.page, "calibrate", panel="Recent runs")).to_be_visible()
            await expect(row(tab.page, "press-1")).to_contain_text("online")
            for panel in ("Constraints", "Waiting"):
                await expect(region(tab.page, panel).get_by_role("button").first).to_be_enabled()
            # Buttons are off until everything has arrived, and keys pass over what is off.
            await expect(tab.page.get_by_role("button", name="Pause everything")).to_be_enabled()
            found = await panels_by_keys(tab.page)
            assert found == [name for name in await tab.page.evaluate(BY_EYE) if name in found]
            assert found[-1] == "Recent runs"
            assert {"Engines", "Constraints", "Runs", "Graph"} <= set(found)
            await tab.page.set_viewport_size(DESKTOP)
            await expect(
                tab.page.locator("#lists").get_by_role("heading", name="Recent runs")
            ).to_be_visible()
