"""Workflows on the page: the form of each, what starts, what is refused and why, in a real browser on real brokers."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from browsing import DESKTOP, PHONE, SECONDS, Tab, Tabs
from pages import EACH_BROKER, SIDEWAYS, Kind, fresh, guarded, log_in, publish_all, row
from playwright.async_api import Browser, Locator, Page, expect
from served_page import Upstream, served
from service import Shift, serving

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import request_topic, response_topic, state_topic, status_topic
from cascade.interfaces.watch import Linked, Message
from cascade.runtime.starting import Parameter, conversion_of, schema_of
from cascade.testkit.brokers import Broker
from cascade.testkit.waiting import eventually
from cascade.web import page as made_page

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name=re.compile("^Start "))


def field(page: Page, name: str) -> Locator:
    return dialog(page).get_by_label(name, exact=True)


def problem(page: Page, name: str) -> Locator:
    """The text beside a field that says what is wrong with it."""
    return dialog(page).locator(".field").filter(has=page.get_by_label(name, exact=True)).locator(".problem")


async def open_form(page: Page, name: str = "audit") -> None:
    await page.get_by_role("button", name=f"Start {name}", exact=True).click()
    await expect(dialog(page)).to_be_visible()


async def press_start(page: Page) -> None:
    await dialog(page).get_by_role("button", name="Start", exact=True).click()


@pytest.mark.full
@EACH_BROKER
async def test_a_form_starts_a_run_and_shows_its_end(
    tabs: Tabs, kind: Kind, request: pytest.FixtureRequest
) -> None:
    """Wrong input is named beside its field and nothing is sent; the run that starts is opened; a second one is refused."""
    shift = Shift()
    with fresh(kind) as broker:
        async with serving(broker, "press-1", shift.audit), served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            page = tab.page
            await expect(row(page, "audit", panel="Workflows")).to_contain_text("Inspect parts")
            await open_form(page)
            for name, entered in (("number", "900"), ("speed", "fast"), ("sizes", "1, 2")):
                await field(page, name).fill(entered)
            await press_start(page)
            await expect(problem(page, "number")).to_have_text("Needs a whole number from 1 to 500, not 900.")
            await expect(problem(page, "speed")).to_have_text("Needs a number such as 1.5, not fast.")
            await expect(problem(page, "sizes")).to_have_text("Needs a JSON array such as [1, 2].")
            await expect(field(page, "number")).to_be_focused()
            # however long the form is
            await expect(dialog(page).get_by_role("button", name="Start", exact=True)).to_be_in_viewport(
                ratio=1
            )
            await keep(page, request, f"form-{kind.name}")
            for name, entered in (
                ("number", "20"),
                ("speed", "2.5"),
                ("sizes", "[3, 4]"),
                ("day", "2026-11-21"),
            ):
                await field(page, name).fill(entered)
                await expect(problem(page, name)).to_have_text("")
            await field(page, "note").fill("Day shift")
            await field(page, "mode").select_option(label="whole")
            await dialog(page).get_by_role("switch", name="strict").check()
            await press_start(page)
            # the form cannot know the pattern of Python
            await expect(problem(page, "note")).to_contain_text("matching regex")
            await expect(dialog(page).get_by_role("alert")).to_have_text("press-1 refuses a value.")
            assert shift.asked == []
            await field(page, "note").fill("day shift")
            await press_start(page)
            await expect(dialog(page)).to_be_hidden()
            await expect(page.get_by_role("heading", name="inspect on press-1")).to_be_visible()
            await expect(row(page, "inspect", panel="Runs")).to_contain_text("run audit~")
            assert shift.asked == [
                {"number": 20, "note": "day shift", "speed": 2.5, "mode": "whole", "strict": True,
                 "day": dt.date(2026, 11, 21), "sizes": [3, 4]}
            ]  # fmt: skip
            await open_form(page)
            await field(page, "number").fill("1")
            await press_start(page)
            await expect(dialog(page).get_by_role("alert")).to_have_text(
                "press-1 refuses it: a run of this workflow goes on. Start it again when that run has ended."
            )
            await page.keyboard.press("Escape")
            shift.over.set()
            await expect(row(page, "inspect, Succeeded", panel="Recent runs")).to_be_visible()
            await expect(row(page, "audit", panel="Workflows")).to_contain_text("last run Succeeded")
            await expect(page.get_by_role("heading", name="inspect on press-1")).to_be_visible()
            assert len(shift.asked) == 1
    assert tab.complaints == []


async def keep(page: Page, request: pytest.FixtureRequest, name: str) -> None:
    """Keep a picture with ``--screenshots FOLDER``."""
    if (folder := request.config.getoption("--screenshots")) is not None:
        await page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_keys_alone_start_a_run_on_a_phone(
    tabs: Tabs, fresh_broker: Broker, scheme: Literal["light", "dark"], request: pytest.FixtureRequest
) -> None:
    """The form opens at its first value, Enter starts it, the focus goes back; nothing scrolls sideways at 360 pixels."""
    shift = Shift()
    async with (
        serving(fresh_broker, "press-1", shift.audit),
        served(Upstream.of(fresh_broker.url)) as port,
    ):
        tab = await tabs.open(
            f"http://127.0.0.1:{port}/", viewport=PHONE, color_scheme=scheme, device_scale_factor=2
        )
        page = tab.page
        button = page.get_by_role("button", name="Start audit", exact=True)
        await expect(button).to_be_enabled()
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(field(page, "number")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(problem(page, "number")).to_have_text("Missing: needs a whole number.")
        await expect(field(page, "number")).to_have_attribute("aria-invalid", "true")
        await expect(dialog(page).get_by_role("button", name="Start", exact=True)).to_be_in_viewport(ratio=1)
        await keep(page, request, f"form-phone-{scheme}")
        assert await page.evaluate(SIDEWAYS) == 0
        assert await page.evaluate("() => { const one = document.querySelector('#start'); return one.scrollWidth - one.clientWidth; }") == 0  # fmt: skip
        await page.keyboard.type("7")
        for _ in range(3):
            await page.keyboard.press("Tab")
        await expect(field(page, "mode")).to_be_focused()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Space")
        await page.keyboard.press("Enter")
        await expect(dialog(page)).to_be_hidden()
        await expect(button).to_be_focused()
        await expect(page.get_by_role("heading", name="inspect on press-1")).to_be_visible()
        await page.wait_for_function(
            "document.querySelector('#runs').getBoundingClientRect().top < innerHeight / 2"
        )
        (asked,) = shift.asked
        assert (asked["number"], asked["mode"], asked["strict"], asked["note"]) == (7, "whole", True, "night shift")  # fmt: skip
        await keep(page, request, f"run-phone-{scheme}")
    assert tab.complaints == []


@cs.workflow(every="1h")
def hourly() -> cs.LazyResult[None]:
    raise AssertionError("no test lasts an hour")


@pytest.mark.full
async def test_one_of_several_engines_starts_it_or_each(tabs: Tabs, fresh_broker: Broker) -> None:
    """The form asks which; an engine that has ended cannot be chosen, and without any the button is off and says why.

    Of a service that has ended, no next start is shown.
    """
    one, other = Shift(), Shift()
    async with served(Upstream.of(fresh_broker.url)) as port:
        tab = await tabs.open(f"http://127.0.0.1:{port}/", viewport=DESKTOP)
        page = tab.page
        async with serving(fresh_broker, "press-1", one.audit, hourly):
            async with serving(fresh_broker, "press-2", other.audit):
                await expect(row(page, "hourly", panel="Workflows")).to_contain_text(" · next ")
                await expect(row(page, "audit", panel="Workflows")).to_contain_text("press-2")
                await open_form(page)
                await field(page, "number").fill("3")
                await field(page, "On").select_option(label="press-2")
                await press_start(page)
                await expect(page.get_by_role("heading", name="inspect on press-2")).to_be_visible()
                assert (len(one.asked), len(other.asked)) == (0, 1)
                await open_form(page)
                await field(page, "number").fill("4")
                await field(page, "On").select_option(label="each of the 2 engines that offer it")
                await press_start(page)
                await expect(page.get_by_role("heading", name="inspect on press-1")).to_be_visible()
                said = page.locator("#step")
                await expect(said).to_contain_text("accepted by press-1")
                await expect(said).to_contain_text("press-2 refuses it: a run of this workflow goes on.")
                assert (len(one.asked), len(other.asked)) == (1, 1)
            await open_form(page)
            await expect(field(page, "On").get_by_role("option", name="press-2: has ended")).to_be_disabled()
            await page.keyboard.press("Escape")
        offered = row(page, "audit", panel="Workflows")
        await expect(offered).to_contain_text("Cannot be started: press-1 has ended, press-2 has ended.")
        await expect(row(page, "hourly", panel="Workflows")).not_to_contain_text(" · next ")
        await expect(offered.get_by_role("button")).to_be_disabled()
    assert tab.complaints == []


OFFER = {
    "name": "audit",
    "doc": "Count <b>parts</b>",
    "params": {"type": "object", "properties": {"note": {"type": "string", "default": "x"}}, "required": []},
    "overlap": "skip",
    "accepting": True,
}
WHEN = "2026-11-23T00:00:00+00:00"


class Desk:
    """Stands in for a service: it answers as the test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answer: dict[str, Any] | None = None


