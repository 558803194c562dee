"""What a run's code says of itself: values with ``cs.publish``, and lines of its log."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes import FakeClock

from cascade.interfaces import ConfigurationError, UsageError
from cascade.interfaces.pickled_calls import open_answer, pack_call, run_packed
from cascade.runtime import Engine, LocalConnector, LocalHub, publish
from cascade.spec import task
from cascade.testkit import eventually

log = logging.getLogger("press")


class Reader:
    """Keeps the envelopes of each kind."""

    def __init__(self, hub: LocalHub) -> None:
        self.connector = LocalConnector(hub, source_id="reader")
        self.kinds: dict[str, list[dict[str, Any]]] = {}

    async def receive(self, topic: str, data: dict[str, Any]) -> None:
        self.kinds.setdefault(topic.rpartition("/")[2], []).append(data)

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        return [envelope["body"] for envelope in self.kinds.get(kind, [])]

    async def ended(self, runs: int = 1) -> None:
        await eventually(
            lambda: [b.get("event") for b in self.bodies("events")].count("ENGINE_STOPPED") == runs
        )


@pytest.fixture
async def reader(hub: LocalHub) -> AsyncIterator[Reader]:
    reader = Reader(hub)
    await reader.connector.connect()
    await reader.connector.subscribe("cascade/telemetry/#", reader.receive)
    yield reader
    await reader.connector.disconnect()


def engine(hub: LocalHub, **options: Any) -> Engine:
    return Engine(connector=LocalConnector(hub, source_id="press-3"), **options)


def measure(data: Any, name: str = "temperature") -> None:
    publish(name, data)


async def measure_async(data: Any) -> None:
    publish("temperature", data)


def measure_elsewhere() -> str:
    try:
        publish("temperature", 1)
    except UsageError as error:
        return str(error)
    return "published"


@pytest.mark.parametrize("mode", ["thread", "inline", "async"])
async def test_a_task_publishes_a_value(hub: LocalHub, reader: Reader, mode: str) -> None:
    """On the topic of the kind `data`, with its own `seq`, and with the task that published it."""
    function: Any = measure_async if mode == "async" else measure
    declared = (
        task(function, name="press") if mode != "inline" else task(function, name="press", mode="inline")
    )
    await engine(hub).run(declared({"celsius": 21.5, "ok": [True, None]}))
    await reader.ended()
    (envelope,) = reader.kinds["data"]
    assert envelope["body"] == {
        "type": "DataEvent",
        "name": "temperature",
        "data": {"celsius": 21.5, "ok": [True, None]},
        "task_id": "press:0",
        "task_name": "press",
    }
    assert envelope["seq"] == 0
    assert envelope["event_id"] == f"{envelope['run_id']}-{envelope['token']}-data-0"


async def test_texts_of_a_value_are_masked_and_the_value_is_the_one_of_the_call(
    hub: LocalHub, reader: Reader
) -> None:
    """Also the value of a key that is named like a secret; a later change of the value is not sent."""
    given = {"url": "amqp://guest:s3cret@host", "password": "hunter2", "n": [1]}

    @task
    def press() -> None:
        publish("x", given)
        given["n"].append(2)  # type: ignore[attr-defined]

    await engine(hub).run(press())
    await reader.ended()
    assert reader.bodies("data")[0]["data"] == {"url": "amqp://***@host", "password": "***", "n": [1]}


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (object(), "x", "needs a JSON value"),
        (float("nan"), "x", "needs a JSON value"),
        (float("inf"), "x", "needs a JSON value"),
        ("x" * (16 * 1024 - 1), "x", "has 16385 bytes as JSON; at most 16384 are sent"),
        ("ü" * 3_000, "x", "has 18002 bytes as JSON"),
        (1, "", "1 to 200 characters"),
        (1, 7, "1 to 200 characters"),
        (1, None, "1 to 200 characters"),
        (1, "x" * 201, "1 to 200 characters"),
    ],
)
async def test_a_value_that_cannot_be_sent_is_refused(
    hub: LocalHub, data: object, name: Any, message: str
) -> None:
    """The task fails with a message that says what can be sent."""
    with pytest.raises(UsageError, match=message):
        await engine(hub).run(task(measure)(data, name))


def test_where_no_executor_passes_it_on_it_is_refused_with_the_remedy() -> None:
    """The value would not reach the engine; the message says what to do instead."""
    message = open_answer(run_packed(pack_call(measure_elsewhere, (), {})), "measure")
    assert "no context of the call" in message
    assert "return the value" in message


async def test_without_a_connector_it_goes_nowhere() -> None:
    """A workflow that publishes runs without telemetry."""
    await Engine().run(task(measure)(1))


# Logs


@task(mode="thread")
def talk(lines: int, text: str = "oil is low") -> None:
    for _ in range(lines):
        log.warning(text)


async def test_lines_of_tasks_are_sent_with_their_task(hub: LocalHub, reader: Reader) -> None:
    """From threads and from the loop; at the level and above; masked, on one line, and cut."""

    @task
    async def shout() -> None:
        log.error("password=hunter2\n%s", "x" * 2_000)
        log.info("too low a level")

    await engine(hub, logs="warning").run((talk(1), shout()))
    await reader.ended()
    first, second = sorted(reader.bodies("logs"), key=lambda body: body["task_name"], reverse=True)
    assert first == {
        "type": "LogEvent",
        "level": "WARNING",
        "logger": "press",
        "message": "oil is low",
        "task_id": "talk:0",
        "task_name": "talk",
        "skipped": 0,
    }
    assert second["message"].startswith("password=*** xxx")
    assert len(second["message"]) == 1_000
    assert [envelope["seq"] for envelope in reader.kinds["logs"]] == [0, 1]


async def test_at_most_50_lines_are_sent_in_a_second(hub: LocalHub, reader: Reader) -> None:
    """The next line that is sent counts those left out."""
    clock = FakeClock()

    @task
    async def shout() -> None:
        for number in range(50 + 7):
            log.warning("line %d", number)
        clock.ticks += 1.0
        log.warning("last")

    await engine(hub, logs="INFO", clock=clock).run(shout())
    await reader.ended()
    lines = reader.bodies("logs")
    assert [line["skipped"] for line in lines] == [*[0] * 50, 7]
    assert lines[-1]["message"] == "last"


async def test_the_lines_of_cascade_and_of_its_clients_are_not_sent(hub: LocalHub, reader: Reader) -> None:
    """A line about sending must not cause another one."""

    @task
    async def shout() -> None:
        for name in ("cascade.connector", "mqtt", "mqtt.client", "nats.aio.client", "cascades"):
            logging.getLogger(name).warning("from %s", name)

    await engine(hub, logs="INFO").run(shout())
    await reader.ended()
    assert [line["logger"] for line in reader.bodies("logs")] == ["cascades"]


async def test_a_line_goes_to_the_run_whose_task_logged_it(hub: LocalHub, reader: Reader) -> None:
    """Two runs at the same time on one engine; lines without a task are left alone by neither."""
    import asyncio

    shared = engine(hub, logs="INFO")
    await asyncio.gather(shared.run(talk(2, "one"), run_id="one"), shared.run(talk(2, "two"), run_id="two"))
    await reader.ended(2)
    found = {(envelope["run_id"], envelope["body"]["message"]) for envelope in reader.kinds["logs"]}
    assert found == {("one", "one"), ("two", "two")}
    assert logging.root.handlers == [
        each for each in logging.root.handlers if "_LineHandler" not in repr(each)
    ]


async def test_a_warning_is_shown_on_stderr_as_without_logs(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the user has set up no logging, Python shows warnings; a handler of ours must not hide them."""
    shown: list[str] = []

    class Last(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging, "lastResort", Last(logging.WARNING))
    await engine(hub, logs="INFO").run(talk(2))
    assert shown == ["oil is low", "oil is low"]


