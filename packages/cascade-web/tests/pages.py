"""What tests of the page share: parts of the page, and what engines and brokers do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any, TypeAlias

import pytest
from browsing import SECONDS
from playwright.async_api import Locator, Page, expect

from cascade.cli import main
from cascade.interfaces.topics import state_topic
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.recorder import Recorder

expect.set_options(timeout=SECONDS * 1000)

SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""By how many pixels the page is wider than the screen."""

PANELS = """(cases) => {
    const text = (id) => [...document.querySelectorAll(`#${id} .row`)].map((row) => row.textContent);
    const none = () => "";
    let view, selected = "";
    const shownPage = {
        get view() { return view; }, get selected() { return selected; }, now: 100, clock: 1800000000,
        timelines: new timelines.Timelines(), graphs: new Map(),
        clockOf: () => null, since: none, ago: none, asOf: (each) => each, isKnown: () => true, unreported: () => [], hasNoState: () => false, mayRead: () => true, knowsRegisters: () => true,
        unknown: none, choose: (active, over) => { selected = (active[0] ?? over[0]).key; },
        actions: { isPaused: () => false, pausedBy: none, isOff: () => false, obeyed: none, redraw: none },
    };
    const shown = new panels.Panels(shownPage);
    return cases.map((messages) => {
        view = new views.View();
        for (const [topic, payload, at] of messages) view.fold(topic, fields.asBytes(payload), {now: at ?? 100, retained: !topic.includes("telemetry")});
        shown.draw();
        return {run: text("runs")[0], engine: text("engines")[0], waiting: text("waiting"), constraints: document.getElementById("constraints").textContent};
    });
}"""
"""Draws the panels of the page for some sets of messages; the value has what the lists say of each."""

Kind: TypeAlias = type[Mosquitto] | type[NatsServer]
EACH_BROKER = pytest.mark.parametrize("kind", [Mosquitto, NatsServer], ids=lambda kind: kind.name)


def fresh(kind: Kind, **options: Any) -> Broker:
    """Make a broker for one test; ``options`` are those of its class."""
    if kind is Mosquitto:
        require_mosquitto()
    return kind(**options)


def with_websocket(kind: Kind, port: int, **options: Any) -> Broker:
    """Make a broker with a WebSocket port on loopback beside its usual one; ``options`` are those of its class."""
    more = tuple(options.pop("lines", ()))
    if kind is NatsServer:
        return NatsServer(
            lines=[f'websocket {{ host: "127.0.0.1", port: {port}, no_tls: true }}', *more], **options
        )
    require_mosquitto()
    return Mosquitto(
        lines=[f"listener {port} 127.0.0.1", "protocol websockets", "socket_domain ipv4", *more], **options
    )


def guarded(kind: Kind, roles: Sequence[str], password: str) -> Broker:
    """Make a broker with the rules that ``cascade acl`` prints for these roles, whose users have one password."""
    with redirect_stdout(StringIO()) as printed:
        assert main(["acl", *roles, *(() if kind is Mosquitto else ("--for", "nats"))]) == 0
    lines = re.sub(r"\$PASSWORD_\w+", json.dumps(password), printed.getvalue()).splitlines()
    if kind is Mosquitto:
        users = {name.partition("=")[0]: password for name in roles[1::2]}
        return fresh(kind, users=users, acl=lines, max_queued_messages=65_000)
    return fresh(kind, lines=lines)


async def log_in(page: Page, user: str, password: str) -> None:
    """Enter user and password, and connect."""
    await page.get_by_label("User", exact=True).fill(user)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.get_by_role("button", name="Connect").click()


def region(page: Page, name: str) -> Locator:
    """Find a panel by its heading."""
    return page.get_by_role("region", name=name, exact=True)


def row(page: Page, name: str, *, panel: str = "Engines") -> Locator:
    """Find the row of a panel whose accessible name has a text."""
    return region(page, panel).get_by_role("row", name=name)


def reported(recorder: Recorder, source: str) -> dict[str, Any]:
    """Return the engine's latest report of its runs."""
    found = recorder.of(state_topic(source, "runs"))
    return found[-1].json_object() if found else {}


def publish_all(broker: Broker, retained: dict[str, Any]) -> None:
    """Publish retained messages, as an engine or a tool has left them."""
    from paho.mqtt import publish

    messages: list[Any] = [(topic, json.dumps(each), 1, True) for topic, each in retained.items()]
    publish.multiple(messages, hostname=broker.host, port=broker.port)


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


async def pause_everything(page: Page) -> None:
    """Press the button, and answer its question."""
    await page.get_by_role("button", name="Pause everything").click()
    await expect(page.get_by_role("dialog", name="Pause everything?")).to_contain_text("on any engine")
    await page.get_by_role("button", name="Pause all engines").click()