@asynccontextmanager
async def desk(broker: Broker) -> AsyncIterator[Desk]:
    """Publish the report of a service, and answer requests for it."""
    found, ready = Desk(), asyncio.Event()
    head = {"v": "1.0", "source": "press-1", "session": "e", "presence": "s", "ts": WHEN}
    birth = {"status": "online", "session": "s", "ts": WHEN, "host": "pi", "pid": 1, "version": "1"}
    publish_all(
        broker, {status_topic("press-1"): birth, state_topic("press-1", "workflows"): {**head, "workflows": [OFFER]}}
    )  # fmt: skip

    async def listen(client: MqttConnector) -> None:
        async for item in client.watch(request_topic("press-1", "audit")):
            if isinstance(item, Linked):
                ready.set()
            if isinstance(item, Message):
                asked = json.loads(item.payload)
                found.requests.append(asked)
                if found.answer is not None:
                    content = {"id": asked["id"], "source": "press-1", **found.answer}
                    await client.publish(response_topic("press-1", asked["id"]), content, 1)

    async with MqttConnector.from_url(broker.url) as client:
        task = asyncio.create_task(listen(client), name="desk")
        try:
            await ready.wait()
            yield found
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.full
@EACH_BROKER
async def test_each_refusal_says_what_to_do(tabs: Tabs, kind: Kind) -> None:
    """In plain words, each request with an id of its own; markup in a reason and a description stays text."""
    with fresh(kind) as broker:
        async with desk(broker) as service, served(Upstream.of(broker.url)) as port:
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            await open_form(tab.page)
            await expect(dialog(tab.page)).to_contain_text("Count <b>parts</b>")
            for code, reason, said in (
                ("busy", "a run goes on", "a run goes on. Start it again when that run has ended."),
                ("paused", "a pause of global is in force", "a pause of global is in force. Resume that first."),
                ("full", "10 requests wait", "10 requests wait. Try again later."),
                ("stopping", "it stops", "it stops. Try again when it is back."),
                ("expired", "too late", "too late. Check the clocks, and try again."),
                ("unknown", "no workflow 'audit'", "no workflow 'audit'. The list of workflows shows what is offered now."),
                ("invalid", "<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>."),
                ("later", "", "later."),
            ):  # fmt: skip
                service.answer = {"status": "refused", "code": code, "reason": reason}
                await press_start(tab.page)
                await expect(dialog(tab.page).get_by_role("alert")).to_have_text(
                    f"press-1 refuses it: {said}"
                )
            ids = [each["id"] for each in service.requests]
            assert len(set(ids)) == len(ids) == 8
            assert service.requests[0] == {"id": ids[0], "params": {"note": "x"}}
    assert tab.complaints == []


