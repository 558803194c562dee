"""What an engine reports for watchers (section 5 of the contract), read as a command reads it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub, ThreadExecutor, checkpoint
from cascade.spec import task
from cascade.testkit import eventually
from cascade.testkit.waiting import busyness
from cascade.wire import ActiveRun, RunGraph, RunsReport, View, run_rows, seconds

SOURCE = "press-3"


class Watcher:
    """A reader on the other side: its view, and every payload by topic."""

    def __init__(self, hub: LocalHub) -> None:
        self.connector = LocalConnector(hub, source_id="watcher")
        self.view = View()
        self.raw: list[tuple[str, dict[str, Any]]] = []

    async def __aenter__(self) -> Watcher:
        await self.connector.connect()
        await self.connector.subscribe("cascade/#", self._receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connector.disconnect()

    async def _receive(self, topic: str, data: dict[str, Any]) -> None:
        self.raw.append((topic, data))
        self.view.fold(topic, json.dumps(data).encode(), now=0.0)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [data for topic, data in self.raw if topic == f"cascade/state/{SOURCE}/{kind}"]

    @property
    def report(self) -> RunsReport | None:
        engine = self.view.engines.get(SOURCE)
        return engine.runs if engine else None

    @property
    def run(self) -> ActiveRun | None:
        return self.report.runs[0] if self.report and self.report.runs else None

    def waiting(self) -> dict[str, int]:
        """Return how many tasks wait, by reason and what it names."""
        rows = self.run.waiting if self.run else ()
        return {f"{row.why} {row.type or row.name}".strip(): row.n for row in rows}


@pytest.fixture
async def watcher(hub: LocalHub) -> AsyncIterator[Watcher]:
    async with Watcher(hub) as watcher:
        yield watcher


class Gate:
    """Tasks that run until the test lets them end, and what they note."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.hold = task(self._hold, name="hold")

    async def _hold(self, number: int) -> int:
        await self.open.wait()
        return number


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@task
def add(numbers: Sequence[int]) -> int:
    return sum(numbers)


@task
def fail(secret: str) -> None:
    raise ValueError(f"password={secret}\nno such file")


def engine(hub: LocalHub, **options: Any) -> Engine:
    return Engine(connector=LocalConnector(hub, source_id=SOURCE), **options)


async def until_running(watcher: Watcher, count: int) -> ActiveRun:
    await eventually(lambda: watcher.run is not None and watcher.run.counts.get("RUNNING") == count)
    assert watcher.run is not None
    return watcher.run


def write(hub: LocalHub, scope: str, kind: str, **params: Any) -> None:
    payload = json.dumps({"type": kind, "params": params, "id": f"my-{kind}"}).encode()
    hub.publish(constraint_topic(scope, kind), payload, retain=True)


# Runs


async def test_a_run_shows_what_is_known_what_runs_and_how_long_it_took(
    hub: LocalHub, watcher: Watcher, gate: Gate
) -> None:
    """`known`, `open`, `tasks`, `running`, `name` and `tags`, while the run goes on."""
    target = add([gate.hold(number) for number in range(3)])
    going = asyncio.create_task(engine(hub).run(target, run_id="r1", name="nightly", tags={"line": 3}))
    row = await until_running(watcher, 3)
    assert (row.run_id, row.target, row.name, row.tags, row.attempt) == (
        "r1",
        "add",
        "nightly",
        {"line": 3},
        1,
    )
    assert (row.known, row.open, row.eta_s, row.lost) == (4, False, None, 0)
    assert {name: (each.known, each.counts) for name, each in row.tasks.items()} == {
        "hold": (3, {"RUNNING": 3}),
        "add": (1, {}),
    }
    assert [each.task_id for each in row.running] == ["hold:0", "hold:1", "hold:2"]
    assert all(seconds(each.since) is not None and not each.paused for each in row.running)
    report = watcher.report
    assert report is not None
    assert (report.org_id, report.project_id, report.paused) == ("local", "default", False)
    gate.open.set()
    assert await going == 3
    await eventually(lambda: watcher.report is not None and watcher.report.recent)


