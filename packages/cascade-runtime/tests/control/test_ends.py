"""What an engine reports of a run's end, and when: the counts, failures and author are those of the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from cascade.interfaces import RunCancelledError, TaskCancelledError
from cascade.interfaces.topics import constraint_topic, state_topic
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import task
from cascade.testkit import eventually

SOURCE = "press-3"
ENDS = state_topic(SOURCE, "ended")


class Reader:
    """The other side: every report of ends, runs and summary, in order."""

    def __init__(self, hub: LocalHub) -> None:
        self.connector = LocalConnector(hub, source_id="reader")
        self.raw: list[tuple[str, dict[str, Any]]] = []

    async def _receive(self, topic: str, data: dict[str, Any]) -> None:
        self.raw.append((topic, data))

    async def __aenter__(self) -> Reader:
        await self.connector.connect()
        await self.connector.subscribe("cascade/#", self._receive)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connector.disconnect()

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [data for topic, data in self.raw if topic == state_topic(SOURCE, kind)]

    @property
    def ends(self) -> list[list[dict[str, Any]]]:
        return [report["runs"] for report in self.of_kind("ended")]


async def retained(hub: LocalHub, *kinds: str) -> list[dict[str, Any]]:
    """Return what the hub keeps of the engine's reports."""
    async with Reader(hub) as late:
        await eventually(lambda: all(late.of_kind(kind) for kind in kinds))
        return [late.of_kind(kind)[0] for kind in kinds]


@pytest.fixture
async def reader(hub: LocalHub) -> AsyncIterator[Reader]:
    async with Reader(hub) as reader:
        yield reader


@task
def read(number: int) -> int:
    if number == 3:
        raise ValueError("no such file: password=hunter2")
    return number


@task
async def hold(number: int) -> int:
    await asyncio.sleep(3600)
    return number


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


async def test_the_end_of_a_run_is_sent_whole_and_once_before_run_returns(
    hub: LocalHub, reader: Reader
) -> None:
    """Also on a connector that its user connected, whose program may end next; the summary is final, too."""
    async with LocalConnector(hub, source_id=SOURCE) as connector:
        with pytest.raises(ExceptionGroup):
            await Engine(connector=connector).run(total(read.map(number=range(60))), on_failure="continue")
        held, runs, summary = await retained(hub, "ended", "runs", "summary")
    (row,) = held["runs"]
    # the map itself is skipped, too
    assert (row["status"], row["known"]) == ("Failed", 62)
    assert row["counts"] == {"COMPLETED": 59, "FAILED": 1, "SKIPPED": 2}
    assert row["error"].startswith("read:0[3]: ValueError: no such file")
    assert [each["task_id"] for each in row["failures"]] == ["read:0[3]"]
    assert {name: each["known"] for name, each in row["tasks"].items()} == {"read": 61, "total": 1}
    nodes = row["graph"]["nodes"]
    assert {node["name"]: node["counts"] for node in nodes} == {
        name: each["counts"] for name, each in row["tasks"].items()
    }
    ((start, end, role),) = row["graph"]["edges"]
    assert (nodes[start]["name"], nodes[end]["name"], role) == ("read", "total", "argument")
    assert "hunter2" not in json.dumps(held)
    shown = {key: row[key] for key in row if key not in ("tasks", "failures", "interrupted", "graph")}
    assert (runs["runs"], runs["recent"]) == ([], [shown])
    assert (summary["runs"], summary["completed"], summary["failed"]) == (0, 59, 1)
    assert summary["last_status"] == "Failed"
    await eventually(lambda: len(reader.ends) == 1)
    order = [topic for topic, _ in reader.raw if topic in (ENDS, state_topic(SOURCE, "runs"))]
    assert order.index(ENDS) < len(order) - 1


async def test_the_newest_failure_stays_behind_the_newest_run(hub: LocalHub, reader: Reader) -> None:
    """For each end there is one report, until another run fails; an unnamed engine's is sent and not kept."""
    for source, numbers in ((SOURCE, (3, 1, 2)), ("", (1,))):
        for number in numbers:
            connector = LocalConnector(hub, **({"source_id": source} if source else {}))
            with suppress(ValueError):
                await Engine(connector=connector).run(read(number), run_id=f"r{number}")
    ids = [[row["run_id"] for row in rows] for rows in reader.ends]
    assert ids == [["r3"], ["r1", "r3"], ["r2", "r3"]]
    async with Reader(hub) as late:
        await eventually(lambda: late.raw)
        assert [topic for topic, _ in late.raw if topic.endswith("/ended")] == [ENDS]
    assert len([topic for topic, _ in reader.raw if topic.endswith("/ended")]) == 4


@pytest.mark.parametrize("scope", ["run:night", f"source:{SOURCE}", "task:hold"])
async def test_a_cancelled_run_names_its_author(hub: LocalHub, reader: Reader, scope: str) -> None:
    """In the last event, the report of the end and the row of recent runs; whose message names none has none."""
    for by in ("ada\nkey=1", ""):
        going = asyncio.create_task(
            Engine(connector=LocalConnector(hub, source_id=SOURCE)).run(hold(1), run_id="night")
        )
        await eventually(
            lambda: any(data.get("runs") and data["runs"][0]["running"] for data in reader.of_kind("runs"))
        )
        reader.raw.clear()
        payload: dict[str, object] = {"type": "cancel", "params": {}, "id": "x", **({"by": by} if by else {})}
        topic = constraint_topic(scope, "cancel")
        hub.publish(topic, json.dumps(payload | {"expires_at": 4e9}).encode(), retain=True)
        with pytest.raises((RunCancelledError, TaskCancelledError)):
            await going
        hub.publish(topic, b"", retain=True)
        await eventually(lambda: reader.ends)
        row = reader.ends[-1][0]
        stopped = [
            data["body"]
            for topic, data in reader.raw
            if data.get("body", {}).get("event") == "ENGINE_STOPPED"
        ]
        (recent, *_) = reader.of_kind("runs")[-1]["recent"]
        for each in (row, recent, *stopped):
            assert (each["status"], each.get("by", "")) == ("Cancelled", by.replace("\n", " "))
            assert topic in each["error"]
        assert len(stopped) == 1
        reader.raw.clear()


async def test_a_run_that_its_program_cancels_says_so(hub: LocalHub, reader: Reader) -> None:
    """Nobody has written a constraint, and no signal came."""
    going = asyncio.create_task(Engine(connector=LocalConnector(hub, source_id=SOURCE)).run(hold(1)))
    await eventually(lambda: reader.of_kind("runs"))
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    await eventually(lambda: reader.ends)
    (row,) = reader.ends[-1]
    assert (row["status"], row["error"], row.get("by")) == ("Cancelled", "its program cancelled it", None)
