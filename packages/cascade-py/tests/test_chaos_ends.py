"""How runs end, seen by a second client: rows 20, 21, 22, 26, 34 and 35, in programs of their own."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from long_limits import PATIENT
from paho.mqtt import publish

from cascade.interfaces.topics import state_topic, status_topic
from cascade.testkit import Broker, eventually
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.waiting import busyness
from testing_tools.recorder import Recorder

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and fork are POSIX"),
]

EVENTS = "cascade/telemetry/+/+/+/events"
MARK = "cascade-test/mark"
BOUND = 20.0

PREAMBLE = """
import asyncio, logging, os, sys, time
sys.path.insert(0, {folder!r})
import long_limits
import cascade as cs
from cascade.connectors.mqtt import MqttConnector

long_limits.lengthen()
logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
connector = MqttConnector("127.0.0.1", {port}, **{keywords})

def report(text):
    os.write(1, f"{{text}}\\n".encode())  # at once: several threads may speak
"""

WAITING = """
@cs.task
async def wait():
    report("ready")
    await asyncio.Event().wait()

cs.run(wait(), connector=connector)
"""


@contextmanager
def program(broker: Broker | ChaosProxy, body: str, **keywords: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a program that has a connector; kill it at the end, if it still runs.

    Its keepalive time is longer than any test waits: only the end of its connection shows its end.
    """
    folder = str(Path(__file__).parent)
    text = PREAMBLE.format(folder=folder, port=broker.port, keywords=PATIENT | keywords) + textwrap.dedent(
        body
    )
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that it prints; if it ended, fail with what it wrote to stderr."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline().strip()
    assert line, process.stderr.read()
    return line


def finished(process: subprocess.Popen[str]) -> list[str]:
    """Wait for the end; return the lines that Cascade logged."""
    _out, err = process.communicate(timeout=BOUND * busyness())
    return [line for line in err.splitlines() if re.match(r"(cascade|mqtt|asyncio)\S* ", line)]


@pytest.fixture
def recorder(fresh_broker: Broker) -> Iterator[Recorder]:
    with Recorder(fresh_broker.host, fresh_broker.port, "cascade/#") as started:
        yield started


def statuses(recorder: Recorder, name: str) -> list[dict[str, Any]]:
    """Return what was published on the status topic of one name."""
    return [message.json() for message in recorder.of(status_topic(name))]


def status_changes(recorder: Recorder, name: str) -> list[tuple[str, str]]:
    """Return each status that each session has had, in order."""
    return list(dict.fromkeys((each["status"], each["session"]) for each in statuses(recorder, name)))


async def have_last_status(recorder: Recorder, name: str, status: str) -> None:
    """Wait until the latest message of a name has this status."""
    await eventually(lambda: [each["status"] for each in statuses(recorder, name)[-1:]] == [status], BOUND)


def last_event(recorder: Recorder) -> dict[str, Any]:
    """Return the body of the last event that has come; empty if none has."""
    messages = recorder.first_copies(EVENTS)
    body: dict[str, Any] = messages[-1]["body"] if messages else {}
    return body


async def ended(recorder: Recorder) -> dict[str, Any]:
    """Wait for ENGINE_STOPPED, see that no event before it is missing, and return it."""
    await eventually(lambda: last_event(recorder).get("event") == "ENGINE_STOPPED", BOUND)
    seqs = [message["seq"] for message in recorder.first_copies(EVENTS)]
    assert seqs == list(range(len(seqs)))
    return last_event(recorder)


async def retained(broker: Broker, topic: str) -> list[Any]:
    """Return what a new client receives for a topic: its retained message, if there is one."""
    with Recorder(broker.host, broker.port, topic, MARK) as later:
        publish.single(MARK, b"{}", qos=1, hostname=broker.host, port=broker.port)
        await eventually(lambda: later.of(MARK), BOUND)  # what is retained was sent before it
        return [message.json() for message in later.of(topic)]


ENDS = {
    "clean end": ("cs.run(one(), connector=connector)", "Succeeded", ""),
    "exception": ("cs.run(bad(), connector=connector)", "Failed", "bad:0: ValueError: no"),
}


