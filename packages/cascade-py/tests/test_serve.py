"""``cs.aserve``: workflows that start when a message asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.interfaces import Complete, Connector, LifecycleEvent, Message, ReplyTo
from cascade.interfaces.topics import constraint_topic
from cascade.runtime.serving._intake import RequestedRun
from cascade.runtime.serving._store import RequestStore
from cascade.testing import ManualClock
from cascade.testkit import eventually
from cascade.testkit.waiting import busyness
from cascade.wire import View

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract names")
CALLS: list[int] = []
GATE = threading.Event()


@cs.task
def count(number: int) -> int:
    CALLS.append(number)
    assert GATE.wait(60)
    if number == 13:
        raise ValueError("unlucky")
    return 2 * number


@cs.workflow(answer=True)
def audit(number: int = 60) -> cs.LazyResult[int]:
    """Inspect parts.

    :param number: how many
    """
    return count(number)


@cs.workflow(overlap="queue")
def queued(number: int = 1) -> cs.LazyResult[int]:
    return count(number)


@dataclass
class Parts:
    size: int


@dataclass
class Box:
    parts: Parts


def packing(boxes: list[Box]) -> cs.LazyResult[int]:
    return count(len(boxes))


def broken(number: int) -> Any:
    raise RuntimeError(f"no part {number}")


TRACES = [f"00-4bf92f3577b34da6a3ce929d0e0e473{number}-00f067aa0ba902b7-01" for number in range(2)] + ["7"]


@pytest.fixture(autouse=True)
def fresh() -> None:
    CALLS.clear()
    GATE.set()


class Client:
    """Asks a service, and collects what it says."""

    def __init__(self, link: cs.LocalConnector) -> None:
        self.link = link
        self.view = View()
        self.responses: list[dict[str, Any]] = []
        self.topics: list[str] = []

    async def listen(self) -> None:
        async for item in self.link.watch("cascade/responses/#", "cascade/state/#", "elsewhere/#"):
            if not isinstance(item, Message):
                continue
            if item.topic.startswith("cascade/state/"):
                self.view.fold(item.topic, item.payload, now=0.0)
            else:
                self.topics.append(item.topic)
                self.responses.append(json.loads(item.payload))

    async def ask(self, workflow: str, to: str = "press", **content: Any) -> None:
        await self.link.publish(f"cascade/requests/{to}/{workflow}", content, 1)

    async def answers(self, number: int) -> list[dict[str, Any]]:
        """Wait for the answer with this number; return all."""
        await eventually(lambda: len(self.responses) >= number)
        return self.responses

    @property
    def offered(self) -> dict[str, Any]:
        report = self.view.engines["press"].workflows if "press" in self.view.engines else None
        return {} if report is None else {each.name: each for each in report.workflows}


@asynccontextmanager
async def service(*workflows: Any, **settings: Any) -> AsyncIterator[Client]:
    """Serve as ``press`` on a hub; end like SIGTERM does."""
    link = cs.LocalConnector(source_id="press")
    client = Client(cs.LocalConnector(link.hub, source_id="client"))
    async with client.link:
        listening = asyncio.create_task(client.listen())
        serving = asyncio.create_task(cs.aserve(*workflows, connector=link, **settings))
        await eventually(lambda: client.offered or serving.done())
        try:
            yield client
        finally:
            serving.cancel()
            await asyncio.wait({serving})
            listening.cancel()
            assert serving.cancelled(), serving.exception()


async def test_a_request_starts_a_run_and_one_response_says_so() -> None:
    """The acceptance, or with ``wait`` the end; the value only of a workflow that sends its values."""
    async with service(audit, queued) as client:
        await client.ask("audit", id="a", params={"number": 5})
        assert await client.answers(1) == [
            {"id": "a", "run_id": "audit~a", "source": "press", "status": "accepted"}
        ]
        assert client.topics == ["cascade/responses/press/a"]
        await eventually(lambda: client.offered["audit"].last)
        await client.ask("audit", id="b", wait=True, params={"number": 6})
        await client.ask("queued", id="c", wait=True)
        ends = {each["id"]: each for each in (await client.answers(3))[1:]}
        assert (ends["b"]["status"], ends["b"]["outcome"], ends["b"]["value"]) == ("ended", "Succeeded", 12)
        assert "value" not in ends["c"]
        assert ends["c"]["duration_ms"] > 0


async def test_what_is_offered_is_reported_with_its_schema_and_its_last_end() -> None:
    """Readers get name, description, JSON Schema, and how the latest run ended; at the end nothing is accepted."""
    async with service(audit, broken) as client:
        row = client.offered["audit"]
        assert (row.doc, row.overlap, row.accepting, row.last) == ("Inspect parts.", "skip", True, None)
        assert row.params["properties"]["number"] == {
            "type": "integer",
            "default": 60,
            "description": "how many",
        }
        assert row.digest == client.offered["broken"].digest != ""
        await client.ask("audit", id="x", params={"number": 13}, wait=True)
        ((end),) = await client.answers(1)
        assert (end["outcome"], end["error"]) == ("Failed", "count:0: ValueError: unlucky")
        last = client.offered["audit"].last
        assert (last.run_id, last.status) == ("audit~x", "Failed")
    assert not client.offered["audit"].accepting


async def test_a_report_has_at_most_64_kib_and_counts_what_it_leaves_out() -> None:
    """Some hundred workflows do not fit; they can be started all the same."""
    many = [cs.workflow(name=f"w{number}")(audit.function) for number in range(400)]
    async with service(*many) as client:
        report = client.view.engines["press"].workflows
        assert report is not None
        assert report.more > 100
        assert len(report.workflows) + report.more == len(many)
        async with contextlib.aclosing(client.link.watch("cascade/state/press/workflows")) as items:
            (size,) = [len(item.payload) async for item in until_complete(items)]
        assert 60_000 < size <= 64 * 1024
        await client.ask("w399", id="a")
        assert (await client.answers(1))[0]["status"] == "accepted"


async def until_complete(items: Any) -> AsyncIterator[Message]:
    async for item in items:
        if isinstance(item, Complete):
            return
        if isinstance(item, Message):
            yield item


@pytest.mark.parametrize(("size", "sent"), [(60_000, True), (70_000, False)])
async def test_a_value_of_more_than_64_kib_stays_where_it_is(size: int, sent: bool) -> None:
    """The end is answered without it."""
    text = cs.task(name="text")(lambda: "x" * size)
    async with service(cs.workflow(name="large", answer=True)(text)) as client:
        await client.ask("large", id="a", wait=True)
        (end,) = await client.answers(1)
        assert (end["outcome"], "value" in end) == ("Succeeded", sent)


@pytest.mark.parametrize(
    ("workflow", "content", "code", "reason"),
    [
        ("audt", {}, "unknown", "no workflow 'audt'; did you mean 'audit'?"),
        ("audit", {"params": {"numbr": 1}}, "invalid", "no parameter 'numbr'; did you mean 'number'?"),
        ("audit", {"params": {"number": "five"}}, "invalid", "number: expected int, got str"),
        (
            "packing",
            {"params": {"boxes": [{"parts": {"size": 1}}, {"parts": {"size": "x"}}]}},
            "invalid",
            "boxes[1].parts.size: expected int, got str",
        ),
        ("broken", {}, "invalid", "number is missing"),
        ("broken", {"params": {"number": 3}}, "invalid", "the run cannot begin: RuntimeError: no part 3"),
        ("audit", {"expires_at": 1.0}, "expired", "it expired"),
    ],
)
async def test_a_request_that_cannot_start_is_refused_with_its_code(
    workflow: str, content: Mapping[str, Any], code: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once on the topic of its id, with one line in the log; nothing is started, and the id is free."""
    async with service(audit, broken, packing) as client:
        await client.ask(workflow, id="a", by="wall\n7", **content)
        (answer,) = await client.answers(1)
        assert (answer["status"], answer["code"]) == ("refused", code)
        assert answer["reason"].startswith(reason)
        assert client.topics == ["cascade/responses/press/a"]
    assert CALLS == []
    assert [each.getMessage() for each in caplog.records if "refused" in each.getMessage()] == [
        f"{workflow}: refused ({code}): {answer['reason']} (id a; asked by wall\\x0a7, as it claims)"
    ]


