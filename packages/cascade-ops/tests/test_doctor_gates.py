"""``cascade doctor`` names gates whose topic an engine may not read, whose sensor is silent, and that never open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from doctor_facts import NOW, good
from ops_modules import Facts, findings
from roles import nats_rules, printed_rules

import cascade as cs
from cascade.interfaces.access import Roles
from cascade.interfaces.topics import constraint_topic, state_topic
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.wire import View
from testing_tools.engines import PASSWORD

Doctor = Callable[..., tuple[int, set[str], set[str]]]
POWER = cs.gate("power", topic="site/power", path="w", above=800, stale=600)
FOREVER = cs.gate("power", topic="site/power", path="w", above=800)
NIGHT = cs.gate("night", window="22:00-06:00 UTC")
TOPIC = constraint_topic("source:press", "gate.power")
DAY = 86_400
NOTHING, REFUSED = "site/power has sent nothing yet", "site/power is refused to this engine by the broker"
HIGH = "site/power is 900 w, must stay below 800"


def seen(
    gate: Any = POWER, state: str = "unknown", text: str = NOTHING, *, age: float = 0, holds: bool = True, heard: bool = False,
    applied: str = "applied", reason: str = "", params: Any = None, declared: str = "", live: bool = True,
) -> Facts:  # fmt: skip
    """Facts about one live engine with one gate."""
    view = View()
    since = datetime.fromtimestamp(NOW - age, UTC).isoformat()
    row = {
        "scope": "source:press", "type": gate.type, "params": gate.params() if params is None else params, "topic": TOPIC,
        "id": "x", "expires_at": None, "gate": {"state": state, "holds": holds, "value": None, "since": since, "text": text},
    }  # fmt: skip
    head = {"v": "1.0", "source": "press", "session": "s", "ts": since}
    report = {
        "sync": "synced", "applied": {TOPIC: {"id": "x", "status": applied, "reason": reason}},
        "effective": [] if declared else [row], "in_scope_running": 0,
    }  # fmt: skip
    waiting = [{"why": "gate", "name": "power", "text": declared, "n": 1, "since": since}] if declared else []
    run = {
        "run_id": "r", "target": "t", "started": since, "attempt": 1, "counts": {}, "known": 1, "open": False, "tasks": {},
        "running": [], "waiting": waiting, "graph": {"rev": 1, "nodes": 1}, "lost": 0,
    }  # fmt: skip
    birth = {"status": "online" if live else "offline", "session": "s"}
    for name, body in (
        ("status/press", birth),
        ("state/press/constraints", head | report),
        ("state/press/runs", head | {"runs": [run], "recent": [], "paused": False}),
    ):
        view.fold(f"cascade/{name}", json.dumps(body).encode(), now=1.0, retained=True)
    return replace(good(), view=view, heard_topics=frozenset({"site/power"} if heard else ()))


@pytest.mark.parametrize(
    ("facts", "name", "said"),
    [
        (seen(), "", ""),
        (seen(age=59), "", ""),
        (seen(age=90), "gate_unknown", "gate.power of press, for 90 s: site/power has sent nothing yet; the work of its scope"),
        (seen(age=90, text="site/power sends nothing at w"), "gate_unknown", "site/power sends nothing at w"),
        (seen(age=90, holds=False), "(gate_unknown)", "its work goes on without it, as --on-stale pass says"),
        (seen(text=REFUSED), "gate_unread", "press may not read site/power; a gate on this topic stays unknown"),
        (seen(declared=REFUSED), "gate_unread", f"press: {REFUSED}"),
        (seen(heard=True), "gate_unread", "press may not read site/power"),
        (seen(heard=True, state="closed", text=HIGH), "", ""),
        (seen(state="closed", text=HIGH, age=DAY - 1), "", ""),
        (seen(state="closed", text=HIGH, age=3 * DAY), "(gate_closed)", f"gate.power of press, for 72 h: {HIGH}"),
        (seen(FOREVER, "open", "site/power is 5 w"), "(gate_never_stale)", "a value counts for ever: gate.power of press"),
        (seen(NIGHT, "closed", "it is not yet within 22:00-06:00 UTC", age=3600), "", ""),
        (seen(applied="rejected", reason="above: needs a number", state="open"), "gate_refused", "press refuses gate.power: above: needs"),
        (seen(applied="unsupported", state="open"), "gate_refused", "press refuses gate.power: unsupported"),
        (seen(age=90, params={"topic": "cascade/#", "above": 1}), "", ""),
        (seen(age=90, live=False), "", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_gate_is_named(facts: Facts, name: str, said: str) -> None:
    """By what live engines report, and by what this client hears; a report that is no gate's harms nothing."""
    found = findings(facts, now=NOW)
    assert [f"({each.name})" if each.warning else each.name for each in found] == [name] * bool(name)
    assert all(said in each.text for each in found)
    if name == "gate_unread" and "press may" in said:
        assert found[0].steps == ("topic read site/power", "cascade acl --engine NAME --gate TOPIC")