@pytest.mark.parametrize("name", ["line-3", None], ids=["named", "unnamed"])
@pytest.mark.parametrize("end", [*ENDS, "SIGINT", "SIGTERM"])
async def test_row_21_what_others_see_of_an_end(
    fresh_broker: Broker, recorder: Recorder, end: str, name: str | None
) -> None:
    """ENGINE_STOPPED comes last, then offline of the same session if it is named, and nothing if not."""
    cause = "Ctrl-C" if end == "SIGINT" else end
    call, status, error = ENDS.get(end, (WAITING, "Cancelled", cause))
    tasks = """
        @cs.task
        def one(): return 1
        @cs.task
        def bad(): raise ValueError("no")
    """
    keywords = {"source_id": name} if name else {}
    with program(fresh_broker, textwrap.dedent(tasks) + call, **keywords) as process:
        source = name or f"{os.uname().nodename}-{process.pid}"
        if end.startswith("SIG"):
            assert read_line(process) == "ready"
            process.send_signal(getattr(signal, end))
        assert finished(process) == []
    last = await ended(recorder)
    assert (last["status"], last["error"]) == (status, error)
    (report,) = {json.dumps(each.json()) for each in recorder.of(state_topic(source, "ended"))}
    (row,) = json.loads(report)["runs"]
    assert (row["status"], row["error"]) == (status, error)
    if name is None:
        assert await retained(fresh_broker, state_topic(source, "ended")) == []
        assert statuses(recorder, source) == []
        assert await retained(fresh_broker, status_topic(source)) == []
        return
    await eventually(lambda: len(statuses(recorder, name)) >= 2, BOUND)
    assert [each["status"] for each in statuses(recorder, name)] == ["online", "offline"]
    assert len({each["session"] for each in statuses(recorder, name)}) == 1
    assert [each["status"] for each in await retained(fresh_broker, status_topic(name))] == ["offline"]


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_row_21_a_second_signal_exits_and_the_will_is_seen(
    fresh_broker: Broker, recorder: Recorder, number: signal.Signals
) -> None:
    """A task that does not stop is not waited for by who asks twice; others see that the process is gone."""
    body = """
        @cs.task
        async def keeps_running():
            report("ready")
            try:
                await asyncio.Event().wait()
            finally:
                report("stopping")
                await asyncio.sleep(3600)

        cs.run(keeps_running(), connector=connector, stop_timeout=3600)
    """
    with program(fresh_broker, body, source_id="line-3") as process:
        assert read_line(process) == "ready"
        await have_last_status(recorder, "line-3", "online")  # a run starts after 2 s without a link, too
        process.send_signal(number)
        assert read_line(process) == "stopping"
        process.send_signal(number)
        finished(process)
        assert process.returncode != 0
    await have_last_status(recorder, "line-3", "offline")
    assert len({each["session"] for each in statuses(recorder, "line-3")}) == 1


@pytest.mark.full
@pytest.mark.parametrize("kind", ["on the loop", "in threads"])
async def test_row_22_a_killed_run_is_seen_at_once(
    fresh_broker: Broker, recorder: Recorder, kind: str
) -> None:
    """The broker publishes the will as soon as the process is gone, whatever ran in it."""
    in_threads = """
        @cs.task
        def work(number):
            report("ready")
            time.sleep(60)

        @cs.task
        def total(values): return sum(values)

        cs.run(total([work(number) for number in range(4)]), connector=connector)
    """
    with program(
        fresh_broker, in_threads if kind == "in threads" else WAITING, source_id="doomed"
    ) as process:
        assert read_line(process) == "ready"
        await have_last_status(recorder, "doomed", "online")
        process.kill()
        await have_last_status(recorder, "doomed", "offline")
    first, last = statuses(recorder, "doomed")
    assert first["session"] == last["session"]
    assert last_event(recorder).get("event") != "ENGINE_STOPPED"


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are read from /proc")
async def test_row_22_no_child_process_keeps_the_connection_open(
    fresh_broker: Broker, recorder: Recorder
) -> None:
    """The will comes at once although processes of the killed run are still busy: none has its socket."""
    body = """
        nap = cs.task(name="nap", mode="process")(time.sleep)

        @cs.task
        def both(first, second): return None

        report("ready")
        cs.run(both(nap(60), nap(60)), connector=connector)
    """
    with program(fresh_broker, body, source_id="doomed") as process:
        assert read_line(process) == "ready"
        await eventually(lambda: len(children_of(process.pid)) == 2, BOUND)
        await have_last_status(recorder, "doomed", "online")
        process.kill()
        await have_last_status(recorder, "doomed", "offline")


