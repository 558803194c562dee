"""The past on the page: 100,000 runs that are listed and filtered, and a run of 20,000 tasks that is opened in a browser."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from cascade.ops._collecting.sqlite_file import SqliteFile
from cascade.testkit.brokers import Broker, start_broker
from cascade.testkit.ports import free_port
from figures.measure import Settings, run
from figures.table import Row, no_more_than

TITLE = "the past: runs in a collector's file, as cascade web --history shows them"

RUNS, TASKS, BURST = 100_000, 20_000, 20_000
FIRST = 1_790_000_000.0
QUESTIONS = {
    "list 100,000 runs, the first page": {},
    "- those of one name": {"name": "nightly-7"},
    "- the failed ones of one engine": {"status": "Failed", "engine": "press-13"},
    "- a name that none has": {"name": "nothing has this name"},
}
_KEY = "'run-' || n AS run_id, 'press-' || (n % 50) AS source, 'local' AS org_id, 'default' AS project_id"
_RUNS = f"""
WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?)
INSERT INTO summary SELECT {_KEY}, 'nightly-' || (n % 20), CASE WHEN n % 20 THEN 'Succeeded' ELSE 'Failed' END,
    {FIRST} + 60 * n, {FIRST} + 60 * n + 30, '', 1, {FIRST} + 60 * n + 30, '{{"COMPLETED": 100}}' FROM number
"""
_STARTS = f"""
WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?)
INSERT INTO event SELECT {_KEY}, 't', 'events', 0, 1, 'LifecycleEvent', NULL, '', {FIRST} + 60 * n, '{{}}' FROM number
"""
_TASKS = f"""
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n + 1 <= 2 * ?)
INSERT INTO event SELECT 'run-0', 'press-0', 'local', 'default', 't', 'events', n, 1, 'TaskStateEvent', NULL, '', {FIRST} + n, json_object(
    'ts', strftime('%Y-%m-%dT%H:%M:%fZ', {FIRST} + n / 100.0, 'unixepoch'), 'body', json_object('type', 'TaskStateEvent',
    'task_id', 'weld:0[' || ((n - 1) / 2) || ']', 'task_name', 'weld-' || ((n - 1) / 2 % 20), 'error', '',
    'state', CASE WHEN n % 2 THEN 'RUNNING' ELSE 'COMPLETED' END)) FROM number
"""
_FRAMES = """() => { window.longest = 0; let last = performance.now();
    const tick = (now) => { window.longest = Math.max(window.longest, now - last); last = now; requestAnimationFrame(tick); };
    requestAnimationFrame(tick); }"""
_COLLECTOR = """
import sys, time
from cascade.cli.main import main
from cascade.ops._collecting.sqlite_file import SqliteFile

store = SqliteFile.store

def slowly(self, *args):
    found = store(self, *args)
    time.sleep(float(sys.argv[1]))
    return found

SqliteFile.store = slowly
sys.exit(main(["collect", "--to", *sys.argv[2:]]))
"""
LIVE = """
import asyncio, sys, cascade as cs

@cs.task
async def step(n: int) -> int:
    await asyncio.sleep(0.02)
    return n

