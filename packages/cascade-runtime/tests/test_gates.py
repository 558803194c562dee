"""Gates hold work of an engine while the plant says so, over a connector inside the process and with a clock set by hand."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from control_parts import (
    Constraint,
    Gates,
    GateState,
    MessageOutcome,
    Registers,
    Rejected,
    constraints_report,
    parse,
)
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import ConfigurationError, TaskState
from cascade.interfaces.gates import Gate, gate
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint
from cascade.spec import task
from cascade.testing import ManualClock
from cascade.testkit import eventually as on_any_clock
from cascade.wire.reading import seconds

Eventually = Callable[[Callable[[], object]], Awaitable[None]]
NOVEMBER = 1_795_600_800.0
"""2026-11-25, 10:00 in UTC."""
PAGE = (Path(__file__).parents[2] / "cascade-interfaces" / "PROTOCOL.md").read_text("utf-8")
POWER = gate("power", topic="site/power", path="w", above=800, settle=60, stale=600)


@task
async def step(x: int = 0) -> int:
    return x


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOVEMBER)


@pytest.fixture
def engine(hub: LocalHub, clock: ManualClock) -> Engine:
    return Engine(connector=LocalConnector(hub, source_id="press-3"), clock=clock, require_control=True)


async def put(desk: Desk, scope: str, gate: Gate) -> None:
    """Write the register of a gate."""
    message = {"type": gate.type, "params": gate.params()}
    await desk.connector.publish(constraint_topic(scope, gate.type), message, 1, retain=True)


@pytest.fixture
def eventually(clock: ManualClock) -> Eventually:
    """Return how to wait for a condition, for which reports have to be published: a little time passes."""

    async def wait(condition: Callable[[], object]) -> None:
        def after_a_while() -> object:
            clock.advance(0.05)
            return condition()

        await on_any_clock(after_a_while, 10)

    return wait


def parse_register(register: dict[str, Any]) -> MessageOutcome:
    return parse(constraint_topic(register["scope"], register["type"]), json.dumps(register).encode())


def subscriptions(topic: str) -> int:
    """Return how many subscriptions of gates to a topic there are."""
    return sum(each.get_name() == f"cascade gate {topic}" for each in asyncio.all_tasks())


def said(desk: Desk, name: str = "gate.power") -> dict[str, Any]:
    """Return what the last report says of a gate."""
    rows = desk.last["effective"]
    return next((row["gate"] for row in rows if row["type"] == name), {})


async def test_a_run_holds_says_why_and_goes_on(
    desk: Desk, hub: LocalHub, clock: ManualClock, engine: Engine, eventually: Eventually
) -> None:
    """Unknown, too high, back but not for long enough, open; then a stopped sensor holds what runs at its next checkpoint."""
    runs: list[dict[str, Any]] = []
    paused: set[bool] = set()

    async def hear(topic: str, body: dict[str, Any]) -> None:
        runs.extend(body["runs"])
        paused.add(body["paused"])

    await desk.connector.subscribe("cascade/state/press-3/runs", hear)
    going = asyncio.Event()

    @task
    async def long() -> str:
        going.set()
        while not stopped.is_set():
            await checkpoint()
            await asyncio.sleep(0)
        return "done"

    stopped = asyncio.Event()
    await put(desk, "global", POWER)
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(long()))
    await eventually(lambda: said(desk).get("state") == "unknown")
    for watts, words in (
        (900, "is 900 w, must stay below 800"),
        (700.5, "is 700.5 w, must stay below 800 for 60 s"),
    ):
        hub.publish("site/power", json.dumps({"w": watts}).encode())
        clock.advance(1)
        await eventually(partial(lambda words: said(desk).get("text") == f"site/power {words}", words))
    assert (said(desk)["state"], said(desk)["holds"], said(desk)["value"]) == ("closed", True, 700.5)
    clock.advance(58)
    assert not going.is_set()
    await eventually(lambda: events[-1].reason and "site/power" in events[-1].reason)
    clock.advance(2)
    await asyncio.wait_for(going.wait(), 50)
    await eventually(lambda: said(desk).get("state") == "open")
    clock.advance(600)
    await eventually(lambda: events[-1].state is TaskState.BLOCKED)
    assert (
        events[-1].reason
        == f"site/power has sent nothing for 10 min ({constraint_topic('global', 'gate.power')})"
    )
    clock.advance(11)
    await eventually(lambda: runs[-1]["waiting"])
    assert runs[-1]["waiting"][0]["text"] == "site/power has sent nothing for 10 min"
    assert runs[-1]["running"][0]["paused"]
    assert runs[-1].get("eta_s") is None
    assert paused == {False}
    stopped.set()
    await desk.lift("global", "gate.power")
    assert await run == "done"


@pytest.mark.parametrize(
    "order",
    [
        *itertools.permutations(["gate.power", "pause", "concurrency"]),
        *itertools.permutations(["gate.power", "gate.level", "pause"]),
    ],
)
async def test_gates_a_pause_and_a_limit_are_lifted_in_any_order(
    order: tuple[str, ...], desk: Desk, hub: LocalHub, engine: Engine, eventually: Eventually
) -> None:
    """G3: each of them permits no more than without it; nothing starts before all gates and the pause are gone."""
    running = most = started = 0
    hold = asyncio.Event()

    @task
    async def counted(x: int) -> int:
        nonlocal running, most, started
        running, started = running + 1, started + 1
        most = max(most, running)
        await hold.wait()
        running -= 1
        return x

    hub.publish("site/power", b'{"w": 900}', retain=True)
    for kind in order:
        if kind in ("gate.power", "gate.level"):
            await put(desk, "global", POWER._replace(name=kind.removeprefix("gate.")))
        else:
            await desk.put("global", kind, **({"limit": 1} if kind == "concurrency" else {}))
    run = asyncio.create_task(engine.run(counted.map(x=[1, 2, 3])))
    await eventually(lambda: all(desk.applied("global", kind) for kind in order))
    left = [*order]
    for kind in order:
        assert started == 0 or not {"gate.power", "gate.level", "pause"} & {*left}
        left.remove(kind)
        await desk.lift("global", kind)
        await eventually(partial(lambda kind: not desk.applied("global", kind), kind))
    await eventually(lambda: started == 3 if order[-1] == "concurrency" else started > 0)
    hold.set()
    assert await run == [1, 2, 3]
    assert most == 3


async def test_two_gates_on_one_topic_and_one_on_the_clock(
    desk: Desk, hub: LocalHub, clock: ManualClock, engine: Engine, eventually: Eventually
) -> None:
    """Each for its scope, with one subscription; a gate that comes later learns what the other one has heard."""
    low, night = gate("low", topic="site/power", path="w", below=100), gate("night", window="22:00-06:00 UTC")
    await put(desk, "source:press-3", gate("high", topic="site/power", path="w", above=800))
    await put(desk, "task:step", night)
    run = asyncio.create_task(engine.run(step(1)))
    await eventually(lambda: said(desk, "gate.night").get("state") == "closed")
    hub.publish("site/power", b'{"w": 50}')
    await eventually(lambda: said(desk, "gate.high").get("state") == "open")
    await put(desk, "global", low)
    await eventually(lambda: said(desk, "gate.low").get("state") == "closed")
    assert said(desk, "gate.night")["text"] == "it is not yet within 22:00-06:00 UTC"
    hub.publish("site/power", b'{"w": 150}')
    await eventually(lambda: said(desk, "gate.low").get("state") == "open")
    clock.advance(11.9 * 3600)
    assert not run.done()
    clock.advance(0.1 * 3600)
    assert await run == 1


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"above": "hot"}, "above: needs a number, not 'hot'"),
        ({"inside": [2, 1]}, "inside: needs the lower number first: 1 and 2"),
        ({"above": 1, "path": "/w"}, "path: is written without its first slash: 'w'"),
        ({"above": 1, "settle_s": -1}, "settle_s: needs from 0 to a year, not -1 s"),
        ({"above": 1, "topic": "site/#"}, "topic: 'site/#' has a wildcard"),
        (
            {"above": 1, "topic": "cascade/state/x/runs"},
            "topic: 'cascade/state/x/runs': topics that begin with",
        ),
        ({"above": 1, "topic": "$SYS/uptime"}, "topic: '$SYS/uptime': topics that begin with"),
        ({"topic": None, "window": "08:00-08:00 UTC"}, "window: '08:00-08:00 UTC' never opens"),
    ],
)
async def test_a_wrong_register_leaves_the_last_valid_value_in_force(
    message: dict[str, Any], reason: str, desk: Desk, hub: LocalHub, engine: Engine, eventually: Eventually
) -> None:
    """Refused by every engine, with the key and the reason in its report."""
    hub.publish("site/power", b'{"w": 100}', retain=True)
    await put(desk, "global", gate("power", topic="site/power", path="w", above=800))
    topic = constraint_topic("global", "gate.power")
    wrong = {"type": "gate.power", "params": {"topic": "site/power", **message}}
    hold = asyncio.Event()

    @task
    async def waiting() -> None:
        await hold.wait()

    run = asyncio.create_task(engine.run(waiting()))
    await eventually(lambda: said(desk).get("state") == "open")
    await desk.connector.publish(topic, wrong, 1, retain=True)
    await eventually(lambda: desk.status(topic) == "rejected")
    assert reason in desk.last["applied"][topic]["reason"]
    assert said(desk)["state"] == "open"
    hold.set()
    await run


async def test_the_101st_topic_is_refused(desk: Desk, engine: Engine, eventually: Eventually) -> None:
    """A hundred topics are read, however many gates; further registers are refused until there is room."""
    for number in range(100):
        await put(desk, "global", gate(f"g{number}", topic=f"t/{number}", above=1))
    await put(desk, "global", gate("same", topic="t/7", below=0))
    run = asyncio.create_task(engine.run(step(1)))
    await eventually(lambda: desk.applied("global", "gate.same"))
    await put(desk, "global", gate("more", topic="t/100", above=1))
    more = constraint_topic("global", "gate.more")
    await eventually(lambda: desk.status(more) == "rejected")
    assert "read 100 topics already" in desk.last["applied"][more]["reason"]
    run.cancel()
    await asyncio.wait({run})


def test_a_gate_needs_a_topic_of_its_own() -> None:
    """The older form of a register holds no gate: two gates of one scope would replace each other there."""
    rejected = parse("cascade/constraints/global", b'{"type": "gate.power"}')
    assert rejected == Rejected("a gate needs a topic that ends with /@gate.NAME")


def test_the_page_is_true(clock: ManualClock) -> None:
    """The registers of the protocol's page are obeyed as they stand there, and a report has the entry that it shows."""
    power, night = (json.loads(text) for text in re.findall(r"```json gate\n(.*?)```", PAGE, re.DOTALL))
    for register in (power, night):
        parsed = parse_register(register)
        assert isinstance(parsed, Constraint)
        assert {**register["params"], **parsed.rule.params()} == register["params"]
    entry = json.loads(re.findall(r"```json gate_entry\n(.*?)```", PAGE, re.DOTALL)[0])
    state = GateState(Gate.from_params("power", power["params"]), 0.0)
    state.receive(900, 1.0)
    reading = state.reading()._replace(since=seconds(entry["since"]) or 0.0)
    registers = Registers(clock, own_scopes=("source:press-line-3",))
    registers.apply(constraint_topic(power["scope"], power["type"]), parse_register(power))
    said = Gates(lambda key: reading, lambda: 0)
    report = constraints_report(
        registers, said, source="s", session="", presence="", sync="synced", in_scope_running=0, now=NOVEMBER
    )
    assert report["effective"][0]["gate"] == entry