def children_of(pid: int) -> list[str]:
    """Return the processes that any thread of a process has started."""
    found = list[str]()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended meanwhile
            found += path.read_text().split()
    return found


@pytest.mark.full
async def test_row_30_ctrl_c_does_not_wait_for_a_task_in_a_thread(
    fresh_broker: Broker, recorder: Recorder
) -> None:
    """The run ends, publishes it, and the process exits although a thread would sleep for an hour."""
    body = """
        @cs.task
        def work():
            report("ready")
            time.sleep(3600)

        cs.run(work(), connector=connector, stop_timeout=0.2)
    """
    with program(fresh_broker, body, source_id="line-3") as process:
        assert read_line(process) == "ready"
        process.send_signal(signal.SIGINT)
        finished(process)
    assert (await ended(recorder))["status"] == "Cancelled"
    await have_last_status(recorder, "line-3", "offline")


@pytest.mark.full
async def test_row_20_a_stale_will_after_a_restart_is_answered(
    fresh_broker: Broker, recorder: Recorder
) -> None:
    """A process of the same name that died elsewhere is reported late: the status of the living one remains."""
    with program(fresh_broker, WAITING, source_id="line-3", client_id="old") as old:
        assert read_line(old) == "ready"
        await have_last_status(recorder, "line-3", "online")
        old.send_signal(signal.SIGSTOP)  # beside one that answers, the new one warns of it after some seconds
        with program(fresh_broker, WAITING, source_id="line-3", client_id="new") as new:
            assert read_line(new) == "ready"

            def births() -> list[int]:
                """Return who was online after the old one's will."""
                found = statuses(recorder, "line-3")
                wills = [n for n, each in enumerate(found) if each["status"] == "offline"]
                return [each["pid"] for each in found[wills[0] + 1 :]] if wills else []

            await eventually(
                lambda: new.pid in {each.get("pid") for each in statuses(recorder, "line-3")}, BOUND
            )
            old.kill()
            await eventually(lambda: set(births()) == {new.pid}, BOUND)
            new.send_signal(signal.SIGINT)
            assert finished(new) == []
    await have_last_status(recorder, "line-3", "offline")


@pytest.mark.full
async def test_row_20_two_runs_of_one_name_keep_their_results(fresh_broker: Broker, tmp_path: Path) -> None:
    """They disconnect each other at first, then one line shouts; both give the right value."""
    body = f"""
        import pathlib
        shouted = pathlib.Path({str(tmp_path / "shouted")!r})

        class Ear(logging.Handler):
            def emit(self, record):
                if "another process uses the name" in record.getMessage():
                    shouted.touch()

        logging.getLogger("cascade").addHandler(Ear())

        @cs.task
        async def until_shouted():
            report("ready")
            while not shouted.exists():
                await asyncio.sleep(0.05)
            return 42

        report(cs.run(until_shouted(), connector=connector))
    """
    # A run does not wait at its end for the next attempt to connect, 30 s later, if its drain ends before.
    keywords = {"source_id": "twin", "drain_timeout": BOUND}
    with (
        program(fresh_broker, body, **keywords) as one,
        program(fresh_broker, body, **keywords) as two,
    ):
        assert [read_line(one), read_line(two)] == ["ready", "ready"]
        assert [read_line(one), read_line(two)] == ["42", "42"]
        lines = finished(one) + finished(two)
    assert 1 <= sum("another process uses the name twin" in line for line in lines) <= 2


async def test_row_26_fail_fast_is_seen_by_others(fresh_broker: Broker, recorder: Recorder) -> None:
    """Siblings are cancelled, then ENGINE_STOPPED contains the failure, and no event follows it."""
    body = """
        started = 0

        @cs.task
        async def sibling(number):
            global started
            started += 1
            await asyncio.Event().wait()

        @cs.task
        async def bad():
            while started < 20:
                await asyncio.sleep(0)
            raise ValueError("failed")

        @cs.task
        def total(values): ...

        try:
            cs.run(total([bad(), *(sibling(number) for number in range(20))]), connector=connector)
        except ValueError as exc:
            report(f"{exc}")
    """
    with program(fresh_broker, body) as process:
        assert read_line(process) == "failed"
        assert finished(process) == []
    last = await ended(recorder)
    assert (last["status"], last["error"]) == ("Failed", "bad:0: ValueError: failed")
    bodies = [message["body"] for message in recorder.first_copies(EVENTS)[1:-1]]
    ends = {body["task_id"]: (body["task_name"], body["state"]) for body in bodies}
    assert sorted(end for end in ends.values() if end[0] != "total") == [
        ("bad", "FAILED"),
        *[("sibling", "CANCELLED")] * 20,
    ]


