"""``cascade collect``: each event once, holes exactly, and no acknowledgement before the commit."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from collectors import COLLECTOR, event, kept, process, reading
from ops_modules import Collector, Recent, SqliteFile, collector_module
from paho.mqtt import publish

import cascade as cs
from cascade.cli.main import main
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import ack_topic, status_topic, telemetry_topic
from cascade.runtime import LocalConnector, LocalHub
from cascade.testkit import Mosquitto, eventually
from cascade.testkit.brokers import NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.ports import free_port
from cascade.wire import Series
from testing_tools import engines

TOPIC = telemetry_topic("local", "default", "run")


def numbers_in(path: Path) -> list[int]:
    """Return the ``seq`` of what a file has, in order of arrival."""
    if path.suffix == ".sqlite":
        try:
            with reading(path) as connection:
                return [seq for (seq,) in connection.execute("SELECT seq FROM event ORDER BY rowid")]
        except sqlite3.OperationalError:
            return []  # the file is being made
    lines = path.read_text().splitlines(keepends=True)
    # the last one may be being written
    return [json.loads(line)["seq"] for line in lines if line.endswith("\n")]


async def test_an_acknowledgement_follows_the_commit_and_only_named_sources_get_one(tmp_path: Path) -> None:
    """It has the highest number and the holes; while the disk fails there is none."""
    hub, acks = LocalHub(), list[dict[str, Any]]()
    path = tmp_path / "all.sqlite"
    file = SqliteFile(path)
    stored: list[int] = []
    store = file.store

    def recorded(*batch: Any) -> Any:
        found = store(*batch)
        stored.append(len(numbers_in(path)))
        return found

    file.store = recorded  # type: ignore[method-assign, assignment]

    async def note(topic: str, data: dict[str, Any]) -> None:
        assert topic == ack_topic("press")
        assert stored  # the commit was before
        acks.append(data)

    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        await engine.subscribe("cascade/ack/+", note, 1)
        collector = Collector(link, file, name="collector-1")
        await collector.subscribe()
        running = asyncio.create_task(collector.run())
        await engine.publish(status_topic("press"), {"status": "online", "session": "a"}, 1, retain=True)
        for seq, source in ((0, "press"), (2, "press"), (0, "host-1")):
            await engine.publish(TOPIC, event(seq, source=source), 1)
        await eventually(lambda: acks)
        running.cancel()
        await asyncio.wait({running})
    assert acks[-1] == {
        "v": "1.0",
        "by": "collector-1",
        "upto": {"run-c41e07d2": 2},
        "missing": {"run-c41e07d2": [[1, 1]]},
    }
    file.close()


async def test_a_commit_that_runs_at_the_end_is_awaited(tmp_path: Path) -> None:
    """The file takes one batch at a time: the next one follows when the first is committed."""
    hub, path = LocalHub(), tmp_path / "all.sqlite"
    file = SqliteFile(path)
    store, entered, go_on = file.store, threading.Event(), threading.Event()

    def slowly(*batch: Any) -> Any:
        entered.set()
        assert go_on.wait(60)
        return store(*batch)

    file.store = slowly  # type: ignore[method-assign, assignment]
    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        collector = Collector(link, file, name="collector-1")
        await collector.subscribe()
        running = asyncio.create_task(collector.run())
        await engine.publish(TOPIC, event(0), 1)
        assert await asyncio.to_thread(entered.wait, 60)
        await engine.publish(TOPIC, event(1), 1)
        await eventually(lambda: collector._batch)
        running.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert collector._batch
        go_on.set()
        await asyncio.wait({running})
    assert running.cancelled()
    assert numbers_in(path) == [0, 1]
    file.close()


async def test_only_so_many_messages_gather_while_the_file_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait in the queue of the subscription, which has a bound, and follow."""
    monkeypatch.setattr(collector_module, "MOST", 3)
    hub, path, seen = LocalHub(), tmp_path / "all.sqlite", list[int]()
    file = SqliteFile(path)
    store, entered, go_on = file.store, threading.Event(), threading.Event()

    def slowly(*batch: Any) -> Any:
        entered.set()
        assert go_on.wait(60)
        return store(*batch)

    async def note(topic: str, data: dict[str, Any]) -> None:
        seen.append(data["seq"])

    file.store = slowly  # type: ignore[method-assign, assignment]
    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        collector = Collector(link, file, name=None)
        await collector.subscribe()
        await link.subscribe(TOPIC, note, 1)
        running = asyncio.create_task(collector.run())
        await engine.publish(TOPIC, event(0), 1)
        assert await asyncio.to_thread(entered.wait, 60)
        for seq in range(1, 12):
            await engine.publish(TOPIC, event(seq), 1)
        await eventually(lambda: len(seen) == 12)
        await eventually(lambda: len(collector._batch) >= 3)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(collector._batch) == 3
        go_on.set()
        await eventually(lambda: numbers_in(path) == [*range(12)])
        running.cancel()
        await asyncio.wait({running})
    file.close()