async def test_a_topic_that_floods_is_read_no_longer(
    desk: Desk, hub: LocalHub, clock: ManualClock, engine: Engine, eventually: Eventually
) -> None:
    """Its gates are unknown, with the rate; it is read again after a minute, and G2: nothing flaps meanwhile."""
    await put(desk, "global", gate("power", topic="site/power", above=800))
    run = asyncio.create_task(engine.run(step(1)))
    await eventually(lambda: said(desk).get("state") == "unknown")
    assert subscriptions("site/power") == 1
    for _ in range(600):
        clock.advance(0.01)
        hub.publish("site/power", b"900")
        await asyncio.sleep(0)
    await eventually(lambda: "sends 100 values/s" in said(desk).get("text", ""))
    await eventually(lambda: subscriptions("site/power") == 0)
    clock.advance(60)
    await eventually(lambda: subscriptions("site/power") == 1)
    hub.publish("site/power", b"100")
    assert await run == 1


@pytest.mark.parametrize(("rate", "floods"), [(100, True), (40, False)])
async def test_a_value_that_flaps_opens_nothing(
    rate: int,
    floods: bool,
    desk: Desk,
    hub: LocalHub,
    clock: ManualClock,
    engine: Engine,
    eventually: Eventually,
) -> None:
    """Row 59, and G2: above and below the bound in turns, each for less than the settle time; once it is steady, the gate opens."""
    await put(desk, "global", gate("power", topic="site/power", above=800, settle=1))
    run = asyncio.create_task(engine.run(step(1)))
    await eventually(lambda: said(desk).get("state") == "unknown")
    for number in range(6 * rate):
        hub.publish("site/power", b"900" if number % 2 else b"700")
        clock.advance(1 / rate)
        await asyncio.sleep(0)
    await eventually(
        lambda: "sends 100 values/s" in said(desk)["text"] if floods else said(desk)["state"] == "closed"
    )
    await eventually(lambda: subscriptions("site/power") == (0 if floods else 1))
    assert "open" not in {row["gate"]["state"] for report in desk.reports for row in report["effective"]}
    assert not run.done()
    clock.advance(60)
    await eventually(lambda: subscriptions("site/power") == 1)
    hub.publish("site/power", b"700")
    await eventually(run.done)
    assert await run == 1