async def test_a_run_that_ended_stands_in_recent_with_its_error_masked(
    hub: LocalHub, watcher: Watcher
) -> None:
    """How it ended, when, and the counts; the newest first, also when the engine has stopped."""
    with pytest.raises(ValueError, match="no such file"):
        await engine(hub).run(fail("hunter2"), run_id="r1")
    await engine(hub).run(add([1]), run_id="r2", tags={"token": "x"})
    await eventually(lambda: watcher.report is not None and len(watcher.report.recent) == 2)
    assert watcher.report is not None
    newest, oldest = watcher.report.recent
    assert (newest.run_id, newest.status, newest.counts, newest.tags) == (
        "r2",
        "Succeeded",
        {"COMPLETED": 1},
        {"token": "***"},
    )
    assert (oldest.run_id, oldest.status, oldest.counts) == ("r1", "Failed", {"FAILED": 1})
    assert oldest.error == "fail:0: ValueError: password=*** no such file"
    assert oldest.started is not None
    assert oldest.ended is not None
    assert oldest.duration_ms is not None
    rows = {row["run_id"]: row["status"] for row in run_rows(watcher.view, 0.0)}
    assert rows == {"r1": "Failed", "r2": "Succeeded"}


# Waiting


@pytest.mark.full
async def test_a_task_is_counted_under_every_reason_that_blocks_it(
    hub: LocalHub, watcher: Watcher, gate: Gate
) -> None:
    """A pause, a limit and a resource at the same time; each constraint with its topic and id."""
    write(hub, "global", "pause")
    write(hub, "task:hold", "concurrency", limit=0)
    demanding = gate.hold.with_constraints(gpu=1)
    steered = engine(hub, system_resources={"gpu": 1})
    going = asyncio.create_task(steered.run(add([demanding(number) for number in range(3)])))
    await eventually(lambda: watcher.waiting() == {"constraint pause": 3, "constraint concurrency": 3})
    await eventually(lambda: watcher.run is not None and watcher.run.counts == {"BLOCKED": 3})
    row = watcher.run
    assert row is not None
    assert {each.topic: each.id for each in row.waiting} == {
        constraint_topic("global", "pause"): "my-pause",
        constraint_topic("task:hold", "concurrency"): "my-concurrency",
    }
    assert all(seconds(each.since) is not None for each in row.waiting)
    assert watcher.report is not None
    assert watcher.report.paused is True
    hub.publish(constraint_topic("task:hold", "concurrency"), b"", retain=True)
    hub.publish(constraint_topic("global", "pause"), b"", retain=True)
    await eventually(lambda: watcher.waiting() == {"resource gpu": 2})
    write(hub, "global", "pause")
    await eventually(lambda: watcher.waiting() == {"resource gpu": 2, "constraint pause": 2})
    hub.publish(constraint_topic("global", "pause"), b"", retain=True)
    gate.open.set()
    await going


@pytest.mark.parametrize("constrained", [False, True])
async def test_tasks_that_wait_for_a_worker_are_counted(
    hub: LocalHub, watcher: Watcher, constrained: bool
) -> None:
    """`slot`: also those that have not asked for admission yet, because nothing constrains them."""
    go = threading.Event()

    @task
    def hold(number: int) -> int:
        go.wait(20 * busyness())
        return number

    if constrained:
        write(hub, "task:hold", "concurrency", limit=2)
    steered = engine(hub, executor=ThreadExecutor(2))
    going = asyncio.create_task(steered.run(add([hold(number) for number in range(9)])))
    expected = {"slot": 7} | ({"constraint concurrency": 7} if constrained else {})
    await eventually(lambda: watcher.waiting() == expected)
    go.set()
    await going


