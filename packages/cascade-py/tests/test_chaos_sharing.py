"""One connector for several runs, and any text: rows 31 and 32."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import status_topic
from cascade.testkit import Broker, Mosquitto, eventually, no_leaks
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.recorder import Recorder

pytestmark = pytest.mark.broker

EVENTS = "cascade/telemetry/+/+/+/events"
BOUND = 20.0
PATIENT = {"connect_timeout": BOUND, "drain_timeout": BOUND}
"""A busy machine is slow: no event is dropped for that."""


@cs.task
def work(number: int) -> int:
    return number


@cs.task
async def total(values: list[int]) -> int:
    return sum(values)


def workflow(tasks: int) -> cs.LazyResult[int]:
    return total([work(number) for number in range(tasks)])


@pytest.fixture
def recorder(fresh_broker: Broker) -> Iterator[Recorder]:
    with Recorder(fresh_broker.host, fresh_broker.port, "cascade/#") as started:
        yield started


def runs(recorder: Recorder) -> dict[str, list[dict[str, Any]]]:
    """Return the messages of each run that has come to its end, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for message in recorder.first_copies(EVENTS):
        found.setdefault(message["run_id"], []).append(message)
    return {
        run: events for run, events in found.items() if events[-1]["body"].get("event") == "ENGINE_STOPPED"
    }


async def whole(recorder: Recorder, count: int, tasks: int) -> None:
    """Wait for ``count`` runs of so many tasks, and check that each was published completely and in order."""
    await eventually(lambda: len(runs(recorder)) == count, BOUND)
    for events in runs(recorder).values():
        assert [message["seq"] for message in events] == list(range(2 * tasks + 4))
        assert events[0]["body"]["event"] == "ENGINE_STARTED"


def statuses(recorder: Recorder, name: str) -> list[str]:
    return [message.json()["status"] for message in recorder.of(status_topic(name))]


@pytest.mark.parametrize("name", ["line-3", ""], ids=["named", "unnamed"])
def test_two_runs_in_a_row_with_one_connector(fresh_broker: Broker, recorder: Recorder, name: str) -> None:
    """Each is published completely; a named connector comes and goes with each, and leaves ``offline`` retained."""
    connector = MqttConnector(
        fresh_broker.host, fresh_broker.port, source_id=name or None, required=True, **PATIENT
    )
    for _ in range(2):
        assert cs.run(workflow(50), connector=connector) == sum(range(50))
        assert not connector.connected
    asyncio.run(whole(recorder, 2, 50))
    counts = connector.statistics()
    assert (counts.connections, counts.pending, set(counts.dropped) - {"superseded"}) == (2, 0, set())
    if not name:
        assert statuses(recorder, connector.source_id) == []
        return
    asyncio.run(eventually(lambda: statuses(recorder, name)[-1:] == ["offline"], BOUND))
    sessions = {(m.json()["status"], m.json()["session"]) for m in recorder.of(status_topic(name))}
    assert len(sessions) == 4
    with Recorder(fresh_broker.host, fresh_broker.port, status_topic(name)) as later:
        asyncio.run(eventually(lambda: later.messages, BOUND))
        (message,) = later.messages
        assert (message.json()["status"], message.retain) == ("offline", True)


async def test_two_engines_share_a_connector(fresh_broker: Broker, recorder: Recorder) -> None:
    """The first to end leaves it to the other; both are published completely, over one link."""
    connector = MqttConnector(fresh_broker.host, fresh_broker.port, source_id="shared", **PATIENT)
    gate = asyncio.Event()

    @cs.task
    async def held(values: list[int]) -> int:
        await gate.wait()
        return sum(values)

    async with no_leaks():
        longer = asyncio.create_task(
            cs.Engine(connector=connector).run(held([work(number) for number in range(50)]))
        )
        await eventually(lambda: connector.statistics().linked, BOUND)
        assert await cs.Engine(connector=connector).run(workflow(50)) == sum(range(50))
        assert connector.connected
        gate.set()
        assert await longer == sum(range(50))
        assert not connector.statistics().linked
    await whole(recorder, 2, 50)
    await eventually(lambda: statuses(recorder, "shared")[-1:] == ["offline"], BOUND)
    assert statuses(recorder, "shared") == ["online", "offline"]
    assert connector.statistics().connections == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("[bold red]no[/] <b>no</b>", "[bold red]no[/] <b>no</b>", id="markup"),
        pytest.param("one\ntwo\r\nthree\u2028four", "one two three four", id="newlines"),
        pytest.param("\x00\x07\x1b[31mred\x1b[0m\x9b", " [31mred [0m", id="control characters"),
        pytest.param("x" * 1_000_000, "x" * (499 - len("ValueError: ")) + "…", id="1 MB"),
        pytest.param("half a character: \ud800", "half a character:", id="lone surrogate"),
        pytest.param(
            "amqp://guest:s3cret@host/queue refused", "amqp://***@host/queue refused", id="password"
        ),
    ],
)
async def test_row_31_any_error_text_arrives_on_one_short_line(
    fresh_broker: Broker, recorder: Recorder, text: str, error: str
) -> None:
    """Shown literally, cut at 500 characters, in the task's event and in the run's last one."""

    @cs.task
    async def bad() -> None:
        raise ValueError(text)

    connector = MqttConnector(fresh_broker.host, fresh_broker.port, required=True, **PATIENT)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what was raised, whatever it is
        await cs.Engine(connector=connector).run(bad())
    assert caught.value.args == (text,)  # the caller's own stays whole
    await eventually(lambda: runs(recorder), BOUND)
    (messages,) = runs(recorder).values()
    of_task, of_run = (message["body"]["error"] for message in messages[-2:])
    assert of_task == f"ValueError: {error}"
    assert (of_run[:480], len(of_run) <= 500) == (f"bad:0: {of_task}"[:480], True)
    assert set(connector.statistics().dropped) <= {"superseded"}


async def test_row_32_no_secret_goes_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither an argument, a result, a variable, the environment nor a password shows on the wire or in a log."""
    require_mosquitto()
    secrets = {name: uuid.uuid4().hex for name in ("broker", "argument", "result", "environment", "url")}
    monkeypatch.setenv("CASCADE_TEST_TOKEN", secrets["environment"])

    @cs.task
    async def fetch(token: str) -> str:
        return secrets["result"]

    @cs.task
    async def bad(value: str, token: str) -> None:
        local = os.environ["CASCADE_TEST_TOKEN"]
        raise ConnectionError(f"amqp://guest:{secrets['url']}@queue refused {len(local)} characters")

    with Mosquitto(users={"press": secrets["broker"]}) as broker:
        user = {"username": "press", "password": secrets["broker"]}
        with Recorder(broker.host, broker.port, "#", **user) as heard:
            connector = MqttConnector.from_url(
                f"mqtt://press:{secrets['broker']}@{broker.host}:{broker.port}"
            )
            with pytest.raises(ConnectionError):
                await cs.Engine(connector=connector).run(bad(fetch(secrets["argument"]), secrets["argument"]))
            await eventually(lambda: runs(heard), BOUND)
            sent = "\n".join(f"{each.topic} {each.payload!r}" for each in heard.messages)
    assert "amqp://***@queue refused" in sent
    output = f"{sent}\n{caplog.text}\n{connector!r}"
    assert [name for name, secret in secrets.items() if secret in output] == []