@pytest.mark.full
async def test_a_request_without_an_answer_is_repeated_with_its_id(tabs: Tabs, fresh_broker: Broker) -> None:
    """So that pressing Start again starts no second run; with other values it is another request."""
    async with desk(fresh_broker) as service, served(Upstream.of(fresh_broker.url)) as port:
        tab = await tabs.empty()
        await tab.page.clock.install()
        await tab.page.goto(f"http://127.0.0.1:{port}/")
        await tab.started()
        await open_form(tab.page)
        for times in (1, 2):
            await press_start(tab.page)
            await eventually(lambda n=times: len(service.requests) == n, SECONDS, what="it was asked")  # type: ignore[misc]
            await expect(dialog(tab.page).get_by_role("button", name="Start", exact=True)).to_be_disabled()
            await expect(dialog(tab.page).get_by_role("status")).to_have_text(
                "Sent, waiting for the answer …"
            )
            await tab.page.clock.fast_forward(16_000)
            await expect(dialog(tab.page).get_by_role("alert")).to_contain_text(
                "No answer from press-1 within 15 s"
            )
        assert service.requests[0] == service.requests[1]
        service.answer = {"status": "accepted", "run_id": "audit~x"}
        await field(tab.page, "note").fill("y")
        await press_start(tab.page)
        await expect(dialog(tab.page)).to_be_hidden()
        await expect(tab.page.locator("#step")).to_contain_text("accepted by press-1 as audit~x.")
        assert service.requests[2]["id"] != service.requests[0]["id"]
    assert tab.complaints == []