async def test_a_program_declares_gates_of_its_own(
    hub: LocalHub, clock: ManualClock, eventually: Eventually
) -> None:
    """They hold its runs whatever operators write, and are gone with the last run."""
    declared = [
        gate("beam", topic="beam/current", below=50, settle=10),
        gate("day", window="09:00-17:00 UTC"),
    ]
    engine = Engine(connector=LocalConnector(hub, source_id="press-3"), clock=clock, gates=declared)
    async with Desk(hub) as desk:
        runs: list[dict[str, Any]] = []

        async def hear(topic: str, body: dict[str, Any]) -> None:
            runs.extend(body["runs"])

        await desk.connector.subscribe("cascade/state/press-3/runs", hear)
        run = asyncio.create_task(engine.run(step(1)))
        await eventually(lambda: subscriptions("beam/current") == 1)
        hub.publish("beam/current", b"49.5")
        clock.advance(1)
        await eventually(
            lambda: runs and [(row["why"], row.get("name"), row.get("text")) for row in runs[-1]["waiting"]]
            == [("gate", "beam", "beam/current is 49.5, must stay above 50")]
        )  # fmt: skip
        hub.publish("beam/current", b"51")
        for _ in range(10):
            await asyncio.sleep(0)
        clock.advance(9.9)
        assert not run.done()
        clock.advance(0.1)
        assert await run == 1
        await eventually(lambda: subscriptions("beam/current") == 0)


async def test_a_window_needs_no_broker(clock: ManualClock) -> None:
    """A program without any connector can wait for the night."""
    run = asyncio.create_task(
        Engine(clock=clock, gates=[gate("night", window="22:00-06:00 UTC")]).run(step(1))
    )
    await asyncio.sleep(0)
    clock.advance(11 * 3600)
    assert not run.done()
    clock.advance(3600)
    assert await run == 1


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (POWER, "takes a list; write gates=[cs.gate('power', topic=..., above=...)]"),
        ([3], "takes what cs.gate(...) returns, not 3"),
        ([POWER, POWER], "has two gates called 'power'; give each a name of its own"),
        ([POWER], "the gate 'power' reads the topic 'site/power', which needs a connector with watch()"),
        ([gate(f"g{n}", topic=f"t/{n}", above=1) for n in range(101)], "has gates on more than 100 topics"),
    ],
)
def test_gates_that_an_engine_cannot_obey_are_refused(gates: Any, message: str) -> None:
    """When the engine is made: a gate that nobody reads would hold for ever."""
    with pytest.raises(ConfigurationError) as raised:
        Engine(gates=gates)
    assert message in str(raised.value)
