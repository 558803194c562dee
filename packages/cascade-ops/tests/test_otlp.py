"""``cascade collect --otlp``: the spans of the process, made from its messages; no endpoint disturbs the collector."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Self

import pytest
from collectors import kept
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ops_modules import MOST_RUNS, Exporting, Metrics, Received, Series, SqliteFile, Traces

import cascade as cs
from cascade.cli import main
from cascade.interfaces.topics import telemetry_topic
from cascade.observers.otel import OtelObserver
from cascade.observers.otel import _sending as sending
from cascade.observers.otel.otlp import OtlpExport
from cascade.runtime import Engine, FileConnector, ThreadExecutor
from cascade.wire import parse_event
from testing_tools.engines import Plant, eventually
from testing_tools.otlp_receiver import Receiver, receiving
from testing_tools.patient import PATIENT
from testing_tools.workflows.check import check_workflows

NOW = 1_800_000_000.0
ASKED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@cs.task
async def measure(part: int) -> int:
    if part == 2:
        raise ValueError("password=hunter2")
    return part


@cs.task
async def late(part: int) -> int:
    return part


def in_process() -> tuple[OtelObserver, Callable[[], list[Any]]]:
    """Return an observer of a process, and what gives its spans as the protocol has them."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def spans() -> list[Any]:
        sent = encode_spans(exporter.get_finished_spans()).resource_spans
        return [span for of_resource in sent for scope in of_resource.scope_spans for span in scope.spans]

    return OtelObserver(provider), spans


def by_id(spans: Sequence[Any]) -> list[Any]:
    """Sort spans, each of which is there once."""
    assert len({span.span_id for span in spans}) == len(spans)
    return sorted(spans, key=lambda span: span.span_id)


def received(path: Path) -> list[Received]:
    """The messages of the kind ``events`` in a file that a run has written."""
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines()):
        data = json.loads(line)
        topic = telemetry_topic(data["org_id"], data["project_id"], data["run_id"])
        event = parse_event(topic, line.encode())
        if event is not None and event.type in ("TaskStateEvent", "LifecycleEvent"):
            found.append(Received(topic, data, event, NOW + number))
    return found