async def test_what_the_programs_redactor_masks_is_in_no_answer_and_in_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def secretive(number: int) -> Any:
        raise RuntimeError(f"iban={number}")

    async with service(secretive, redactor=cs.Redactor(names=["iban"])) as client:
        await client.ask("secretive", id="a", params={"number": 4711})
        (answer,) = await client.answers(1)
        assert answer["reason"].startswith("the run cannot begin: RuntimeError: iban=")
        assert "4711" not in f"{answer}{caplog.text}"


async def test_a_flood_of_refused_requests_is_no_flood_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Each is answered; beyond sixty lines a minute they are counted, and the number comes at the end."""
    async with service(audit) as client:
        for number in range(70):
            await client.ask("audit", id=f"r{number}", expires_at=1.0)
        assert {each["code"] for each in await client.answers(70)} == {"expired"}
    lines = [each.getMessage() for each in caplog.records if "refused" in each.getMessage()]
    assert len(lines) == 62
    assert lines[60:] == [
        "more requests are refused; for a minute they are counted and not logged",
        "10 more requests were refused",
    ]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"no json", "the request is not a JSON object"),
        (b"[1]", "the request is not a JSON object"),
        (b'{"id": "' + b"x" * 1_000_000 + b'"}', "the request is longer than 64 KiB"),
        (b'{"id": "a/b"}', "id: needs a text of at most 64 of the characters A-Z a-z 0-9 . _ -"),
        (rb'{"id": "a\n"}', "id: needs a text of at most 64 of the characters A-Z a-z 0-9 . _ -"),
        (b'{"params": []}', "params: expected object, got array"),
        (b'{"expires_at": 1795578720000}', "expires_at: needs seconds since the epoch, not milliseconds"),
    ],
)
async def test_a_message_that_is_no_request_is_answered_where_its_sender_listens(
    payload: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no id by which the answer could be found, so it needs a response topic; the log has one line."""
    async with service(audit) as client:
        hub = client.link.hub
        hub.publish(
            "cascade/requests/press/audit", payload, reply_to=ReplyTo("cascade/responses/press/client-7")
        )
        (answer,) = await client.answers(1)
        assert (answer["code"], answer["reason"]) == ("invalid", reason)
        assert client.topics == ["cascade/responses/press/client-7"]
    assert CALLS == []
    lines = [each.getMessage() for each in caplog.records if "refused" in each.getMessage()]
    assert lines == [f"audit: refused (invalid): {reason}"]


