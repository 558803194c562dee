"""The SDK: one import, one call, and words for every mistake."""

import asyncio
import doctest
import logging
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import cascade as cs
from cascade.interfaces import ConnectorNotFoundError, InvalidTargetError, TaskCallError


@cs.task
def double(x: int) -> int:
    return 2 * x


def test_the_example_in_the_docstring_runs_as_printed() -> None:
    """What `help(cascade)` shows is true."""
    assert doctest.testmod(cs).attempted == 3
    assert doctest.testmod(cs).failed == 0


def test_every_public_name_is_there() -> None:
    """All that __all__ promises can be had, the lazily imported ones too, and nothing else."""
    assert all(getattr(cs, name) is not None for name in cs.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cs.nonsense  # noqa: B018


def test_run_gives_the_value() -> None:
    """cs.run works from plain synchronous code, twice in a row, for one target and for a list."""
    assert cs.run(double(double(1))) == 4
    assert cs.run([double(1), double(2)]) == [2, 4]


def test_a_run_is_on_the_loop_that_is_offered_for_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cs.new_event_loop makes is what cs.run runs on, and closes."""
    made: list[asyncio.AbstractEventLoop] = []

    def new_event_loop() -> asyncio.AbstractEventLoop:
        made.append(cs.new_event_loop())
        return made[-1]

    @cs.task
    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    monkeypatch.setattr("cascade.runtime.loops.new_event_loop", new_event_loop)
    assert cs.run(where()) is made[0]
    assert made[0].is_closed()


async def test_run_inside_a_running_loop_is_refused() -> None:
    """In a notebook the remedy is named, and no coroutine is left un-awaited."""
    with pytest.raises(cs.UsageError, match=r"await cs.arun\(...\)"):
        cs.run(double(1))
    assert await cs.arun(double(1)) == 2


def test_one_connector_serves_two_runs_in_a_row() -> None:
    """A connector may be used again on the next event loop."""
    connector, heard = cs.LocalConnector(), []

    async def hear(topic: str, data: dict[str, Any]) -> None:
        heard.append(data["body"]["type"])

    asyncio.run(connector.subscribe("cascade/telemetry/#", hear))  # before connect: only registered
    for _ in range(2):
        assert cs.run(double(1), connector=connector) == 2
    assert len(heard) == 8


@pytest.mark.parametrize("target", [7, "x", double, [double(1), None], None])
def test_what_cannot_run_is_refused_in_words(target: Any) -> None:
    """A target that is no lazy result gets an error that says what one is."""
    with pytest.raises(InvalidTargetError, match="call a function decorated with @cs"):
        cs.run(target)


def test_a_wrong_call_is_refused_before_the_run() -> None:
    """The mistake is shown where it was made."""
    with pytest.raises(TaskCallError, match="missing a required argument: 'x'"):
        double()


def test_connectors_are_found_by_name_and_by_url() -> None:
    """The entry point's name makes a connector, with its settings; its URL scheme does too."""
    local: Any = cs.connector("local", source_id="here")
    assert local.source_id == "here"
    by_url: Any = cs.connector("mqtt://broker:1884")
    assert (by_url.hostname, by_url.port) == ("broker", 1884)
    by_name: Any = cs.connector("mqtt", hostname="broker")
    assert (by_name.hostname, by_name.port) == ("broker", 1883)


@pytest.mark.parametrize(
    ("name", "offered", "words"),
    [
        ("mqtt", ["local"], r'installed: local.*pip install "cascade-py\[mqtt\]"'),
        ("mqtts://broker", [], r'none is installed.*pip install "cascade-py\[mqtt\]"'),
        ("mqqt", ["mqtt"], "did you mean 'mqtt'"),
        (
            "kafka",
            ["mqtt"],
            "install a package that has an entry point 'kafka' in the group 'cascade.connectors'",
        ),
    ],
)
def test_a_connector_that_is_missing_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, offered: list[str], words: str
) -> None:
    """The error says what is installed and what to install, and the run has not begun."""
    points = [EntryPoint(each, "nowhere:Nothing", "cascade.connectors") for each in offered]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    with pytest.raises(ConnectorNotFoundError, match=words):
        cs.run(double(1), connector=name)


def test_importing_cascade_says_nothing_and_configures_nothing() -> None:
    """Logging has a NullHandler on "cascade" alone; the root logger and standard output are untouched."""
    code = "import logging, cascade; cascade.Engine; print(logging.getLogger().handlers, logging.getLogger('cascade').handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] [<NullHandler (NOTSET)>]\n"
    assert done.stderr == ""


def test_nobody_needs_mqtt_who_does_not_ask_for_it() -> None:
    """A run without telemetry imports neither aiomqtt nor paho nor the MQTT connector."""
    code = """
        import sys, cascade as cs
        @cs.task
        def one(): return 1
        assert cs.run(one()) == 1
        print([m for m in sys.modules if m.startswith(("aiomqtt", "paho", "cascade.connectors"))])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


PROGRAM = """
import asyncio, sys, cascade as cs
from cascade.interfaces import LifecycleEvent

@cs.task
async def wait():
    print("ready", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned", flush=True)
        {stubborn}

bus = cs.EventBus()
bus.subscribe(LifecycleEvent, lambda e: print(e.event.value, e.status and e.status.value, flush=True))
cs.run(wait(), bus=bus)
"""


def start(stubborn: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(stubborn=stubborn)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    read_until(process, "ready")
    return process


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    while line := process.stdout.readline():
        if line.strip() == text:
            return
    raise AssertionError(process.stderr and process.stderr.read())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_the_first_signal_ends_the_run_cleanly(number: int, status: int) -> None:
    """Row 21: Ctrl-C and SIGTERM cancel the tasks, ENGINE_STOPPED is told, and the status tells why."""
    process = start()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert out.split("\n")[:2] == ["cleaned", "ENGINE_STOPPED Cancelled"]
    assert process.returncode == status
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_exits_at_once(number: int) -> None:
    """Row 21: who asks twice does not wait for a task that takes its time."""
    process = start("await asyncio.sleep(60)")
    process.send_signal(number)
    read_until(process, "cleaned")
    process.send_signal(number)
    process.communicate(timeout=20)  # the task would take a minute
    assert process.returncode != 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_signal_handlers_are_put_back() -> None:
    """After the run SIGTERM is as it was; a handler of the user's own is never replaced."""
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    cs.run(double(1))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    @cs.task(mode="inline")
    def current() -> Any:
        return signal.getsignal(signal.SIGTERM)

    assert cs.run(current()) is not signal.SIG_DFL

    def own(number: int, frame: object) -> None: ...

    signal.signal(signal.SIGTERM, own)
    try:
        assert cs.run(current()) is own
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def in_a_thread(function: Callable[[], Any]) -> Any:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join(20)
    return result[0]


def test_a_run_in_another_thread_touches_no_signal() -> None:
    """Only the main thread may handle signals; elsewhere cs.run simply runs."""
    before = signal.getsignal(signal.SIGTERM)
    assert in_a_thread(lambda: cs.run(double(1))) == 2
    assert signal.getsignal(signal.SIGTERM) is before
    assert logging.getLogger("cascade").handlers