@pytest.mark.parametrize("of_lazies", [False, True])
async def test_items_that_the_limit_of_their_map_holds_back_are_counted(
    hub: LocalHub, watcher: Watcher, gate: Gate, of_lazies: bool
) -> None:
    """`slot` with the name of the map: its `with_concurrency`, also where items take results of other tasks."""

    @task
    def number(value: int) -> int:
        return value

    values: list[Any] = [number(value) if of_lazies else value for value in range(9)]
    going = asyncio.create_task(engine(hub).run(add(gate.hold.map(number=values).with_concurrency(2))))
    await until_running(watcher, 2)
    await eventually(lambda: watcher.waiting() == {"slot hold": 7})
    gate.open.set()
    assert await going == 36


@pytest.mark.full
async def test_a_task_paused_at_a_checkpoint_is_blocked_and_stands_in_running(
    hub: LocalHub, watcher: Watcher, gate: Gate
) -> None:
    """With its progress, its message and its unit; the pause counts it, too."""

    @task
    async def train() -> None:
        while not gate.open.is_set():
            await checkpoint(done=3, total=9, message="epoch 3\nof 9", unit="epochs")
            await asyncio.sleep(0.01)

    going = asyncio.create_task(engine(hub).run(train()))
    await until_running(watcher, 1)
    write(hub, "global", "pause")
    await eventually(lambda: watcher.run is not None and watcher.run.running[0].paused)
    row = watcher.run
    assert row is not None
    assert row.counts == {"BLOCKED": 1}
    (running,) = row.running
    assert (running.task_name, running.done, running.total) == ("train", 3, 9)
    assert (running.message, running.unit) == ("epoch 3 of 9", "epochs")
    assert watcher.waiting() == {"constraint pause": 1}
    hub.publish(constraint_topic("global", "pause"), b"", retain=True)
    row = await until_running(watcher, 1)
    assert not row.running[0].paused
    gate.open.set()
    await going


# Summary, host, graph


async def test_a_summary_is_scalars_and_is_down_after_a_clean_end(
    hub: LocalHub, watcher: Watcher, gate: Gate
) -> None:
    """`running` and `waiting` are now, `completed` and `failed` since the process started."""

    @task
    async def broken() -> None:
        raise ValueError("no such file")

    held = add([gate.hold(number) for number in range(2)])
    going = asyncio.create_task(engine(hub).run([held, broken()], on_failure="continue"))
    await eventually(lambda: watcher.of_kind("summary") and watcher.of_kind("summary")[-1]["failed"] == 1)
    now = watcher.of_kind("summary")[-1]
    keys = "up runs running waiting completed failed paused last_status ts"
    assert " ".join(now) == keys
    assert all(isinstance(value, str | int | bool) for value in now.values())
    assert (now["up"], now["runs"], now["running"], now["waiting"], now["last_status"]) == (1, 1, 2, 0, "")
    gate.open.set()
    with pytest.raises(ExceptionGroup, match="1 of the run's tasks failed"):
        await going
    await eventually(lambda: watcher.of_kind("summary")[-1]["up"] == 0)
    end = watcher.of_kind("summary")[-1]
    assert (end["runs"], end["completed"], end["failed"], end["last_status"]) == (0, 3, 1, "Failed")
    await eventually(lambda: watcher.view.engines[SOURCE].status(0.0) == "ended")


class Shared(LocalConnector):
    """A connector to a broker that has shown another process of the same name."""

    hostname, port, required, earlier_runs, earlier_ends, contested = "broker", 1883, False, None, None, True


async def test_every_report_of_a_shared_name_says_so_the_last_one_too(
    hub: LocalHub, watcher: Watcher
) -> None:
    """The process ends, and the other one of its name may run on: its clean end does not speak for that."""
    async with Shared(hub, source_id=SOURCE) as connector:
        await Engine(connector=connector).run(add([1]))
    await eventually(
        lambda: watcher.of_kind("runs") and watcher.of_kind("constraints")[-1]["sync"] == "stopped"
    )
    for kind in ("constraints", "runs"):
        assert all(report["contested"] for report in watcher.of_kind(kind))