@cs.task
def inspect() -> int:
    return 7


ROLES = Roles(engines={"press": "default"}, operators=("ann",))


@contextmanager
def mosquitto(roles: Roles) -> Iterator[tuple[Broker, str]]:
    require_mosquitto()
    users = dict.fromkeys((*ROLES.users, "witness"), PASSWORD)
    lines = [*printed_rules(roles), "user witness", "topic readwrite #"]
    with Mosquitto(users=users, acl=lines, max_queued_messages=65_000) as broker:
        yield broker, broker.url


@contextmanager
def nats(roles: Roles) -> Iterator[tuple[Broker, str]]:
    with NatsServer(lines=nats_rules(roles, "witness")) as broker:
        yield broker, broker.nats_url


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.usefixtures("quick_doctor", "patient_with_nats")
@pytest.mark.parametrize("server", [mosquitto, nats])
@pytest.mark.parametrize("permitted", [False, True])
async def test_an_engine_reads_what_its_rules_permit_and_doctor_finds_what_they_do_not(
    server: Any, permitted: bool, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 60: mosquitto grants every subscription, so only what this client hears shows it; a nats-server refuses it."""
    for network in ("MQTT", "NATS"):
        monkeypatch.setenv(f"CASCADE_{network}_PASSWORD", PASSWORD)
    roles = replace(ROLES, gates=("site/power",)) if permitted else ROLES
    with server(roles) as (_, url):

        def connected(user: str, **settings: Any) -> Any:
            where = url.replace("://", f"://{user}@")
            return cs.connector(where, required=True, connect_timeout=60.0, **settings)

        said: list[str] = []

        async def hear(topic: str, body: dict[str, Any]) -> None:
            said.extend(row["gate"]["state"] for row in body["effective"])

        async with connected("witness", presence=False) as witness:
            await witness.subscribe(state_topic("press", "constraints"), hear)
            register = {"type": POWER.type, "params": POWER.params()}
            await witness.publish(TOPIC, register, 1, retain=True)
            press = cs.Engine(connector=connected("press", source_id="press"), require_control=True)
            run = asyncio.create_task(press.run(inspect()))
            await eventually(lambda: said, 100)
            done = asyncio.Event()

            async def measure() -> None:
                while not done.is_set():
                    await witness.publish("site/power", {"w": 900}, 0)
                    await asyncio.sleep(0.1)

            sensor = asyncio.create_task(measure())
            if permitted:
                await eventually(lambda: said[-1] == "closed", 100)
            found = await asyncio.to_thread(doctor, url.replace("://", "://witness@"))
            assert ("gate_unread" in found[1]) is not permitted
            assert said[-1] == ("closed" if permitted else "unknown")
            done.set()
            await sensor
            await witness.publish(TOPIC, None, 1, retain=True)
            assert await run == 7
