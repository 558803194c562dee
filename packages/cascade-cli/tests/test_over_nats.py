"""The command on a NATS server: the broker's URL is all that differs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cascade as cs
from cascade.cli import main
from cascade.cli.output import Output
from cascade.testkit.brokers import NatsServer
from cascade.wire import engine_view
from testing_tools.engines import PASSWORD, eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.usefixtures("patient", "patient_with_nats"),
]


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as own:
        yield own


@contextlib.contextmanager
def endless_run(server: NatsServer) -> Iterator[Callable[[], None]]:
    """Run a named engine in a thread, until the end of the context; the value cancels its run."""
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    @cs.task
    async def work(n: int) -> int:
        await asyncio.sleep(0.02)
        return n

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        loops.append((asyncio.get_running_loop(), task))
        target = work.map(n=range(100_000)).with_concurrency(1)
        url = f"{server.nats_url}?source_id=press-3"
        with contextlib.suppress(asyncio.CancelledError, cs.RunCancelledError):
            await cs.arun(target, connector=url, run_id="r1")

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    eventually(lambda: loops, "the engine's loop")
    left = [task.cancel for _, task in loops]

    def end() -> None:
        if left:
            loops[0][0].call_soon_threadsafe(left.pop())

    try:
        yield end
    finally:
        end()
        thread.join()


@pytest.mark.full
def test_a_user_who_may_not_start_is_not_sent_for_the_rules_of_a_reader(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server refuses only the subscription to the answers."""
    monkeypatch.setenv("CASCADE_NATS_PASSWORD", PASSWORD)
    user = f'{{ user: "eye", password: "{PASSWORD}", permissions: {{ subscribe: {{ deny: "cascade.responses.>" }} }} }}'
    with NatsServer(lines=["authorization {", f"  users = [{user}]", "}"]) as server:
        url = server.nats_url.replace("://", "://eye@")
        assert main(["start", "audit", "--broker", url]) == 3
    assert "cascade acl --requester NAME=WORKFLOW prints them" in capsys.readouterr().err


@pytest.fixture
def engine(server: NatsServer) -> Iterator[None]:
    """A named engine with an endless run."""
    with endless_run(server):
        yield


def shown(capsys: pytest.CaptureFixture[str], server: NatsServer, *arguments: str) -> Any:
    """Run a command and return its JSON."""
    assert main([*arguments, "--broker", server.nats_url, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_watches_and_steers_by_the_url(
    server: NatsServer, engine: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Engines and runs are listed; a pause is reported as applied, listed with the engine that obeys, and lifted."""
    rows = eventually(lambda: shown(capsys, server, "runs"), "the run")
    assert [(row["source"], row["run_id"], row["status"]) for row in rows] == [("press-3", "r1", "Running")]
    assert [(row["source"], row["status"]) for row in shown(capsys, server, "ps")] == [("press-3", "online")]
    paused = shown(capsys, server, "pause", "press-3", "--wait")
    assert (paused["applied"], paused["topic"]) == (["press-3"], "cascade/constraints/source/press-3/@pause")
    (register,) = shown(capsys, server, "constraints")
    assert (register["type"], register["applied"]) == ("pause", ["press-3"])
    assert shown(capsys, server, "resume", "press-3", "--wait")["applied"] == ["press-3"]
    assert shown(capsys, server, "constraints") == []


def test_a_watch_over_mqtt_says_what_it_does_not_know_of_an_engine_on_nats(
    server: NatsServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status is unknown, never lost, and a watch that begins late says which events are not counted."""
    monkeypatch.setattr(engine_view, "LIVE_SECONDS", 0.0)  # it is silent between two messages
    noted: list[str] = []
    note = Output.note

    with endless_run(server) as end:

        def end_it(output: Output, text: str) -> None:
            note(output, text)
            noted.append(text)
            end()

        rows = eventually(
            lambda: [row for row in shown(capsys, server, "runs") if row["counts"].get("COMPLETED")], "a task"
        )
        assert rows[0]["run_id"] == "r1"
        monkeypatch.setattr(Output, "note", end_it)
        over_mqtt = f"mqtt://{server.host}:{server.port}"
        assert main(["watch", "--json", "--until-done", "r1", "--broker", over_mqtt]) == 4
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["status"] for row in rows if row["kind"] == "engine"} == {"unknown"}
    assert {row["status"] for row in rows if row["kind"] == "run"} <= {"Running", "Cancelled"}
    assert all(row["missing"] > 0 for row in rows if row["kind"] == "run")
    first, last = noted
    assert first.startswith(
        "only events of press-3 arrive, neither a birth nor a report: whether it is online"
    )
    assert "use --broker nats://HOST" in first
    assert last.startswith("run r1 cancelled")