@pytest.mark.full
async def test_a_summary_is_down_while_its_user_has_disconnected_the_connector(
    hub: LocalHub, watcher: Watcher, gate: Gate
) -> None:
    """A connector that the user connected: its last reports leave before it disconnects, also during a run."""
    connector = LocalConnector(hub, source_id=SOURCE)
    runner = Engine(connector=connector)
    async with connector:
        await runner.run(add([1]))
        await eventually(lambda: [each["up"] for each in watcher.of_kind("summary")][-1:] == [1])
    await eventually(lambda: watcher.of_kind("summary")[-1]["up"] == 0)
    await eventually(lambda: watcher.of_kind("constraints")[-1]["sync"] == "stopped")
    await eventually(lambda: watcher.of_kind("runs")[-1]["runs"] == [])
    async with connector:
        going = asyncio.create_task(runner.run(add([gate.hold(1)])))
        await until_running(watcher, 1)
        await eventually(lambda: watcher.of_kind("summary")[-1]["up"] == 1)
    await eventually(lambda: watcher.of_kind("summary")[-1]["up"] == 0)
    async with connector:
        await eventually(lambda: watcher.of_kind("summary")[-1]["up"] == 1)
        gate.open.set()
        assert await going == 1
    await eventually(lambda: watcher.of_kind("summary")[-1]["up"] == 0)
    ended = ["Succeeded", "Succeeded"]
    await eventually(lambda: [row["status"] for row in watcher.of_kind("runs")[-1]["recent"]] == ended)


async def test_a_host_shows_the_computer_and_labels_and_nothing_that_names_it(
    hub: LocalHub, watcher: Watcher
) -> None:
    """No address, user name, path or command line; labels are masked like tags."""
    labels = {"site": "hall-2", "password": "hunter2"}
    await engine(hub, labels=labels).run(add([1]))
    await eventually(lambda: watcher.of_kind("host"))
    (host,) = watcher.of_kind("host")
    keys = "v source session os machine python cascade cpus load1 rss memory link labels ts"
    assert " ".join(host) == keys
    assert host["labels"] == {"site": "hall-2", "password": "***"}
    assert host["memory"].keys() == {"total", "available"}
    assert host["rss"] > 1_000_000
    import getpass
    import platform

    values = json.dumps({key: value for key, value in host.items() if key != "source"})
    for secret in (platform.node(), str(Path.cwd()), getpass.getuser() + "/", "hunter2"):
        assert secret not in values


async def test_a_host_is_not_reported_when_it_is_switched_off(hub: LocalHub, watcher: Watcher) -> None:
    """`host_report=False`."""
    await engine(hub, host_report=False).run(add([1]))
    await eventually(lambda: watcher.of_kind("summary"))
    assert watcher.of_kind("host") == []


async def test_a_graph_has_calls_edges_and_one_node_for_each_map(
    hub: LocalHub, watcher: Watcher, gate: Gate
) -> None:
    """`rev` grows with the graph; edges name the indices of the nodes."""

    @task
    async def numbers() -> list[int]:
        return [1, 2, 3]

    going = asyncio.create_task(engine(hub).run(add(gate.hold.map(number=numbers()))))
    await until_running(watcher, 3)
    await eventually(lambda: "known" in json.dumps(watcher.of_kind("graph")))
    await eventually(lambda: {n.name: n.known for n in graph_of(watcher).nodes}.get("hold") == 3)
    graph = graph_of(watcher)
    nodes = [(node.id, node.name, node.kind, node.known) for node in graph.nodes]
    assert nodes == [
        ("numbers:0", "numbers", "task", 1),
        ("hold:0", "hold", "map", 3),
        ("add:0", "add", "task", 1),
    ]
    assert graph.edges == [[0, 1, "argument"], [1, 2, "argument"]]
    assert not graph.folded
    assert watcher.run is not None
    assert watcher.run.graph.nodes == 3
    gate.open.set()
    await going
    await eventually(lambda: watcher.of_kind("graph")[-1]["runs"] == [])


def graph_of(watcher: Watcher) -> RunGraph:
    report = watcher.view.engines[SOURCE].graph
    assert report is not None
    return report.runs[0] if report.runs else RunGraph(run_id="r", rev=0, folded=False, nodes=[], edges=[])


# Bounds