cs.run(step.map(n=range(100_000)).with_concurrency(2), connector=sys.argv[1] + "?source_id=live", run_id="live")
"""


def rows(settings: Settings) -> Iterator[Row]:
    """Measure the answers of the server, then the page in Chromium where it and playwright are installed."""
    runs, tasks = settings.size(RUNS), settings.size(TASKS)
    with tempfile.TemporaryDirectory() as folder, start_broker() as broker:
        path = Path(folder) / "all.sqlite"
        _write(path, runs, tasks)
        with _served(path, broker) as place:
            yield from run(_answers(place, settings.rounds_or(20)))
            if find_spec("playwright") is not None:
                with _running("-c", LIVE, broker.url):
                    yield from run(_opened(place, settings.rounds_or(5)))
    for name, pause in (
        ("a burst of 20,000 events until all are stored", 0.0),
        ("- with a disk of 30 ms a commit", 0.03),
    ):
        rates = [_collected(settings.size(BURST), pause) for _ in range(settings.rounds_or(3))]
        yield Row(name, "/s", rates)


def _write(path: Path, runs: int, tasks: int) -> None:
    SqliteFile(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement, number in ((_RUNS, runs), (_STARTS, runs), (_TASKS, tasks)):
            connection.execute(statement, (number,))


@contextmanager
def _served(path: Path, broker: Broker) -> Iterator[str]:
    """Serve the page in a process of its own; the value is host and port."""
    port = free_port()
    options = ["--broker", broker.url, "--history", str(path), "--port", str(port)]
    with _running("-m", "cascade.cli", "web", *options):
        while not _answers_at(port):
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"


@contextmanager
def _running(*arguments: str) -> Iterator[None]:
    """Run a program of Python until the context ends."""
    with subprocess.Popen(
        [sys.executable, "-P", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()


def _answers_at(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _answers(place: str, rounds: int) -> list[Row]:
    """Return the milliseconds from a question to all of its answer."""
    found = []
    async with connect(
        f"ws://{place}/history",
        origin=Origin(f"http://{place}"),
        subprotocols=[Subprotocol("cascade.history")],
        max_size=None,
        proxy=None,
    ) as socket_:
        for name, question in QUESTIONS.items():
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                await socket_.send(json.dumps({"what": "runs", "id": 1, **question}))
                assert "error" not in json.loads(await socket_.recv())
                times.append(1000 * (time.perf_counter() - began))
            found.append(Row(name, "ms", times, target=no_more_than(200)))
    return found


async def _opened(place: str, rounds: int) -> list[Row]:
    """Return the seconds until the page shows a run, and for how long its live panels stand still meanwhile."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "cascade-web" / "tests"))
    from browsing import Tab, chromium

    seconds, longest = list[float](), list[float]()
    async with chromium() as browser:
        for _ in range(rounds):
            tab = await Tab.of(browser)
            await tab.page.goto(f"http://{place}/")
            await tab.page.get_by_role("region", name="Runs", exact=True).get_by_text("step").first.wait_for()
            await tab.page.evaluate(_FRAMES)
            seconds.append(await _open(tab.page))
            longest.append(await tab.page.evaluate("window.longest"))
            await tab.close()
    return [
        Row(f"open a run of {TASKS:,} tasks in Chromium", "s", seconds, target=no_more_than(1)),
        # it draws ten times a second
        Row("- the longest time without a frame meanwhile", "ms", longest, target=no_more_than(100)),
    ]


async def _open(page: Any) -> float:
    began = time.perf_counter()
    await page.evaluate("() => { window.longest = 0; location.hash = '#run=run-0&on=press-0'; }")
    await page.locator("#details-close:not([hidden])").wait_for()
    await page.get_by_role("region", name="Tasks by name").get_by_role("row").nth(19).wait_for()
    return time.perf_counter() - began


def _collected(events: int, pause: float) -> float:
    """Return how many events a second a collector stores of a burst; a broker with room for all of them loses none."""
    from cascade.testkit.brokers import Mosquitto

    with Mosquitto(max_queued_messages=100_000) as broker, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all.sqlite"
        command = [sys.executable, "-c", _COLLECTOR, str(pause), str(path), "--broker", broker.url]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as collector:
            try:
                _send(broker, 1)
                while not _stored(path):
                    time.sleep(0.1)
                    _send(broker, 1)
                began = time.perf_counter()
                _send(broker, events)
                while _stored(path) < events:
                    time.sleep(0.01)
                return events / (time.perf_counter() - began)
            finally:
                collector.terminate()


def _send(broker: Broker, events: int) -> None:
    """Publish events with QoS 1, as fast as the broker takes them."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1_000)
    client.connect(broker.host, broker.port)
    client.loop_start()
    head = {
        "v": "1.0",
        "run_id": "r",
        "org_id": "local",
        "project_id": "default",
        "source": "press",
        "token": "t",
    }
    body = {
        "type": "TaskStateEvent",
        "task_name": "weld",
        "state": "COMPLETED",
        "duration_ms": 1.0,
        "error": "",
    }
    for seq in range(events):
        event = {**head, "seq": seq, "event_id": f"r-t-{seq}", "body": {**body, "task_id": f"weld:0[{seq}]"}}
        last = client.publish("cascade/telemetry/local/default/r/events", json.dumps(event), 1)
    last.wait_for_publish()
    client.disconnect()
    client.loop_stop()


def _stored(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])
        except sqlite3.DatabaseError:
            return 0