@pytest.mark.parametrize("wrong", [{"params": 5}, {"wait": "yes"}, {"expires_at": 1795578720000}])
async def test_a_wrong_message_with_an_id_is_answered_on_its_topic(wrong: Any) -> None:
    """A client of MQTT 3.1.1, which can name no topic for the answer, waits there."""
    async with service(audit) as client:
        client.link.hub.publish(
            "cascade/requests/press/audit", json.dumps({"id": "part-7", **wrong}).encode()
        )
        (answer,) = await client.answers(1)
        assert (answer["code"], client.topics) == ("invalid", ["cascade/responses/press/part-7"])


async def test_an_answer_leaves_on_a_response_topic_only_below_those_of_the_service() -> None:
    """One that leads elsewhere would let its sender write with the rights of the service."""
    async with service(audit) as client:
        for number, topic in enumerate(("elsewhere/constraints", "cascade/responses/press/mine")):
            client.link.hub.publish(
                "cascade/requests/press/audit",
                b'{"id": "%d", "params": {"number": "x"}}' % number,
                reply_to=ReplyTo(topic),
            )
        await client.answers(3)
        assert sorted(client.topics) == [
            "cascade/responses/press/0",
            "cascade/responses/press/1",
            "cascade/responses/press/mine",
        ]


async def test_twenty_equal_requests_start_one_run() -> None:
    """Each is answered with that run; one with other parameters is refused."""
    GATE.clear()
    async with service(queued) as client:
        for _ in range(20):
            await client.ask("queued", id="a", params={"number": 7})
        await client.ask("queued", id="a", params={"number": 8})
        answers = await client.answers(21)
        assert [each["status"] for each in answers].count("accepted") == 20
        assert [each["reason"] for each in answers if each["status"] == "refused"] == [
            "the id a was used with other parameters"
        ]
        GATE.set()
    assert CALLS == [7]


