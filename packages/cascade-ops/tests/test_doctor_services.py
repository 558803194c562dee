"""``cascade doctor`` on services: who may start what, requests that are kept, and services that get none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from doctor_facts import FAR, NOW, good
from ops_modules import Ask, Configuration, Facts, findings, lines_of, parted
from paho.mqtt import publish
from roles import printed_rules

import cascade as cs
from cascade.interfaces import Message
from cascade.interfaces.access import Roles
from cascade.interfaces.broker_programs import DURABLE
from cascade.testkit.brokers import Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.wire import OfferedWorkflow, WorkflowsReport
from testing_tools.engines import PASSWORD

Doctor = Callable[..., tuple[int, set[str], set[str]]]
ROLES = Roles(engines={"press": "default"}, operators=("ann",), requesters={"hmi": ("audit",)})
ACCESS = ("user hmi", "topic write cascade/requests/+/audit", "", "user all", "topic cascade/#")
OPEN = (
    "topic write cascade/requests/+/audit",
    "user cal",
    "topic write cascade/#",
    "topic deny cascade/requests/#",
)


def offering(*names: str, source: str = "press", problem: str = "") -> dict[str, WorkflowsReport]:
    """What a live service reports."""
    row: dict[str, Any] = {"doc": "", "params": {}, "overlap": "skip", "accepting": True}
    rows = [OfferedWorkflow(name=name, **row) for name in names]
    head: dict[str, Any] = {"v": "1.0", "source": source, "session": "s", "presence": "p", "ts": ""}
    return {source: WorkflowsReport(**head, workflows=rows, problem=problem)}


def configured(*access: str, **settings: str) -> Configuration:
    """A mosquitto of this machine with these settings and this access list."""
    known = good().configuration
    assert known is not None
    listed = {"acl_file": "acl"} if access else {}
    return replace(known, settings={**known.settings, **listed, **settings}, access=access or None)


@pytest.mark.parametrize(
    ("change", "expected", "said"),
    [
        ({}, [], ["services offer: audit, clean of press"]),
        (
            {"asked": {("press", "audit"): Ask.ANSWERED, ("press", "clean"): Ask.DENIED}},
            [],
            ["this client may start: audit of press", "this client may not start: clean of press"],
        ),
        ({"asked": {("press", "audit"): Ask.SILENT}}, ["requests_unheard"], []),
        ({"asked": {("press", "audit"): Ask.SILENT, ("press", "clean"): Ask.ANSWERED}}, [], []),
        ({"services": offering("audit", problem="denied")}, ["requests_unheard"], []),
        ({"services": {}, "kept_requests": ("cascade/requests/press/audit",)}, ["(retained_requests)"], []),
        ({"target": replace(FAR, user=""), "asked": {("press", "audit"): Ask.ANSWERED}}, ["(open_start)"], []),
        (
            {"configuration": configured(*ACCESS)},
            [],
            [
                "by the broker's configuration hmi, all may start: audit of press",
                "by the broker's configuration all may start: clean of press",
            ],
        ),
        (
            {"configuration": configured(*OPEN, allow_anonymous="true")},
            ["(open_start)"],
            [
                "by the broker's configuration clients without a user may start: audit of press",
                "by the broker's configuration nobody may start: clean of press",
            ],
        ),
        ({"configuration": configured(*OPEN, listener="1883")}, [], []),
        ({"configuration": configured(allow_anonymous="true")}, ["(open_start)"], []),
        ({"configuration": configured(listener="1883")}, [], ["by the broker's configuration every user may start"]),
        ({"configuration": configured(plugin="dynamic_security.so")}, [], []),
        ({"configuration": configured("pattern write cascade/requests/%u/#")}, [], ["every user may start"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_service_is_named(
    change: dict[str, Any], expected: list[str], said: list[str]
) -> None:
    """With who may start what, as far as the requests that were tried and the broker's access list show it."""
    known = {"services": offering("audit", "clean"), "configuration": configured(listener="1883")}
    facts: Facts = replace(good(), **{**known, **change})
    found = findings(facts, now=NOW)
    assert [f"({each.name})" if each.warning else each.name for each in found] == expected
    lines = "\n".join(lines_of(facts, *parted(found), 200))
    for each in said:
        assert each in lines