@pytest.mark.full
async def test_row_34_a_task_that_blocks_the_loop_until_the_will_is_published(
    fresh_broker: Broker, recorder: Recorder, tmp_path: Path
) -> None:
    """One warning names the task; then it is linked, born, and all events arrive in order.

    The broker loses the connection because a proxy cuts it: a real keepalive time also ends while the machine
    stands still.
    """
    seen = tmp_path / "seen"
    body = f"""
        import pathlib
        from cascade.runtime._support import loop_lag
        seen = pathlib.Path({str(seen)!r})

        class Ear(logging.Handler):
            heard = False

            def emit(self, record):
                Ear.heard |= "holds the event loop" in record.getMessage()

        logging.getLogger("cascade").addHandler(Ear())

        @cs.task
        async def blocks():
            loop_lag.LAG_LIMIT = 1.0
            report("blocks")
            while not (seen.exists() and Ear.heard):
                time.sleep(0.01)
            loop_lag.LAG_LIMIT = long_limits.AGES
            return 1

        @cs.task
        async def after(value):
            while connector.statistics().connections < 2:
                await asyncio.sleep(0.01)
            return value

        @cs.task
        async def many(value, number): return number

        @cs.task
        def total(values): return sum(values)

        value = after(blocks())
        report(cs.run(total([many(value, number) for number in range(100)]), connector=connector))
        report(connector.statistics().connections)
    """
    async with ChaosProxy(fresh_broker.port) as proxy:
        with program(proxy, body, source_id="busy") as process:
            assert await asyncio.to_thread(read_line, process) == "blocks"
            await have_last_status(recorder, "busy", "online")
            await proxy.cut()
            await have_last_status(recorder, "busy", "offline")
            seen.touch()
            printed = [await asyncio.to_thread(read_line, process) for _ in range(2)]
            assert printed == [str(sum(range(100))), "2"]
            lines = await asyncio.to_thread(finished, process)
    assert (await ended(recorder))["status"] == "Succeeded"
    await eventually(lambda: len(status_changes(recorder, "busy")) == 4, BOUND)
    found = status_changes(recorder, "busy")
    assert [status for status, _session in found] == ["online", "offline"] * 2
    assert len({session for _status, session in found}) == 2
    assert sum("holds the event loop" in line and "blocks" in line for line in lines) == 1
    assert sum("lost the connection" in line for line in lines) == 1
    assert len(lines) == 2


async def test_row_35_the_child_of_a_task_that_forks_is_inert(
    fresh_broker: Broker, recorder: Recorder
) -> None:
    """Its copy of the socket is closed: the parent's events go on, and its death is seen at once."""
    body = """
        @cs.task(mode="inline")
        def forks():
            child = os.fork()
            if not child:
                connector.publish_nowait("forked/child", {})
                assert connector.statistics().dropped == {"forked process": 1}
                report(os.getpid())
                time.sleep(60)
                os._exit(0)
            return child

        @cs.task
        async def after(child):
            await asyncio.Event().wait()

        cs.run(after(forks()), connector=connector)
    """
    with program(fresh_broker, body, source_id="parent") as process:
        child = int(read_line(process))
        try:
            await eventually(
                lambda: "after" in [m["body"].get("task_name") for m in recorder.first_copies(EVENTS)],
                BOUND,
            )
            await have_last_status(recorder, "parent", "online")
            process.kill()
            await have_last_status(recorder, "parent", "offline")
            assert [each["status"] for each in statuses(recorder, "parent")] == ["online", "offline"]
            seqs = [message["seq"] for message in recorder.first_copies(EVENTS)]
            assert seqs == list(range(len(seqs)))
            os.kill(child, 0)  # it lives on, and yet the parent does not count as alive
        finally:
            os.kill(child, signal.SIGKILL)