async def test_what_comes_while_a_run_goes_on() -> None:
    """``skip`` refuses it; ``queue`` lets ten wait, in order."""
    GATE.clear()
    async with service(audit, queued) as client:
        for name in ("audit", "queued"):
            for number in range(12):
                await client.ask(name, id=str(number), params={"number": number})
        await client.answers(24)
        codes = [each.get("code") for each in client.responses if each["status"] == "refused"]
        assert codes.count("busy") == 11
        assert codes.count("full") == 1
        GATE.set()
        await eventually(lambda: len(CALLS) == 12)
    assert sorted(CALLS[:2]) == [0, 0]
    assert CALLS[2:] == list(range(1, 11))


async def test_a_retained_request_never_starts_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """It would start one at each restart."""
    async with service(audit) as client:
        await client.link.publish("cascade/requests/press/audit", {"id": "a"}, 1, retain=True)
        assert (await client.answers(1))[0]["code"] == "retained"
    assert CALLS == []


@pytest.mark.parametrize("scopes", [["source:press"], ["workflow:audit", "workflow:queued"]])
async def test_a_pause_refuses_requests_and_lets_those_of_a_queue_wait(scopes: list[str]) -> None:
    """For everything, for this service, or for one workflow, which leaves others alone; it is named as the reason."""
    free = cs.workflow(name="free")(audit.function)
    async with service(audit, queued, free) as client:
        for scope in scopes:
            await client.link.publish(constraint_topic(scope, "pause"), {"type": "pause"}, 1, retain=True)
        await client.ask("audit", id="a")
        await client.ask("queued", id="b")
        await client.ask("free", id="c", params={"number": 3}, wait=True)
        answers = {each["id"]: each for each in await client.answers(3)}
        assert (answers["a"]["code"], answers["a"]["reason"]) == (
            "paused",
            f"a pause of {scopes[0]} is in force",
        )
        assert answers["b"]["status"] == "accepted"
        assert answers["c"].get("code") == ("paused" if len(scopes) == 1 else None)
        assert [3] * (len(scopes) - 1) == CALLS
        for scope in scopes:
            await client.link.publish(constraint_topic(scope, "pause"), None, 1, retain=True)
        await eventually(lambda: CALLS[-1:] == [1])


async def test_a_request_to_all_is_answered_by_those_who_offer_it() -> None:
    """Others say nothing."""
    async with service(audit) as client:
        await client.ask("queued", to="@all", id="a")
        await client.ask("audit", to="@all", id="b", params={"number": 1})
        assert [each["id"] for each in await client.answers(1)] == ["b"]
        assert client.topics == ["cascade/responses/press/b"]


async def test_a_stop_refuses_what_comes_and_lets_runs_end() -> None:
    """Requests get ``stopping``; a run that ends in time is answered."""
    GATE.clear()
    link = cs.LocalConnector(source_id="press")
    client = Client(cs.LocalConnector(link.hub, source_id="client"))
    async with client.link:
        listening = asyncio.create_task(client.listen())
        serving = asyncio.create_task(cs.aserve(audit, connector=link))
        await eventually(lambda: client.offered)
        await client.ask("audit", id="a", wait=True)
        await eventually(lambda: CALLS)
        serving.cancel()
        await eventually(lambda: not client.offered["audit"].accepting)
        await client.ask("audit", id="b")
        assert (await client.answers(1))[0]["code"] == "stopping"
        GATE.set()
        await asyncio.wait({serving})
        assert (await client.answers(2))[1]["outcome"] == "Succeeded"
        listening.cancel()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs sockets of Unix")