async def test_an_acknowledgement_names_each_run_of_a_batch(tmp_path: Path) -> None:
    """Of more runs than one acknowledgement has room for: what is not acknowledged is sent again."""
    hub, acked, runs = LocalHub(), set[str](), 3 * Recent.MOST - 1
    file = SqliteFile(tmp_path / "all.sqlite")

    async def note(topic: str, data: dict[str, Any]) -> None:
        assert len(data["upto"]) <= Recent.MOST
        acked.update(data["upto"])

    async with LocalConnector(hub) as engine, LocalConnector(hub) as link:
        await engine.subscribe(ack_topic("press"), note, 1)
        collector = Collector(link, file, name="collector-1")
        await collector.subscribe()
        await engine.publish(status_topic("press"), {"status": "online", "session": "a"}, 1, retain=True)
        running = asyncio.create_task(collector.run())
        for number in range(runs):
            run_id = f"run-{number}"
            message = {**event(0), "run_id": run_id, "event_id": f"{run_id}-c41e07d2-0"}
            await engine.publish(telemetry_topic("local", "default", run_id), message, 1)
            if not number:
                await eventually(lambda: acked)  # it knows the source
        await eventually(lambda: acked == {f"run-{number}-c41e07d2" for number in range(runs)})
        running.cancel()
        await asyncio.wait({running})
    file.close()