ROLES = ("--engine", "press-1", "--observer", "wall", "--observer", "tablet", "--requester", "tablet=audit")
PASSWORD = "s3cret"


@pytest.mark.full
@EACH_BROKER
async def test_who_may_not_start_it_is_shown_why(tabs: Tabs, kind: Kind) -> None:
    """With the rules of ``cascade acl``: the button of an observer is off after the refusal; a requester starts it."""
    shift = Shift()
    with guarded(kind, ROLES, PASSWORD) as broker:
        login = {"username": "press-1", "password": PASSWORD}
        async with (
            serving(broker, "press-1", shift.audit, **login),
            served(Upstream.of(broker.url)) as port,
        ):
            tab = await tabs.open(f"http://127.0.0.1:{port}/")
            page = tab.page
            await log_in(page, "wall", PASSWORD)
            await open_form(page)
            await field(page, "number").fill("5")
            await press_start(page)
            said = dialog(page).get_by_role("alert")
            await expect(said).to_contain_text("The broker refuses it")
            await expect(said).to_contain_text("“cascade acl --requester USER=audit” prints the rules")
            await expect(dialog(page).get_by_role("button", name="Start", exact=True)).to_be_disabled()
            await page.keyboard.press("Escape")
            offered = row(page, "audit", panel="Workflows")
            await expect(offered).to_contain_text(
                "this user lacks the rights to (cascade/requests/press-1/audit)"
            )
            await expect(offered.get_by_role("button")).to_be_disabled()
            await page.get_by_text("Connection", exact=True).click()
            await log_in(page, "tablet", PASSWORD)
            await open_form(page)
            await field(page, "number").fill("5")
            await press_start(page)
            await expect(page.get_by_role("heading", name="inspect on press-1")).to_be_visible()
            assert [each["number"] for each in shift.asked] == [5]


class Size(enum.Enum):
    SMALL = "small"
    LARGE = 3


KINDS: tuple[Any, ...] = (
    int, float, str, bool, dt.date, dt.datetime, list[int], dict[str, int], Literal["a", "b", 3], Size, int | None, int | str,
    float | list[int], dt.date | None, Annotated[int, msgspec.Meta(ge=1, lt=10)], Annotated[str, msgspec.Meta(min_length=2, max_length=3)],
    list[Annotated[int, msgspec.Meta(ge=0)]] | None,
)  # fmt: skip
TEXTS = ("1", "-3", "10", "1.5", "1e3", "x", "ab", "abcd", "true", "3", "small", "[1, 2]", "[]", '{"a": 1}', "{", "2026-11-21", "12:30:00", "0x10", "2026-02-30", "2026-11-21T03:00")  # fmt: skip


def value(convert: Callable[[Any], Any], found: Any) -> Any:
    """Return the value that a workflow gets, with its type; None if it is refused."""
    try:
        return repr(convert(found))
    except (ValueError, TypeError):
        return None


