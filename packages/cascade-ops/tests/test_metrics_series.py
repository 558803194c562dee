"""The series that Prometheus gets: their labels, what counts in them, and what begins anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast
from unittest.mock import MagicMock

import click
import pytest
from exported import Exported, end, row
from ops_modules import BUCKETS, MOST_SOURCES, OTHER, Metrics, followed, served, server
from prometheus_client.parser import text_string_to_metric_families

from cascade.cli.link import Address
from cascade.interfaces.topics import status_topic, telemetry_topic
from cascade.interfaces.watch import Complete, Linked, Lost, Message, WatchItem
from cascade.testkit import eventually
from cascade.wire import EventMessage, parse_event


def ended_call(
    number: int, *, source: str = "press", task: str = "audit", ms: float = 20.0, state: str = "COMPLETED"
) -> EventMessage:
    """The event of a call that has ended."""
    body = {"type": "TaskStateEvent", "state": state, "task_name": task, "duration_ms": ms}
    content = {
        "v": "1.0",
        "source": source,
        "run_id": "r1",
        "event_id": str(number),
        "seq": number,
        "body": body,
    }
    event = parse_event(telemetry_topic("o", "p", "r1"), json.dumps(content).encode())
    assert event is not None
    return event


def test_each_series_has_the_labels_that_a_query_names() -> None:
    """Of every metric: a dashboard and an alert are written with these names."""
    exported = Exported()
    exported.birth()
    waiting = [{"why": "retry", "n": 1}]
    tasks = {"audit": {"COMPLETED": 1}}
    exported.report("runs", {"runs": [row({"RUNNING": 1}, tasks) | {"waiting": waiting}]})
    exported.report("runs", {"runs": [row({"RUNNING": 1}) | {"waiting": waiting}], "recent": [end({}, "r0")]})
    exported.report("constraints", {"effective": [{"scope": "global", "type": "pause", "params": {}}]})
    exported.metrics.observe(ended_call(1))
    found = {
        sample.name: sample.labels
        for family in exported.metrics.families(exported.now)
        for sample in family.samples
    }
    who = {"source": "press", "project": "p"}
    assert {name: labels for name, labels in found.items() if not name.endswith("_bucket")} == {
        "cascade_broker_up": {},
        "cascade_engine_up": who,
        "cascade_tasks_now": {**who, "state": "RUNNING"},
        "cascade_waiting": {**who, "why": "retry"},
        "cascade_constraint_in_force": {**who, "scope": "global", "type": "pause"},
        "cascade_tasks_total": {**who, "task": "audit", "state": "COMPLETED"},
        "cascade_runs_total": {**who, "target": "t", "status": "Succeeded"},
        "cascade_events_lost_total": who,
        "cascade_task_seconds_count": {**who, "task": "audit"},
        "cascade_task_seconds_sum": {**who, "task": "audit"},
    }


def test_of_several_ends_in_a_report_only_the_new_ones_count() -> None:
    """The report repeats the one in the middle, and one run of the same id has ended once more."""
    exported = Exported()
    exported.birth()
    known = end({"COMPLETED": 1}, "b")
    exported.report("runs", {"runs": [], "recent": [known]})
    again = {**known, "ended": "2026-01-02T00:00:00+00:00"}
    news = [end({"COMPLETED": 2}, "a"), known, end({"FAILED": 4}, "c", "Failed"), again]
    for _ in range(2):
        exported.report("runs", {"runs": [], "recent": news})
    assert exported.samples("cascade_runs_total") == {("Succeeded", "t"): 2, ("Failed", "t"): 1}
    assert exported.samples("cascade_tasks_total") == {("COMPLETED", OTHER): 3, ("FAILED", OTHER): 4}


def test_the_end_of_a_run_adds_what_its_reports_did_not_show() -> None:
    """By state and over all of its tasks; a state of which the end shows no more adds nothing."""
    exported = Exported()
    exported.birth()
    exported.report("runs", {"runs": [], "recent": []})
    tasks = {"audit": {"COMPLETED": 2, "FAILED": 1}, "clean": {"COMPLETED": 3}}
    exported.report("runs", {"runs": [row({}, tasks)]})
    exported.report("runs", {"runs": [], "recent": [end({"COMPLETED": 9, "FAILED": 1, "SKIPPED": 2})]})
    assert exported.samples("cascade_tasks_total") == {
        ("COMPLETED", "audit"): 2,
        ("FAILED", "audit"): 1,
        ("COMPLETED", "clean"): 3,
        ("COMPLETED", OTHER): 4,
        ("SKIPPED", OTHER): 2,
    }


def test_a_new_attempt_of_a_run_counts_its_lost_events_from_zero() -> None:
    """Fewer than before are all of them new; as many as before are the same ones."""
    exported = Exported()
    exported.birth()
    for lost in (4, 4, 1, 3):
        exported.report("runs", {"runs": [row({}, lost=lost)]})
    assert exported.samples("cascade_events_lost_total") == {(): 4 + 1 + 2}


def test_durations_belong_to_their_source_and_begin_anew_with_a_new_process() -> None:
    """Those of another engine stay; an event without a duration is not observed."""
    exported = Exported()
    for source in ("press", "gate"):
        exported.birth(source)
    exported.metrics.observe(ended_call(1))
    exported.metrics.observe(ended_call(2, task="clean", ms=3_000.0))
    exported.metrics.observe(ended_call(3, source="gate", task="open"))
    exported.metrics.observe(ended_call(4, ms=cast(Any, None)))
    exported.metrics.observe(ended_call(1))  # a second copy
    exported.metrics.observe(ended_call(6, state="FAILED"))
    assert exported.samples("cascade_task_seconds_count") == {("audit",): 1, ("clean",): 1, ("open",): 1}
    assert exported.samples("cascade_task_seconds_sum")["clean",] == 3.0
    buckets = {
        float(le): n
        for (le, task), n in exported.samples("cascade_task_seconds_bucket").items()
        if task == "audit"
    }
    assert [buckets[bound] for bound in (0.01, 0.05, float("inf"))] == [0, 1, 1]
    assert [*buckets] == sorted(buckets)
    assert len(buckets) == len(BUCKETS) + 1
    exported.birth(status="offline")
    assert exported.samples("cascade_task_seconds_count") == {("open",): 1}
    exported.birth()
    exported.metrics.observe(ended_call(5))
    assert exported.samples("cascade_task_seconds_count") == {("audit",): 1, ("open",): 1}


def test_durations_are_kept_of_so_many_engines_only() -> None:
    """Any client can publish events of any source, and nothing else says that such a source has gone."""
    exported = Exported()
    exported.birth("s0")
    exported.birth("s1")
    for number in range(MOST_SOURCES + 1):
        exported.metrics.observe(ended_call(number, source=f"s{number}", task=f"t{number}"))
    assert exported.samples("cascade_task_seconds_count") == {("t1",): 1}


class Feed:
    """A link whose watch delivers what the test puts in; an error in place of an item is raised."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[WatchItem | Exception] = asyncio.Queue()
        self.filters: tuple[str, ...] = ()
        self.links = 0

    async def connect(self) -> None:
        self.links += 1

    async def disconnect(self) -> None:
        self.links -= 1

    async def watch(self, *filters: str) -> AsyncIterator[WatchItem]:
        self.filters = filters
        while True:
            item = await self.items.get()
            if isinstance(item, Exception):
                raise item
            yield item


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """The link of the command that the test stands for."""
    found = Feed()
    monkeypatch.setattr(Address, "tool", lambda _address: found)
    with click.Context(click.Command("collect")):
        yield found


