"""Secrets in the texts of errors, names and tags are masked in every published byte and every log line."""

import json
import logging
import secrets
from typing import Any

import pytest
from simple_tasks import give

from cascade.interfaces import ConfigurationError, Redactor, TaskStateEvent
from cascade.runtime import Engine, EventBus, LocalConnector, LocalHub, TelemetrySubscriber
from cascade.spec import LazyResult, inject, resource, task
from cascade.testkit import eventually

FORMS = [
    "password={}",
    "amqp://guest:{}@host refused",
    "{{'api_key': '{}'}}",
    "GET https://h/p?x=1&sig={} failed",
    "--password {}",
    "Authorization: Bearer {}",
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
]


@pytest.fixture
def canary() -> str:
    return "Canary" + secrets.token_hex(8)


@pytest.fixture(params=FORMS)
def text(request: pytest.FixtureRequest, canary: str) -> str:
    made: str = request.param.format(canary)
    return made


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def published(target: LazyResult[Any], *, hub: LocalHub | None = None, **settings: Any) -> str:
    """Run the target, which may fail; return every message that an observer receives."""
    hub, received = hub or LocalHub(), list[str]()

    async def receive(topic: str, data: dict[str, Any]) -> None:
        received.append(topic + json.dumps(data))

    of_run = {key: settings.pop(key) for key in ("name", "tags", "on_failure") if key in settings}
    async with LocalConnector(hub) as observer:
        await observer.subscribe("cascade/telemetry/#", receive)
        await observer.subscribe("cascade/state/#", receive)
        engine = Engine(connector=LocalConnector(hub, source_id="line-3"), **settings)
        try:
            await engine.run(target, **of_run)
        except Exception:
            logging.getLogger("users").debug("the run failed")
        await eventually(lambda: any("ENGINE_STOPPED" in line for line in received))
    return "\n".join(received)


@task
async def fail(text: str) -> None:
    try:
        raise OSError(text)
    except OSError as exc:
        raise ValueError(f"it failed: {text}") from exc


@task
async def fail_at_first(text: str, tries: list[int]) -> int:
    tries.append(1)
    if len(tries) == 1:
        raise OSError(text)
    return 1


async def test_no_secret_of_a_failure_leaves(
    text: str, canary: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error of a task, of an earlier try, and of several tasks together."""
    for target in (fail(text), fail_at_first(text, []).with_retry(2)):
        assert canary not in await published(target)
    assert canary not in await published(give([fail(text), fail(text)]), on_failure="continue")
    assert canary not in caplog.text


async def test_no_secret_of_a_name_or_tag_leaves(text: str, canary: str) -> None:
    """The run's name and tags are free text; a tag that is named like a secret hides its value."""
    text = text.replace("\n", " ")  # a name is one line
    received = await published(
        give(1), name=text, tags={"note": text, "db_password": canary, "pin_token": 4711081547110815}
    )
    assert canary not in received
    assert "4711081547110815" not in received  # no session and no time contains so many digits
    assert "note" in received


async def test_no_secret_of_an_observer_or_a_resource_is_logged(
    text: str, canary: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Log lines are masked, tracebacks with causes too: a failing observer, a resource that does not close."""

    def observe(event: object) -> None:
        try:
            raise OSError(text)
        except OSError as exc:
            raise ValueError("observer") from exc

    bus = EventBus()
    bus.subscribe(TaskStateEvent, observe)

    @resource
    def unclosable() -> Any:
        yield 1
        raise RuntimeError(text)

    @task
    async def use(opened: Any = inject(unclosable)) -> None:  # noqa: B008 - that is how it is declared
        raise ValueError("x")

    assert canary not in await published(use(), bus=bus)
    assert "failed on TaskStateEvent" in caplog.text
    assert "RuntimeError: " in caplog.text
    assert canary not in caplog.text


async def test_no_secret_of_a_connector_is_logged(
    text: str, canary: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A connector of the user may raise anything."""

    class Odd:
        async def connect(self) -> None: ...

        async def disconnect(self) -> None: ...

        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            raise ConnectionError(text)

        async def subscribe(self, topic: str, callback: Any, qos: int = 0) -> Any: ...

    await Engine(connector=Odd()).run(give(1))
    assert "are lost" in caplog.text
    assert canary not in caplog.text


async def test_a_user_redactor_masks_what_leaves_and_what_is_logged(
    caplog: pytest.LogCaptureFixture, canary: str
) -> None:
    """Its names and patterns are added to the usual ones, also where the user has attached the subscriber."""
    mine = Redactor(names=["iban"], patterns=["Canary*"])
    text = f"iban=DE12 {canary} password=x9"
    bus = EventBus()

    def observe(event: object) -> None:
        raise ValueError(text)

    bus.subscribe(TaskStateEvent, observe)
    received = await published(fail(text), redactor=mine, bus=bus)
    for masked in (received, caplog.text):
        assert "iban=*** *** password=***" in masked
        assert canary not in masked

    hub = LocalHub()
    connector = LocalConnector(hub)
    attached = TelemetrySubscriber(bus, connector)
    with TelemetrySubscriber.attached(bus, connector, mine) as found:
        assert found is attached
        assert canary not in attached.redactor.one_line(text)


def test_a_wrong_redactor_is_refused() -> None:
    """The message names the class."""
    with pytest.raises(ConfigurationError, match=r"Engine\(redactor=\): takes a cs.Redactor, not str"):
        Engine(redactor="password")  # type: ignore[arg-type]
