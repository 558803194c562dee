"""Brokers start, answer, die and come back; the client is aiomqtt, which knows nothing of us."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiomqtt
import pytest

from cascade.testkit import _broker, eventually, ports, time_limit
from cascade.testkit.brokers import (
    Broker,
    BrokerFailedError,
    BrokerNotFoundError,
    Mosquitto,
    NatsServer,
    start_broker,
)
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import Deadline

pytestmark = pytest.mark.broker


@pytest.fixture(params=[Mosquitto, NatsServer])
def kind(request: pytest.FixtureRequest) -> type[Broker]:
    if request.param is Mosquitto:
        require_mosquitto()
    chosen: type[Broker] = request.param
    return chosen


def gone(pid: int) -> bool:
    """Whether the process has ended; a dead child that has not been waited for yet has."""
    if sys.platform == "win32":
        listed = subprocess.run(
            ["tasklist", "/FI", f"PID eq {pid}"], capture_output=True, text=True, check=True
        )
        return str(pid) not in listed.stdout
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # it has ended between the two, or the system shows no processes as files
        return sys.platform == "linux"


async def publish(broker: Broker, payload: str, **options: Any) -> None:
    async with aiomqtt.Client(broker.host, broker.port, **options) as client:
        await client.publish("kept", payload, qos=1, retain=True)


async def retained(broker: Broker, **options: Any) -> str:
    """The retained payload, or what was published after the subscription when there is none."""
    async with aiomqtt.Client(broker.host, broker.port, **options) as client:
        await client.subscribe("kept", qos=1)
        await client.publish("kept", "no retained message", qos=1)
        async with time_limit(50):
            payload = (await anext(client.messages)).payload
            assert isinstance(payload, bytes)
            return payload.decode()


async def retains(broker: Broker, payload: str) -> None:
    """Wait until this is what a new subscriber gets; some brokers store and load beside their answers."""

    async def found() -> bool:
        return await retained(broker) == payload

    await eventually(found, 30, what=f"{broker} retains {payload!r}")


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_broker_that_ended_comes_back_on_its_port(kind: type[Broker], end: str) -> None:
    """kill() and terminate() return when the process is gone; restart() keeps the port."""
    with kind() as broker:
        port, pid = broker.port, broker.pid
        getattr(broker, end)()
        assert gone(pid)
        with pytest.raises(aiomqtt.MqttError):
            await publish(broker, "x")
        broker.restart()
        assert broker.port == port
        await publish(broker, "again")


@pytest.mark.parametrize(("keep", "found"), [(True, "first"), (False, "no retained message")])
async def test_a_restart_keeps_the_store_or_drops_it(kind: type[Broker], keep: bool, found: str) -> None:
    """keep_store decides whether a retained message is still there after a clean end."""
    with kind() as broker:
        await publish(broker, "first")
        await retains(broker, "first")  # a broker may acknowledge before it has stored
        broker.restart(keep_store=keep)
        await retains(broker, found)


async def test_a_durable_mosquitto_keeps_a_message_through_sigkill() -> None:
    """With durable=True the store is on the disk by itself, without a clean end."""
    require_mosquitto()
    with Mosquitto(durable=True) as broker:
        await publish(broker, "first")
        store = broker._store / "mosquitto.db"
        await eventually(lambda: store.exists() and b"first" in store.read_bytes())
        broker.kill()
        broker.restart()
        assert await retained(broker) == "first"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
async def test_a_frozen_broker_keeps_its_port_and_answers_after_the_thaw(kind: type[Broker]) -> None:
    """While frozen a client gets no CONNACK; the same client's retry succeeds after thaw()."""
    with kind() as broker:
        broker.freeze()
        with pytest.raises(aiomqtt.MqttError):
            await publish(broker, "x", timeout=0.3)
        broker.thaw()
        await retains(broker, "no retained message")


def test_a_port_taken_in_between_is_replaced_by_another(
    kind: type[Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race for a free port is lost once: the broker starts on the next one."""
    with kind() as first:
        drawn = iter([first.port, ports.free_port()])
        monkeypatch.setattr(_broker, "free_port", lambda: next(drawn))
        with kind() as second:
            assert second.port != first.port


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_with_the_log(
    kind: type[Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other port is used in its stead, and nothing is left running."""
    tried = []

    def attempt(self: Broker, program: str, deadline: float) -> bool:
        tried.append(real(self, program, deadline))
        return tried[-1]

    with kind() as first:
        real = Broker._attempt
        monkeypatch.setattr(Broker, "_attempt", attempt)
        now = SimpleNamespace(monotonic=lambda: math.inf if tried else time.monotonic(), sleep=time.sleep)
        monkeypatch.setattr(_broker, "time", now)  # its time is over after one attempt, however slow
        second = kind(port=first.port)
        with pytest.raises(BrokerFailedError, match=r"could not bind its port(.|\n)*in use"):
            second.start()
        assert not second.running


def test_start_broker_prefers_mosquitto_then_nats_then_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a broker is not found, the next one is tried; without any the error names both remedies."""
    monkeypatch.setattr(Mosquitto, "find", lambda: None)
    with start_broker() as broker:
        assert isinstance(broker, NatsServer)
    monkeypatch.setattr(NatsServer, "find", lambda: None)
    with pytest.raises(BrokerNotFoundError, match=r"cascade-testkit\[brokers\].*mosquitto"):
        start_broker()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death to a child")
def test_a_broker_dies_with_the_process_that_started_it() -> None:
    """SIGKILL gives the parent no chance to tidy up; the kernel ends the broker."""
    code = "from cascade.testkit.brokers import NatsServer as N; b = N().start(); print(b.pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.send_signal(signal.SIGKILL)
    deadline = Deadline(30)
    while not gone(pid):
        assert not deadline.passed()
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups of a terminal")
def test_a_ctrl_c_in_the_terminal_does_not_reach_a_broker(kind: type[Broker]) -> None:
    """The terminal signals its foreground process group, and the broker is in another one."""
    with kind() as broker:
        assert os.getpgid(broker.pid) != os.getpgid(0)


def test_a_broker_that_was_not_stopped_ends_with_its_program() -> None:
    """A program that forgets stop() leaves no broker behind when it ends."""
    code = (
        "import threading\n"
        "from cascade.testkit.brokers import NatsServer\n"
        "worker = threading.Thread(target=lambda: print(NatsServer().start().pid, flush=True))\n"
        "worker.start(); worker.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True
    )
    assert gone(int(done.stdout))


class EndsAtOnce(NatsServer):
    """A broker whose program ends before it listens."""

    def _command(self, program: str, configuration: Path) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit(3)"]


def test_a_program_that_ends_before_it_listens_is_an_error() -> None:
    with pytest.raises(BrokerFailedError, match="ended with exit code 3"):
        EndsAtOnce().start()