# The server keeps what comes meanwhile


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
async def test_events_come_from_the_stream_that_a_nats_server_kept_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a restart of the server, and into a queue that is shorter than what waits; then each as it comes."""
    path, count = tmp_path / "all.sqlite", 2_500
    with NatsServer() as server, contextlib.ExitStack() as alive:

        def collector() -> subprocess.Popen[bytes]:
            return alive.enter_context(
                process(sys.executable, "-c", COLLECTOR, server.nats_url, str(path), "--name", "my box.1")
            )

        async def send(first: int, last: int) -> None:
            engine = cs.connector(f"{server.nats_url}?source_id=press", required=True, drain_timeout=60.0)
            await engine.connect()
            for seq in range(first, last):
                await engine.publish(TOPIC, event(seq), 1)
            await engine.disconnect()

        running = collector()
        await send(0, 1)
        await eventually(lambda: len(kept(path)) == 1)
        running.kill()
        await asyncio.to_thread(running.wait)
        await send(1, count)
        await asyncio.to_thread(server.restart)
        collector()
        await eventually(lambda: len(kept(path)) == count)
        await send(count, count + 1)
        await eventually(lambda: len(kept(path)) == count + 1)
    assert main(["collect", "--to", str(path), "--holes"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
async def test_no_event_of_a_burst_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An MQTT broker sends it as fast as it can, and what has reached the collector never again."""
    require_mosquitto()
    path, count = tmp_path / "all.sqlite", 5_000
    # Each callback takes a turn of the event loop of its own, as on a busy machine: messages come faster.
    busy = f"from cascade.transport import event_loop\nevent_loop.LOOP_BUDGET = 0.0\n{COLLECTOR}"
    with (
        Mosquitto() as broker,
        process(sys.executable, "-c", busy, broker.url, str(path)) as collector,
    ):
        async with MqttConnector(broker.host, broker.port, presence=False, required=True) as writer:

            async def first_is_there() -> bool:
                await writer.publish(TOPIC, event(0), 1)
                return len(kept(path)) == 1

            await eventually(first_is_there)
            collector.send_signal(signal.SIGSTOP)  # so all come at once
            for seq in range(1, count):
                await writer.publish(TOPIC, event(seq), 1)
            assert await writer.flush(60.0)
            collector.send_signal(signal.SIGCONT)
            await eventually(lambda: len(kept(path)) == count)
    assert main(["collect", "--to", str(path), "--holes"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize("nats", [False, True], ids=["mqtt", "nats"])
@pytest.mark.parametrize("name", ["all.sqlite", "all.jsonl"])
async def test_a_collector_whose_disk_is_full_goes_on_when_there_is_room(
    name: str, nats: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 33: the system lets it write no further byte. It says so once; what came meanwhile is in the file afterwards, each once."""
    resource = pytest.importorskip("resource")
    path, count = tmp_path / name, 3_000
    if not nats:
        require_mosquitto()
    with NatsServer() if nats else Mosquitto() as broker:
        url = broker.nats_url if isinstance(broker, NatsServer) else broker.url
        command = [sys.executable, "-c", COLLECTOR, url, str(path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as collector:
            try:
                assert collector.stderr is not None
                said = iter(collector.stderr.readline, "")
                engine = cs.connector(f"{url}?source_id=press", required=True, drain_timeout=60.0)
                await engine.connect()
                await eventually(path.exists)

                async def first_is_there() -> bool:
                    await engine.publish(TOPIC, event(0), 1)
                    return numbers_in(path) == [0]

                await eventually(first_is_there)
                resource.prlimit(collector.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
                for seq in range(1, count):
                    await engine.publish(TOPIC, event(seq), 1)
                assert f"{path} cannot be written now: " in await asyncio.to_thread(next, said)
                await engine.disconnect()
                resource.prlimit(
                    collector.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                )
                assert await asyncio.to_thread(next, said) == f"{path} is written again\n"
                await eventually(lambda: len(numbers_in(path)) == count)
            finally:
                collector.terminate()
            assert [*said] == []
    assert sorted(numbers_in(path)) == [*range(count)]
    assert main(["collect", "--to", str(path), "--holes"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize("options", [[], ["--prometheus", "127.0.0.1:FREE"]], ids=["alone", "with metrics"])
def test_a_collector_waits_for_a_broker_that_is_not_there_yet(options: list[str], tmp_path: Path) -> None:
    """As an engine does; it says so once, and collects as soon as the broker is there."""
    path, port = tmp_path / "all.sqlite", free_port()
    options = [each.replace("FREE", str(free_port())) for each in options]
    command = [sys.executable, "-c", COLLECTOR, f"mqtt://127.0.0.1:{port}", str(path), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as collector:
        try:
            assert collector.stderr is not None
            said = iter(collector.stderr.readline, "")
            assert next(line for line in said if "metrics are served" not in line).endswith(
                "; waiting for the broker\n"
            )
            with NatsServer(port=port) as broker:
                assert next(said) == "linked\n"
                series = Series("run", org_id="local", project_id="default", source="a")
                task = {"type": "TaskStateEvent", "task_id": "t:0", "task_name": "t", "state": "RUNNING"}
                body: Any = {**task, "duration_ms": 0.0, "error": ""}
                envelope = json.dumps(series.envelope(0.0, body))

                def stored() -> bool:
                    publish.single(TOPIC, envelope, 1, port=broker.port)
                    return path.exists() and numbers_in(path) == [0]

                engines.eventually(stored, "the event is in the file")
        finally:
            collector.kill()
