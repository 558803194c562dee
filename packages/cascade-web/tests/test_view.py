"""The page's view of the wire is that of ``cascade.wire``, field by field."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from browsing import Tab
from playwright.async_api import Browser

from cascade.interfaces.topics import ack_topic, constraint_topic, state_topic, status_topic
from cascade.web import page
from cascade.wire import (
    ActiveRun,
    ConstraintsReport,
    EndedGraph,
    EndedRun,
    EngineView,
    EventMessage,
    RunGraph,
    Summary,
    TaskCounts,
    View,
    constraint_rows,
    engine_rows,
    run_rows,
    seconds,
    waiting_rows,
)

INTERFACES = Path(__file__).parents[2] / "cascade-interfaces"
RECORDED: list[dict[str, Any]] = [
    json.loads(line) for line in (INTERFACES / "tests/recorded/run.jsonl").read_text("utf-8").splitlines()
]
ENGINE = ("presence", "constraints", "runs", "graph", "ended", "summary", "host", "workflows", "ack", "project_id", "place", "seen", "heard", "first_heard", "applied_since", "listed",
          "session", "sync", "paused", "contested", "reports_of_another", "has_no_birth", "only_events")  # fmt: skip
RUN = ("source", "run_id", "place", "token", "attempt", "status", "target", "name", "tags", "started", "ended", "error", "by", "failures", "failed", "known",
       "reported", "recent", "end", "counts", "partial", "messages", "duplicates", "missing", "tasks")  # fmt: skip
SOURCE = "press-line-3"
OFFERED = {
    "topic": state_topic(SOURCE, "workflows"),
    "payload": re.findall(
        r"```json workflows\n(.*?)```", (INTERFACES / "PROTOCOL.md").read_text("utf-8"), re.DOTALL
    )[0],
    "retain": True,
}


def end(run_id: str, token: str, **more: Any) -> dict[str, Any]:
    """Return a report of an end: the example of the protocol's page, of another run."""
    page = (INTERFACES / "PROTOCOL.md").read_text("utf-8")
    report = json.loads(re.findall(r"```json ended\n(.*?)```", page, re.DOTALL)[0])
    (row,) = report["runs"]
    report["runs"] = [row | {"run_id": run_id, "token": token} | more, row]
    return {"topic": state_topic(SOURCE, "ended"), "payload": json.dumps(report), "retain": True}


def ends() -> list[dict[str, Any]]:
    """Return reports of ends of the recorded run: as it may have ended, as a lost one, and of another use of its id."""
    event = json.loads(next(each["payload"] for each in RECORDED if "/telemetry/" in each["topic"]))
    ran = [{"task_id": "audit:0[3]", "task_name": "audit", "since": event["ts"]}]
    return [
        end(event["run_id"], event["token"]),
        end(event["run_id"], event["token"], status="Lost", failures=[], interrupted=ran, by="ada"),
        end(event["run_id"], "bbbb0002", ended="2030-01-01T00:00:00+00:00"),
        end(
            event["run_id"],
            "bbbb0003",
            started="2020-01-01T00:00:00+00:00",
            ended="2020-01-02T00:00:00+00:00",
        ),
    ]