@pytest.mark.parametrize("abstract", [pytest.param(True, marks=ON_LINUX), False])
async def test_systemd_hears_when_the_service_listens_and_when_it_stops(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a unit with ``Type=notify``; a path, or a name in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"{tmp_path}/notify"
        manager.bind(f"\0{name}" if abstract else name)
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        async with service(audit):
            assert await asyncio.to_thread(manager.recv, 100) == b"READY=1"
        assert await asyncio.to_thread(manager.recv, 100) == b"STOPPING=1"


async def test_an_id_is_answered_from_its_record_after_a_restart_and_never_runs_again(tmp_path: Path) -> None:
    """Also one whose run has failed; other parameters are refused."""
    for _ in range(3):
        async with service(audit, state=tmp_path / "runs") as client:
            await client.ask("audit", id="a", params={"number": 13}, wait=True)
            (end,) = await client.answers(1)
            assert (end["outcome"], end["error"]) == ("Failed", "count:0: ValueError: unlucky")
            await client.ask("audit", id="a", params={"number": 14})
            assert (await client.answers(2))[1]["code"] == "invalid"
            assert client.offered["audit"].last.run_id == "audit~a"
    assert CALLS == [13]


@pytest.mark.parametrize("recorded", [False, True])
async def test_an_id_is_known_for_a_day_and_with_a_state_folder_for_good(
    recorded: bool, tmp_path: Path
) -> None:
    """A request that repeats it later starts another run; a recorded run has its value."""
    clock = ManualClock(time.time())
    settings = {"state": tmp_path / "runs"} if recorded else {}
    async with service(audit, clock=clock, **settings) as client:
        for number, days in enumerate((0.9, 30.0, 33.0, 0.0)):
            await client.ask("audit", id="a", wait=True, params={"number": 5})
            await client.answers(number + 1)
            clock.advance(days * 86_400)
    assert len(CALLS) == (1 if recorded else 3)


async def test_who_asks_while_an_end_is_recorded_is_answered_once_and_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is sent when the record is on disk, as it is for those who asked before."""
    held, release, put = asyncio.Event(), asyncio.Event(), RequestStore.put

    async def slow(self: RequestStore, run: RequestedRun) -> None:
        if run.outcome is not None and not release.is_set():
            held.set()
            await release.wait()
        await put(self, run)

    monkeypatch.setattr(RequestStore, "put", slow)
    async with service(audit, state=tmp_path / "runs") as client:
        await client.ask("audit", id="a")
        await held.wait()
        for other in False, True:  # the second shows that the service has read the first
            await client.ask("audit", id="a", wait=True, params={"number": 61 if other else 60})
        assert [each["status"] for each in await client.answers(2)] == ["accepted", "refused"]
        release.set()
        await client.answers(3)
        await client.ask("audit", id="a", wait=True)
        assert [each["status"] for each in (await client.answers(4))[2:]] == ["ended", "ended"]


async def test_what_a_stop_interrupted_goes_on_after_the_restart(tmp_path: Path) -> None:
    """The run that was active and those that waited, each in the trace of its request; who waits for the end hears of it then."""
    GATE.clear()
    bus, traces = cs.EventBus(), set[tuple[str, str]]()
    bus.subscribe(LifecycleEvent, lambda event: traces.add((event.run_id, event.traceparent)))
    settings: dict[str, Any] = {"state": tmp_path / "runs", "drain": 0.0, "stop_timeout": 0.0, "bus": bus}
    async with service(queued, **settings) as client:
        for number in range(3):
            asked: dict[str, Any] = {"wait": number != 1, "traceparent": TRACES[number]}
            await client.ask("queued", id=str(number), params={"number": number}, **asked)
        await eventually(lambda: CALLS)
        await client.answers(1)
    GATE.set()  # the call of the first process ends
    GATE.clear()
    async with service(queued, **settings) as client:
        await client.ask("queued", id="1", params={"number": 1})
        assert [each["status"] for each in await client.answers(1)] == ["accepted"]
        client.responses.clear()
        GATE.set()
        ends = await client.answers(2)
        assert {each["id"]: each["outcome"] for each in ends} == {"0": "Succeeded", "2": "Succeeded"}
        await eventually(lambda: set(CALLS) == {0, 1, 2})
    # the last event of a run has none, and a text that is no traceparent is ignored
    assert traces == {
        (f"queued~{number}", trace) for number in range(3) for trace in ("", TRACES[number])
    } - {("queued~2", TRACES[2])}


@pytest.mark.parametrize(
    ("in_payload", "beside", "found"),
    [
        ("", TRACES[1], TRACES[1]),
        (TRACES[0], TRACES[1], TRACES[0]),
        ("7", TRACES[1], TRACES[1]),
        ("", "7", ""),
    ],
)
async def test_a_run_is_in_the_trace_that_its_request_names(in_payload: str, beside: str, found: str) -> None:
    """By its key, or else by what came beside the payload."""
    bus, traces = cs.EventBus(), list[str]()
    bus.subscribe(LifecycleEvent, lambda event: traces.append(event.traceparent))
    async with service(audit, bus=bus) as client:
        payload = json.dumps({"id": "a", "traceparent": in_payload, "wait": True}).encode()
        client.link.hub.publish("cascade/requests/press/audit", payload, traceparent=beside)
        await client.answers(1)
    assert traces == [found, ""]


@pytest.mark.parametrize(
    ("workflows", "connector", "settings", "problem"),
    [
        ((audit,), None, {}, "is missing, and no workflow has a schedule; pass connector="),
        ((audit,), cs.LocalConnector, {}, "needs a name, by which others ask it"),
        ((audit, audit), lambda: cs.LocalConnector(source_id="a"), {}, "two workflows have the name 'audit'"),
        ((), lambda: cs.LocalConnector(source_id="a"), {}, "needs at least one workflow"),
        ((audit,), lambda: cs.LocalConnector(source_id="a"), {"run_id": "x"}, "belongs to one run"),
        ((3,), lambda: cs.LocalConnector(source_id="a"), {}, "a workflow needs a function"),
    ],
)
async def test_what_cannot_be_served_is_refused_at_once(
    workflows: tuple[Any, ...],
    connector: Callable[[], Connector] | None,
    settings: dict[str, Any],
    problem: str,
) -> None:
    """Before anything is offered."""
    with pytest.raises(cs.UsageError, match=problem):
        await cs.aserve(*workflows, connector=connector and connector(), **settings)


async def test_a_service_inside_a_running_event_loop_is_refused_with_the_form_for_it() -> None:
    """``cs.serve`` would block the loop."""
    with pytest.raises(cs.UsageError, match=r"write: await cs\.aserve"):
        cs.serve(audit, connector=cs.LocalConnector(source_id="a"))


FROZEN = """
import gc, os, signal
import cascade as cs

@cs.task
def look() -> None:
    print(gc.get_freeze_count() > 10_000, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

@cs.workflow(every="1s")
def beat() -> cs.LazyResult[None]:
    return look()

cs.serve(beat)
"""


@pytest.mark.full
@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_no_collection_looks_at_what_the_start_of_a_service_has_made() -> None:
    """The process is the service: a full collection would hold its event loop for the objects of its start, too."""
    done = subprocess.run(
        [sys.executable, "-c", FROZEN], capture_output=True, text=True, timeout=50 * busyness(), check=False
    )
    assert (done.returncode, done.stdout) == (143, "True\n"), done.stderr