class Collected:
    """A collector's part that passes on what was stored, and the file; ``with`` sends the rest at its end."""

    def __init__(self, url: str, path: Path) -> None:
        self.file = SqliteFile(path)
        self.seconds = 30.0
        self.notes: list[str] = []
        self.export = OtlpExport(url, note=self.notes.append)
        self.passing = Exporting(self.export, self.file, Metrics())

    def take(self, messages: Sequence[Received]) -> None:
        """Store messages, and pass them on."""
        self.file.store(messages)
        self.passing.follow(messages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.passing.close()
        self.export.close(self.seconds)
        self.file.close()


@pytest.mark.process
@pytest.mark.parametrize("examples", [10, pytest.param(1_000, marks=pytest.mark.nightly)])
def test_the_collector_makes_the_spans_that_the_process_makes(examples: int, tmp_path: Path) -> None:
    """Of random workflows, every field of every span: names, ids, times, attributes, events, links and status."""
    observer, made = in_process()

    def make(**settings: Any) -> Engine:
        return Engine(observers=[observer], connector=FileConnector(tmp_path / "runs.jsonl"), **settings)

    check_workflows(lambda: ThreadExecutor(4), make, tmp_path, examples=examples)
    receiver = Receiver()
    with receiving(receiver) as url:
        with Collected(url, tmp_path / "all.sqlite") as collected:
            collected.take(received(tmp_path / "runs.jsonl"))
        assert collected.notes == []
    assert by_id(receiver.spans) == by_id(made())


def ran(folder: Path, observer: OtelObserver) -> list[Received]:
    """The messages of a run with a failure, a retry and a trace that its program has."""
    path = folder / "runs.jsonl"
    engine = Engine(observers=[observer], connector=FileConnector(path))
    target = [measure.with_retry(2).map(part=range(4)), late(measure(9))]
    with pytest.raises(ExceptionGroup):
        asyncio.run(engine.run(target, on_failure="continue", traceparent=ASKED, tags={"token": "x"}))
    return received(path)


def test_messages_that_come_twice_or_out_of_turn_change_no_span(
    tmp_path: Path, seeded_random: Random
) -> None:
    """Each span is sent once, with all that its process says of it."""
    observer, made = in_process()
    messages = ran(tmp_path, observer)
    places = [*range(len(messages)), *seeded_random.choices(range(len(messages)), k=10)]
    places.sort(key=lambda place: place + seeded_random.random() * 4)
    receiver = Receiver()
    with receiving(receiver) as url, Collected(url, tmp_path / "all.sqlite") as collected:
        for start in range(0, len(places), 5):
            collected.take([messages[place] for place in places[start : start + 5]])
    assert by_id(receiver.spans) == by_id(made())


def test_a_collector_that_begins_anew_goes_on(tmp_path: Path, seeded_random: Random) -> None:
    """It finds in its file what has begun, sends nothing again, and the broker may send the last messages again."""
    observer, made = in_process()
    messages = ran(tmp_path, observer)
    receiver = Receiver()
    with receiving(receiver) as url:
        for start in range(0, len(messages), 3):
            with Collected(url, tmp_path / "all.sqlite") as collected:
                again = messages[max(0, start - seeded_random.randrange(4)) : start]
                now = NOW + 100 + start
                collected.take([message._replace(at=now) for message in again + messages[start : start + 3]])
    assert by_id(receiver.spans) == by_id(made())


def test_what_is_known_of_a_run_whose_messages_are_lost_is_a_trace(tmp_path: Path) -> None:
    """A missing event is waited for no longer than 5 s, a missing start has no name, and a killed attempt ends with the next."""
    messages = ran(tmp_path, in_process()[0])
    killed, lost = messages[:-1], messages[4:5]
    follow: list[tuple[str, Any]] = []

    def handler(series: Series) -> Callable[[Any], object]:
        return lambda event: follow.append((series.token, event))

    traces = Traces(handler, lambda *_: [], contextlib.nullcontext)
    traces.take([each for each in killed if each not in lost], 0.0)
    assert len(follow) == 4
    traces.overdue(4.9)
    assert len(follow) == 4
    traces.overdue(5.0)
    traces.take(lost, 6.0)
    assert len(follow) == len(killed) - 1
    traces.take([of_another_attempt(messages[3], 2)], 7.0)
    traces.overdue(13.0)
    token = messages[0].event.token
    (ended,) = [event for of, event in follow[len(killed) - 1 :] if of == token]
    assert (ended.event, ended.error) == (
        "ENGINE_STOPPED",
        "its end has not come; the run goes on in attempt 2",
    )
    started, first = (event for of, event in follow if of != token)
    assert (started.event, started.target, started.run_attempt) == ("ENGINE_STARTED", "", 2)
    assert first.task_name == "measure"


def test_what_is_followed_has_a_bound_and_no_message_breaks_it(tmp_path: Path) -> None:
    """Of more runs the one that was silent for longest is left; one that an observer cannot take ends alone."""
    start, *_ = ran(tmp_path, in_process()[0])
    followed: list[str] = []

    def handler(series: Series) -> Callable[[Any], object]:
        def take(event: Any) -> None:
            followed.append(series.run_id)
            if series.run_id == "odd":
                raise ValueError

        return take

    traces = Traces(handler, lambda *_: [], contextlib.nullcontext)
    for number in range(MOST_RUNS + 10):
        traces.take([of_run(start, f"run-{number}")], 0.0)
    assert len(traces._attempts) == MOST_RUNS
    traces.take([of_run(start, "odd"), of_run(start, "odd"), of_run(start, "last")], 0.0)
    assert followed[-2:] == ["odd", "last"]


def of_run(message: Received, run_id: str) -> Received:
    """A message as it is in another run."""
    return message._replace(event=replace(message.event, run_id=run_id))


def of_another_attempt(message: Received, attempt: int) -> Received:
    """A message as it is in another attempt of its run."""
    return message._replace(event=replace(message.event, token=f"{attempt:08x}", attempt=attempt))


class Bad(NamedTuple):
    """How an endpoint behaves, and what the one warning says."""

    status: int
    seconds: float
    why: str


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(None, id="none there"),
        pytest.param(Bad(404, 0.0, "Failed to export"), id="wrong"),
        pytest.param(Bad(429, 0.0, "Too Many Requests|max retries"), id="full"),
        pytest.param(Bad(503, 0.0, "Service Unavailable|max retries"), id="ill"),
        pytest.param(Bad(200, 60.0, "timeout"), id="slow"),
    ],
)
def test_a_bad_endpoint_is_reported_once_and_delays_nothing(
    bad: Bad | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is stored meanwhile; the end comes soon, and says how many spans are lost."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(sending, "_PAUSE", 0.01)
    observer, made = in_process()
    messages = ran(tmp_path, observer)
    receiver = Receiver(bad.status, bad.seconds) if bad else Receiver()
    with receiving(receiver) as served:
        url = served if bad is not None else "http://me:secret@127.0.0.1:9"
        with Collected(url, tmp_path / "all.sqlite") as collected:
            for number in range(20):
                collected.take([of_run(message, f"run-{number}") for message in messages])
            eventually(lambda: collected.notes, "it is reported")
            collected.seconds = 0.5
    note, end = collected.notes
    shown = url.replace("me:secret@", "")
    assert note.startswith(f"the OTLP endpoint {shown} does not take the spans: ")
    assert re.search(bad.why if bad else ": Connection refused;|max retries", note)
    assert end == f"the collector ends, and the OTLP endpoint {shown} has not got {20 * len(made())} spans"
    eventually(
        lambda: not any(thread.name.startswith("cascade otlp") for thread in threading.enumerate()),
        "all ended",
    )
    assert caplog.records == []


def test_an_end_before_a_slow_endpoint_answers_says_what_it_lacks(tmp_path: Path) -> None:
    """Also if nothing has been said of it before: the request is still under way."""
    observer, made = in_process()
    messages, receiver = ran(tmp_path, observer), Receiver(200, 60.0)
    with receiving(receiver) as url:
        with Collected(url, tmp_path / "all.sqlite") as collected:
            collected.take(messages)
            eventually(lambda: receiver.requests, "it is sent")
            collected.take([of_run(message, "second") for message in messages])
            collected.seconds = 0.1
        assert collected.notes == [
            f"the collector ends, and the OTLP endpoint {url} has not got {2 * len(made())} spans"
        ]


def test_an_endpoint_that_comes_back_is_reported_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gets what waits, the latest spans."""
    monkeypatch.setattr(sending, "_PAUSE", 0.01)
    monkeypatch.setattr(sending, "MOST", 20)
    messages = ran(tmp_path, in_process()[0])
    receiver = Receiver(404)
    with receiving(receiver) as url, Collected(url, tmp_path / "all.sqlite") as collected:
        collected.take(messages)
        eventually(lambda: collected.notes, "it is reported")
        receiver.status = 200
        collected.take([of_run(message, "second") for message in messages])
        eventually(lambda: len(collected.notes) == 2, "it works again")
    assert re.fullmatch(
        rf"the OTLP endpoint {url} takes the spans again; it has not got \d+ spans", collected.notes[1]
    )
    assert any(span.name.startswith("run ") for span in receiver.spans)


@pytest.mark.parametrize(
    "wrong", ["localhost:4318", "http://", "http://box:port", "ftp://box", "http://box?x=1"]
)
def test_a_wrong_url_is_refused(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything else: one line says what to write."""
    assert collect(tmp_path, wrong) == 2
    assert f"'{wrong}' is not a URL, such as http://127.0.0.1:4318" in capsys.readouterr().err


def test_a_variable_that_the_sdk_refuses_is_a_mistake_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line has the SDK's reason and says how to find the variable."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "0")
    assert collect(tmp_path, "http://127.0.0.1:9") == 2
    assert (
        "OpenTelemetry refuses a variable: interval value 0.0 is invalid and needs to be larger than zero; "
        "correct or unset it (env | grep OTEL_ lists them)" in capsys.readouterr().err
    )


def collect(folder: Path, endpoint: str) -> int:
    """Run ``cascade collect`` without a broker; return its exit code."""
    to = ("--to", str(folder / "all.sqlite"), "--broker", "mqtt://127.0.0.1:9")
    return main(["collect", *to, "--otlp", endpoint])


@pytest.mark.full
@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "says"),
    [
        (
            "opentelemetry.exporter.otlp.proto.http.trace_exporter",
            '--otlp needs the exporter of OpenTelemetry; pip install "cascade-ops[otlp]"',
        ),
        ("prometheus_client", '--otlp needs prometheus-client; pip install "cascade-ops[otlp]"'),
    ],
)
def test_what_is_not_installed_is_named(module: str, says: str, tmp_path: Path) -> None:
    """With the line that installs it."""
    code = (
        f"import sys; sys.modules[{module!r}] = None; from cascade.cli import main;"
        "sys.exit(main(['collect', '--to', 'all.sqlite', '--broker', 'mqtt://127.0.0.1:9', '--otlp', 'http://127.0.0.1:9']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize("there", [True, False])
def test_the_command_sends_what_engines_do(there: bool, plant: Plant, tmp_path: Path) -> None:
    """Spans of each step and run with the name of the engine, and metrics; without an endpoint two lines, one when it fails and one at the end, and all is stored."""
    receiver, path = Receiver(), tmp_path / "all.sqlite"
    with receiving(receiver) as served:
        url = served if there else "http://127.0.0.1:9"
        command = [*PATIENT, "collect", "--to", str(path), "--otlp", url]
        environment = plant.environment() | {
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as collector:
            try:

                def collects() -> list[str]:
                    plant.start("press-line-2", tasks=1, seconds=0.0).wait(timeout=60)
                    return kept(path)

                def longest() -> int:
                    return max(Counter(each.rpartition("-")[0] for each in kept(path)).values(), default=0)

                eventually(collects, "it has subscribed")
                plant.start("press-line-3", tasks=20, seconds=0.01).wait(timeout=60)
                eventually(lambda: longest() == 42, "all events are stored")
                if there:
                    plant.start("press-line-4", seconds=0.05)
                    eventually(
                        lambda: receiver.metrics.get(("cascade_engine_up", "default", "press-line-4")) == 1,
                        "the metrics are there",
                    )
                    who = "default", "press-line-3", "audit"
                    eventually(
                        lambda: receiver.metrics.get(("cascade_task_seconds", *who)) == 20,
                        "the durations are there",
                    )
            finally:
                collector.send_signal(signal.SIGINT)
                _, said = collector.communicate(timeout=60)
    assert len(said.splitlines()) == (0 if there else 2)
    spans = [
        span
        for span in receiver.spans
        if receiver.sources[span.span_id]["service.instance.id"] == "press-line-3"
    ]
    assert Counter(span.name for span in spans) == ({"audit": 20, "run audit": 1} if there else {})


def test_an_endpoint_that_takes_spans_alone_is_no_bad_one(tmp_path: Path) -> None:
    """Of the metrics it is said once; what follows of the spans is still said, and of one that takes no spans nothing else."""
    notes: list[str] = []
    endpoint = sending.Endpoint("http://box", notes.append)
    for what, works in (
        *(("metrics", False), ("spans", False), ("metrics", False), ("spans", True), ("metrics", True)),
        *(("metrics", False), ("spans", True), ("metrics", False), ("spans", False), ("metrics", False)),
    ):
        endpoint.works(what) if works else endpoint.failed(what, 7 if what == "spans" else 0)
    said = [
        re.sub(r"(not take the \w+).*", r"\1", note.removeprefix("the OTLP endpoint http://box "))
        for note in notes
    ]
    assert said == [
        "does not take the metrics",
        "takes the spans again; it has not got 7 spans",
        "takes the metrics again",
        "does not take the metrics",
        "does not take the spans",
    ]