def gated() -> list[dict[str, Any]]:
    """Return what a broker has of gates: a register, and an engine whose gates hold, open and are not known."""
    topic, since = constraint_topic(f"source:{SOURCE}", "gate.power"), "2026-11-23T00:00:00+00:00"
    head = {"v": "1.0", "source": SOURCE, "session": "e", "presence": "", "ts": since}
    texts = ("site/power is 900 w, must stay below 800", "it is within 22:00-06:00 UTC", "beam/current is 3")
    entries = [
        {"state": "closed", "holds": True, "value": 900, "since": since, "text": texts[0]},
        {"state": "open", "holds": False, "value": None, "since": since, "text": texts[1]},
        {"state": "unknown", "holds": True, "value": "off", "since": since, "text": texts[0]},
    ]
    common: dict[str, Any] = {"scope": "global", "params": {}, "id": "g", "expires_at": None}
    effective = [
        {**common, "type": kind, "topic": at, "gate": entry}
        for (kind, at), entry in zip(
            (("gate.power", topic), ("gate.night", f"{topic}-2"), ("gate.power", f"{topic}-3")),
            entries,
            strict=True,
        )
    ]
    effective.append({**common, "type": "gate.odd", "topic": f"{topic}-4"})
    waiting = [
        {"why": "constraint", "topic": topic, "type": "gate.power", "id": "g", "n": 3, "since": since, "text": texts[0]},
        {"why": "gate", "name": "beam", "n": 9, "since": since, "text": texts[2]},
        {"why": "slot", "n": 2, "since": since},
    ]  # fmt: skip
    run = {
        "run_id": "r1", "target": "bake", "started": since, "attempt": 1, "counts": {"BLOCKED": 4}, "known": 5, "open": False,
        "tasks": {}, "running": [], "waiting": waiting, "graph": {"rev": 1, "nodes": 1}, "lost": 0,
    }  # fmt: skip
    messages: dict[str, Any] = {
        topic: {"type": "gate.power", "params": {"topic": "site/power", "path": "w", "above": 800}, "id": "g"},
        state_topic(SOURCE, "constraints"): {
            **head, "sync": "synced", "applied": {topic: {"id": "g", "status": "applied"}}, "effective": effective, "in_scope_running": 0
        },
        state_topic(SOURCE, "runs"): {**head, "runs": [run], "recent": [], "paused": False},
        status_topic(SOURCE): {"status": "online", "session": "s", "ts": since},
    }  # fmt: skip
    return [{"topic": at, "payload": json.dumps(each), "retain": True} for at, each in messages.items()]


ACK = {"topic": ack_topic(SOURCE), "payload": '{"v": "1.0", "by": "c", "upto": {}}', "retain": True}
CLEARED = {"topic": status_topic(SOURCE), "payload": "", "retain": False}
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**40, 1e300, "", "Ünïcode \u0000\u001b[31m\u202e", "x" * 2_000, "2026-11-23T00:00:00+00:00", [], {}, [1], {"a": {"b": 1}},
)  # fmt: skip