@pytest.mark.full
async def test_a_form_sends_what_the_command_sends(browser: Browser) -> None:
    """For each type and text: the workflow gets the same value, or both refuse it. A choice and a switch have no text."""
    schemas = [schema_of([Parameter("x", conversion_of(kind))]) for kind in KINDS]
    tab = await Tab.of(browser)
    await tab.load(made_page())
    found = await tab.page.evaluate(
        """([schemas, texts]) => schemas.map((schema) => {
            const [field] = forms.of(schema).list;
            if (["choice", "switch"].includes(field.kind)) return [field.kind, field.choices];
            return texts.map((text) => { const {value, problem} = forms.read(field, text); return problem ? null : [value]; });
        })""",
        [schemas, TEXTS],
    )
    await tab.close()
    assert tab.complaints == []
    differ = []
    for kind, here in zip(KINDS, found, strict=True):
        if here[0] in ("choice", "switch"):
            assert here[1] == conversion_of(kind).schema.get("enum", [])
            continue
        for text, sent in zip(TEXTS, here, strict=True):
            conversion = conversion_of(kind)
            here_ = value(conversion.from_json, sent[0]) if sent else None
            if here_ != (there := value(conversion.from_text, text)):
                differ.append((kind, text, here_, there))
    assert differ == [], "\n".join(map(str, differ))


@pytest.mark.full
async def test_a_hostile_schema_makes_a_form(browser: Browser) -> None:
    """One that refers to itself, has thousands of parts, inherited names or wrong types: the form is bounded, and sends what it shows."""
    loop = {"$ref": "#/$defs/a"}
    schemas: list[Any] = [
        {}, {"properties": 3, "required": "x"}, {"properties": {"a": None, "b": 3, "c": []}, "required": [1, None]},
        {"properties": {"a": loop}, "$defs": {"a": {"anyOf": [loop] * 1000}}},
        {"properties": {f"n{each}": {"type": "string"} for each in range(5_000)}},
        {"properties": {"__proto__": {"type": "integer", "default": 1}, "constructor": {"type": "string", "default": "y"}}},
        {"properties": {"a": {"type": "integer", "default": 2**60, "minimum": "x", "maximum": {}}, "b": {"enum": [{"x": 1}, None]}}},
        {"properties": {"a": {"type": "string", "pattern": "(a+)+$", "format": "constructor", "default": "x" * 9}}},
    ]  # fmt: skip
    tab = await Tab.of(browser)
    await tab.load(made_page())
    found = await tab.page.evaluate(
        """(schemas) => JSON.parse(schemas).map((schema) => {
            const {list, more} = forms.of(schema);
            const {params, problems} = forms.readAll(list, new Map(list.map((each) => [each.name, forms.initialOf(each)])));
            return [list.length, more, JSON.stringify(params), [...problems.keys()]];
        })""",
        json.dumps(schemas),
    )
    await tab.close()
    assert tab.complaints == []
    assert found == [
        [0, 0, "{}", []],
        [0, 0, "{}", []],
        [3, 0, "{}", []],
        [1, 0, "{}", []],
        [100, 4_900, "{}", []],
        [2, 0, '{"__proto__":1,"constructor":"y"}', []],
        [2, 0, "{}", []],
        [1, 0, '{"a":"xxxxxxxxx"}', []],
    ]


@pytest.mark.full
async def test_problems_stand_beside_the_fields_that_they_name(browser: Browser) -> None:
    """Of the engine's reason: each part with its name, the rest for the whole form."""
    reason = "number: expected int, got str; or expected null; text is missing; no parameter 'tex'; it takes a; a: b: c"
    tab = await Tab.of(browser)
    await tab.load(made_page())
    found = await tab.page.evaluate(
        "(reason) => [...forms.placed(reason, ['number', 'text', 'a', '']), ...forms.placed('closed', ['number'])]", reason
    )  # fmt: skip
    await tab.close()
    assert found == [
        ["number", "expected int, got str; or expected null"],
        ["text", "text is missing"],
        ["", "no parameter 'tex'; it takes a"],
        ["a", "b: c"],
        ["", "closed"],
    ]