@contextlib.asynccontextmanager
async def scraping(host: str) -> AsyncIterator[None]:
    """Serve the metrics of a broker, as the collector does."""
    metrics = Metrics()
    with served(metrics, host, 0):
        async with followed(Address("mqtt://broker.example"), metrics):
            yield


async def scraped(url: str) -> dict[str, float]:
    """The samples without labels that a scrape of the address returns, and ``up`` by source."""

    def read() -> str:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(read)
    return {
        sample.labels.get("source", sample.name): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_scrape_shows_whether_the_messages_of_the_broker_arrive(
    feed: Feed, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the link to its loss, and when nothing follows the broker any more: the engines are known meanwhile."""
    async with scraping("127.0.0.1"):
        url = capsys.readouterr().err.strip().removeprefix("metrics are served at ")
        assert await scraped(url) == {"cascade_broker_up": 0.0}
        press = Message(status_topic("press"), b'{"status": "online", "session": "s"}', retain=True)
        for item, up in (
            (Linked(), 1.0),
            (Complete(proved=True, topics=frozenset()), 1.0),
            (Lost("cut"), 0.0),
            (Linked(), 1.0),
            (RuntimeError("odd"), 0.0),
        ):
            await feed.items.put(item)
            if not isinstance(item, Exception):
                await feed.items.put(press)
            await eventually(feed.items.empty)
            assert await scraped(url) == {"cascade_broker_up": up, "press": 1.0}
        assert feed.links == 1
        assert capsys.readouterr().err == (
            "the metrics stand still: RuntimeError('odd'); start the collector again\n"
        )
    assert feed.links == 0
    with pytest.raises(OSError, match="refused"):
        await scraped(url)


async def test_the_metrics_follow_presence_and_reports_and_no_events(feed: Feed) -> None:
    """Events come from the collector, which has stored them."""
    async with scraping("127.0.0.1"):
        await eventually(lambda: feed.filters)
    reports = {f"cascade/state/+/{kind}" for kind in ("runs", "constraints", "summary", "workflows")}
    assert {*feed.filters} == {"cascade/status/+", *reports}


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("box-1", "box-1")]
)
async def test_a_person_reads_where_the_metrics_are_and_nothing_serves_them_afterwards(
    feed: Feed, host: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the port that was free, and brackets round an address of IPv6."""
    http, thread = MagicMock(server_port=9464), MagicMock()
    monkeypatch.setattr(server, "start_http_server", lambda port, host, registry: (http, thread))
    async with scraping(host):
        assert capsys.readouterr().err == f"metrics are served at http://{shown}:9464/metrics\n"
    assert [call[0] for call in http.mock_calls] == ["shutdown", "server_close"]
    thread.join.assert_called_once_with()