def plain(value: Any) -> Any:
    """Return what a value is as JSON, a message with the names that the page has for it."""
    if isinstance(value, msgspec.Struct):
        found = {name: plain(each) for name, each in msgspec.structs.asdict(value).items() if name != "v"}
        return SHAPES.get(type(value), dict)(found | times(found))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "_asdict"):  # a named tuple
        return plain(value._asdict())
    if isinstance(value, set | frozenset | list | tuple | deque):
        return [plain(each) for each in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return None if value is msgspec.UNSET else value


def said(event: EventMessage) -> dict[str, Any]:
    return {"source": event.source, "run_id": event.run_id, "seconds": event.seconds} | plain(event.content)  # type: ignore[no-any-return]


def times(found: dict[str, Any]) -> dict[str, Any]:
    """Return the times of a message in seconds."""
    here = {key: seconds(found[key]) for key in ("started", "ended", "since", "until") if key in found}
    return here | ({"seconds": seconds(found.pop("ts"))} if "ts" in found else {})


def run_shape(found: dict[str, Any]) -> dict[str, Any]:
    graph, tasks = found.pop("graph"), found.pop("tasks")
    return found | {
        "graph_rev": graph["rev"],
        "graph_nodes": graph["nodes"],
        "tasks": [{"name": name, **each} for name, each in tasks.items()],
    }


def ended_shape(found: dict[str, Any]) -> dict[str, Any]:
    return found | {"tasks": [{"name": name, **each} for name, each in found["tasks"].items()]}


def totals_shape(found: dict[str, Any]) -> dict[str, Any]:
    ms = found.pop("ms") or {"n": 0, "sum": 0, "max": 0}
    return found | {"ended": ms["n"], "sum_ms": ms["sum"], "max_ms": ms["max"]}


def graph_shape(found: dict[str, Any]) -> dict[str, Any]:
    edges = [
        (start, end, next((each for each in rest[:1] if isinstance(each, str)), ""))
        for start, end, *rest in found["edges"]
    ]
    return found | {"edges": [{"start": start, "end": end, "kind": kind} for start, end, kind in edges]}


SHAPES: dict[type, Any] = {
    ActiveRun: run_shape,
    TaskCounts: totals_shape,
    RunGraph: graph_shape,
    EndedGraph: graph_shape,
    EndedRun: ended_shape,
    Summary: lambda found: found | {"up": bool(found["up"])},
    ConstraintsReport: lambda found: {
        key: each for key, each in found.items() if key not in ("over_limit", "effective_more")
    },
}


def python_view(messages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the Python view of recorded messages, in the shape that the page's ``cascade.view`` returns."""
    view, now = View(), 0.0
    for message in messages:
        now = message["received"]
        view.fold(message["topic"], message["payload"].encode(), now=now, retained=message["retained"])
    return {
        "engines": [dump_engine(engine, now) for _, engine in sorted(view.engines.items())],
        "runs": [{name: plain(getattr(run, name)) for name in RUN} for run in view.runs.values()],
        "registers": plain(view.registers),
        "logs": [said(event) for event in view.logs],
        "data": [said(event) for event in view.data.values()],
        "store": view.store,
        "not_understood": view.not_understood,
        "left_out": view.left_out,
        "rows": {
            "engines": engine_rows(view, now),
            "runs": run_rows(view, now),
            "constraints": constraint_rows(view, now),
            "waiting": [plain(waiting_rows(view, run, now)) for run in view.runs.values()],
        },
    }


def dump_engine(engine: EngineView, now: float) -> dict[str, Any]:
    found = {name: plain(getattr(engine, name)) for name in ENGINE}
    for name in ("summary", "ack"):
        if found[name] is not None:
            found[name]["source"] = engine.source
    reason = engine.presence.reason if engine.presence else ""
    return {
        "source": engine.source,
        "status": engine.status(now),
        "reason": reason,
        "has_no_state": engine.has_no_state(now),
        **found,
    }


def without_words(view: dict[str, Any]) -> dict[str, Any]:
    """Replace the text of what is wrong with a register by whether something is: the two languages quote differently."""
    for register in view["registers"].values():
        register["problem"] = bool(register["problem"])
    return view


def over_nats(message: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a run and project with dots, as nats-server shows it to MQTT clients if its engine is on NATS."""
    _, _, org, project, run_id, kind = message["topic"].split("/")
    envelope = json.loads(message["payload"]) | {"run_id": f"{run_id}.2", "project_id": f"{project}.2"}
    topic = f"cascade/telemetry/{org}/{project}=2E2/{run_id}=2E2/{kind}"
    return {**message, "topic": topic, "payload": json.dumps(envelope)}


def forged(messages: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """Put events between messages as another engine may publish them: of another project, or with another token."""
    events = [each for each in messages if "/telemetry/" in each["topic"]]
    found = list(messages)
    for event in chance.choices(events, k=20):
        body = {"type": "LifecycleEvent", "event": "ENGINE_STOPPED", "status": "Failed", "error": "forged"}
        changes = [{"body": body}, {}][chance.randrange(2)]
        envelope = json.loads(event["payload"]) | {"token": "bad", "attempt": 9, "event_id": ""} | changes
        topic = event["topic"]
        if chance.random() < 0.5:
            topic = topic.replace("/local/default/", "/local/evil/")
            envelope["project_id"] = "evil"
        found.insert(chance.randrange(len(found)), {**event, "topic": topic, "payload": json.dumps(envelope)})
    return found


def as_received(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add when each message arrived: one each quarter of a second."""
    return [
        {
            "topic": each["topic"],
            "payload": each["payload"],
            "retained": each["retain"],
            "received": number / 4,
        }
        for number, each in enumerate(messages)
    ]


def damaged(messages: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """Lose, repeat and reorder messages, and change values in them."""
    found = [each for each in messages if chance.random() > 0.3]
    found += chance.choices(messages, k=len(messages) // 10)
    for _ in range(len(found) // 4):
        at = chance.randrange(len(found) - 1)
        found[at], found[at + 1] = found[at + 1], found[at]
    return [
        {**each, "payload": altered(each["payload"], chance)} if chance.random() < 0.3 else each
        for each in found
    ]


def altered(payload: str, chance: random.Random) -> str:
    """Return a payload with one value replaced, or cut off."""
    if chance.random() < 0.1 or not payload:
        return payload[: chance.randrange(len(payload) + 1)]
    document = json.loads(payload)
    place = document
    while isinstance(place, dict | list) and place:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or chance.random() < 0.3:
            place[key] = chance.choice(ODD)
            break
        place = place[key]
    return json.dumps(document)


def differences(one: Any, other: Any, where: str = "view") -> list[str]:
    """Name every field in which two views differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted({*one, *other})
        return [each for name in names for each in differences(one.get(name, "(missing)"), other.get(name, "(missing)"), f"{where}.{name}")]  # fmt: skip
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [each for at, pair in enumerate(zip(one, other, strict=True)) for each in differences(*pair, f"{where}[{at}]")]  # fmt: skip
    return [] if one == other and isinstance(one, bool) == isinstance(other, bool) else [f"{where}: Python {one!r:.300}, page {other!r:.300}"]  # fmt: skip


@pytest.mark.full
@pytest.mark.process
@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_reads_recorded_traffic_as_python_does(
    browser: Browser, seeded_random: random.Random
) -> None:
    """Whole, in every part of it, and with messages that are lost, repeated, reordered and damaged."""
    whole = as_received(RECORDED)
    cases = [
        whole,
        *(whole[:end] for end in range(1, len(whole), 7)),
        *(whole[at : at + 1] for at in range(len(whole))),
    ]
    events = [each for each in RECORDED if "/telemetry/" in each["topic"]]
    late = [
        events[5:],
        [*events[5:], *RECORDED[-3:]],
        [*events, ACK, events[0], CLEARED],
        [OFFERED, *RECORDED],
    ]
    cases += [as_received(each) for each in late]
    cases += [as_received([over_nats(each) for each in events])]
    invented = [json.loads(events[0]["payload"]) | {"source": f"n{number}"} for number in range(1_100)]
    flood = [{**events[0], "payload": json.dumps(each)} for each in invented]
    cases += [as_received([*flood[:600], *RECORDED, *flood[600:]])]
    # a broker that has lost its store, and one that shows nothing that it holds
    without_registers = [each for each in RECORDED if not each["topic"].startswith("cascade/constraints/")]
    cases += [
        as_received([ACK, *without_registers]),
        as_received([{**each, "retain": False} for each in without_registers]),
    ]
    for each in ends():
        cases += [as_received([*RECORDED[:at], each, *RECORDED[at:]]) for at in range(len(RECORDED) + 1)]
        cases += [as_received(damaged([*RECORDED[:5], *[each] * 10], seeded_random)) for _ in range(20)]
    both = [*RECORDED, *ends() * 3]
    cases += [as_received(seeded_random.sample(both, len(both))) for _ in range(50)]
    cases += [as_received(damaged([*RECORDED[:5], *[OFFERED] * 10], seeded_random)) for _ in range(50)]
    cases += [as_received(gated()[:end]) for end in (1, 2, 3, 4)]
    cases += [as_received(seeded_random.sample(gated(), 3)) for _ in range(5)]
    cases += [as_received(damaged(gated() * 4, seeded_random)) for _ in range(80)]
    cases += [as_received(forged(RECORDED, seeded_random)) for _ in range(30)]
    cases += [as_received(damaged(RECORDED, seeded_random)) for _ in range(150)]
    tab = await Tab.of(browser)
    await tab.load(page())
    views = await tab.page.evaluate(
        "(cases) => JSON.stringify(cases.map((each) => cascade.view(each)))", cases
    )
    await tab.close()
    assert tab.complaints == []
    pairs = zip(cases, json.loads(views), strict=True)
    found = [
        (differences(without_words(python_view(case)), without_words(view)), case) for case, view in pairs
    ]
    assert [(each, json.dumps(case)[-3_000:]) for each, case in found if each][:3] == []
