"""Telemetry: exact messages, in order, without ever reaching back into the run."""

import asyncio
import json
import os
import platform
from typing import Any

import pytest
from fakes import Plain
from simple_tasks import double

from cascade.interfaces import ConfigurationError
from cascade.interfaces.topics import check_topic
from cascade.runtime import (
    Engine,
    ThreadExecutor,
)
from cascade.spec import task


@task
async def fail() -> None:
    raise ValueError("no\n[bold]amqp://user:pa55@host/x" + "y" * 1000)


def bodies(connector: Plain) -> list[tuple[str, str]]:
    return [(b["type"], b.get("state") or b["event"]) for b in (m["body"] for _, m, _ in connector.sent)]


async def test_a_run_is_published_through_the_smallest_connector() -> None:
    """Connect, publish in order with QoS 1 and seq from 0 without a hole, disconnect: four methods suffice."""
    connector = Plain()
    assert await Engine(connector=connector).run(double(1)) == 2
    assert connector.log == ["connect", "disconnect"]
    assert bodies(connector) == [
        ("LifecycleEvent", "ENGINE_STARTED"),
        ("TaskStateEvent", "RUNNING"),
        ("TaskStateEvent", "COMPLETED"),
        ("LifecycleEvent", "ENGINE_STOPPED"),
    ]
    topics = {topic for topic, _, _ in connector.sent}
    (run_id,) = {m["run_id"] for _, m, _ in connector.sent}
    assert topics == {f"cascade/telemetry/local/default/{run_id}/events"}
    assert [m["seq"] for _, m, _ in connector.sent] == [0, 1, 2, 3]
    assert {qos for _, _, qos in connector.sent} == {1}
    (token,) = {m["token"] for _, m, _ in connector.sent}
    assert [m["event_id"] for _, m, _ in connector.sent] == [f"{run_id}-{token}-{seq}" for seq in range(4)]
    assert {m["source"] for _, m, _ in connector.sent} == {f"{platform.node()}-{os.getpid()}"}


async def test_organisation_and_project_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """CASCADE_ORG_ID and CASCADE_PROJECT_ID name the topic, encoded, and stand in the message as they are."""
    monkeypatch.setenv("CASCADE_ORG_ID", "plant 3")
    monkeypatch.setenv("CASCADE_PROJECT_ID", "a/b")
    connector = Plain()
    await Engine(connector=connector).run(double(1))
    topic, message, _ = connector.sent[0]
    assert topic.startswith("cascade/telemetry/plant%203/a%2Fb/")
    assert (message["org_id"], message["project_id"]) == ("plant 3", "a/b")


@pytest.mark.parametrize("variable", ["CASCADE_ORG_ID", "CASCADE_PROJECT_ID"])
async def test_an_identifier_too_long_for_a_topic_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """The run raises ConfigurationError before its first task; an identifier of any 1,000 characters works."""
    monkeypatch.setenv(variable, "x" * 70_000)
    connector = Plain()
    with pytest.raises(ConfigurationError, match=f"{variable}: it has 70000 characters; use at most 1000"):
        await Engine(connector=connector).run(double(1))
    assert connector.sent == []
    monkeypatch.setenv(variable, "\N{GRINNING FACE}" * 1_000)
    assert await Engine(connector=connector).run(double(1)) == 2
    check_topic(connector.sent[0][0])


async def test_error_text_leaves_on_one_short_line_without_credentials() -> None:
    """Row 31 and the contract: one line, 500 characters, markup left literal, credentials in URLs masked."""
    connector = Plain()
    with pytest.raises(ValueError, match="pa55"):
        await Engine(connector=connector).run(fail())
    (failed,) = [m["body"] for _, m, _ in connector.sent if m["body"].get("state") == "FAILED"]
    stopped = connector.sent[-1][1]["body"]
    for body, task_id in ((failed, ""), (stopped, "fail:0: ")):
        assert body["error"].startswith(f"{task_id}ValueError: no [bold]amqp://***@host/x")
        assert len(body["error"]) == 500
        assert "pa55" not in json.dumps(body)
    assert stopped["status"] == "Failed"


async def test_a_connector_that_fails_does_not_affect_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """A connector whose every method raises costs one line for each kind of failure, and no run."""

    class Broken(Plain):
        async def connect(self) -> None:
            raise OSError("no route")

        async def disconnect(self) -> None:
            raise OSError("no route")

        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            raise OSError("no route")

    assert await Engine(connector=Broken()).run(double.map(x=list(range(50)))) == [2 * x for x in range(50)]
    assert len(caplog.records) == 3
    assert all("the run goes on" in r.getMessage() or "disconnect" in r.getMessage() for r in caplog.records)


async def test_what_is_not_taken_in_time_is_dropped_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A publish that never returns costs the run the drain and no more; the rest is counted."""
    monkeypatch.setattr("cascade.runtime._run.TELEMETRY_DRAIN", 0.01)

    class Stuck(Plain):
        async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
            await asyncio.Event().wait()

    assert await Engine(connector=Stuck()).run(double(1)) == 2
    assert "3 telemetry messages were not sent in time" in caplog.text


async def test_an_executor_that_cannot_settle_does_not_cost_the_result(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a run has found out is not lost to its winding up; one line says what went wrong."""

    class Unsettled(ThreadExecutor):
        async def settle(self, timeout: float) -> int:
            raise OSError("gone")

    @task
    def offloaded() -> int:
        return 2

    executor = Unsettled(1)
    assert await Engine(executor=executor).run(offloaded()) == 2
    assert "OSError: gone" in caplog.text
    await executor.close()