@cs.task
def inspect() -> int:
    return 7


@cs.workflow
def audit() -> cs.LazyResult[int]:
    return inspect()


@contextmanager
def guarded(rules: list[str]) -> Iterator[Mosquitto]:
    """A mosquitto with an access list, and a user who may do everything."""
    require_mosquitto()
    users = dict.fromkeys((*ROLES.users, "witness"), PASSWORD)
    lines = [*rules, "user witness", "topic readwrite #"]
    with Mosquitto(users=users, acl=lines, max_queued_messages=65_000, lines=DURABLE[1:]) as broker:
        yield broker


def as_user(broker: Any, user: str) -> str:
    return str(broker.url).replace("://", f"://{user}@")


async def beside_a_service(broker: Any, watcher: str, examine: Callable[[], Any]) -> Any:
    """Call a function while the service press offers audit at a broker."""
    connector = cs.connector(as_user(broker, "press"), source_id="press", required=True)
    serving = asyncio.create_task(cs.aserve(audit, connector=connector))
    try:
        async with cs.connector(as_user(broker, watcher), presence=False) as client:  # type: ignore[attr-defined]
            async for item in client.watch("cascade/state/press/workflows"):
                if isinstance(item, Message) and item.payload:
                    break
        return await asyncio.to_thread(examine)
    finally:
        serving.cancel()
        await asyncio.wait({serving})


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.usefixtures("quick_doctor")
@pytest.mark.wrong_messages("a request is retained on purpose", "cascade/requests/#")
def test_who_may_start_what_is_found_by_asking(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator may not, and a requester may; a retained request is found by who may read it."""
    from cascade.cli import main

    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)

    def examine(broker: Mosquitto) -> tuple[str, str, Any]:
        login: Any = {"username": "witness", "password": PASSWORD}
        where = {"hostname": broker.host, "port": broker.port, "auth": login}
        publish.single("cascade/requests/press/audit", '{"id": "kept"}', 1, retain=True, **where)
        printed = []
        for user in ("hmi", "ann"):
            main(["doctor", "--broker", as_user(broker, user), "--probe-write"])
            printed.append(capsys.readouterr().out)
        return printed[0], printed[1], doctor(as_user(broker, "ann"))

    with guarded(printed_rules(ROLES)) as broker:
        of_requester, of_operator, again = asyncio.run(
            beside_a_service(broker, "ann", lambda: examine(broker))
        )
    assert "ok       this client may start: audit of press" in of_requester
    assert "ok       services offer: audit of press" in of_operator
    assert "by the broker's configuration hmi, witness may start: audit of press" in of_operator
    assert again == (0, set(), {"retained_requests"})


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.usefixtures("quick_doctor")
def test_a_service_that_may_not_read_its_requests_is_found(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On mosquitto by its silence, as that broker grants every subscription; where a broker refuses it, the service reports it."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
    silent = [line for line in printed_rules(ROLES) if "topic read cascade/requests" not in line]
    with guarded(silent) as broker:
        found = asyncio.run(
            beside_a_service(broker, "ann", lambda: doctor(as_user(broker, "witness"), "--probe-write"))
        )
    assert (found[0], found[1]) == (1, {"requests_unheard"})
    lines = [line for line in printed_rules(ROLES, "--for", "nats") if '"cascade.requests.' not in line]
    lines[2:2] = [f'    {{ user: "witness", password: "{PASSWORD}" }}']
    with NatsServer(lines=lines) as server:
        found = asyncio.run(beside_a_service(server, "witness", lambda: doctor(as_user(server, "witness"))))
    assert "requests_unheard" in found[1]