@pytest.mark.parametrize("labels", [["site"], {"site": object()}, {1: "x"}, {"x": float("inf")}])
def test_labels_that_cannot_be_reported_are_refused(labels: Any) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match=r"Engine\(labels="):
        Engine(labels=labels)


@pytest.mark.parametrize(
    ("data", "name"), [(None, "x"), ([10] + [1] * 5_460, "x" * 200), ([{"n": [1.5, True]}], "a b")]
)
async def test_the_longest_value_and_name_are_sent(
    hub: LocalHub, reader: Reader, data: object, name: str
) -> None:
    """The limits that the documentation states are the last ones that are accepted."""
    await engine(hub).run(task(measure)(data, name))
    await reader.ended()
    (body,) = reader.bodies("data")
    assert (body["name"], body["data"]) == (name, data)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 499 + "…"),
        ("first\nsecond", "first second"),
        ("token=abcdefgh and more", "token=*** and more"),
    ],
)
async def test_each_text_of_a_value_is_sent_on_one_line(
    hub: LocalHub, reader: Reader, text: str, sent: str
) -> None:
    """Wherever it stands in the value; numbers and lists beside it stay as they are."""
    await engine(hub).run(task(measure)([{"note": [text, 1]}, text, None]))
    await reader.ended()
    assert reader.bodies("data")[0]["data"] == [{"note": [sent, 1]}, sent, None]
