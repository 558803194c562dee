"""The SDK: one import, one call, and words for every mistake."""

import asyncio
import doctest
import logging
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

import cascade as cs
from cascade.interfaces import ConnectorNotFoundError, UsageError
from cascade.testkit.waiting import busyness


@cs.task
def double(x: int) -> int:
    return 2 * x


def test_the_example_in_the_docstring_runs_as_printed() -> None:
    """What `help(cascade)` shows is true."""
    assert doctest.testmod(cs).attempted == 3
    assert doctest.testmod(cs).failed == 0


def test_run_gives_the_value() -> None:
    """cs.run works from plain synchronous code, twice in a row, for one target and for a list."""
    assert cs.run(double(double(1))) == 4
    assert cs.run([double(1), double(2)]) == [2, 4]


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
        ("nats://broker", ["mqtt"], r'installed: mqtt.*pip install "cascade-py\[nats\]"'),
        ("tls://broker", ["mqtt"], r'pip install "cascade-py\[nats\]"'),
        ("ws://broker", [], r'pip install "cascade-py\[mqtt\]"'),
        ("wss://broker", [], r'pip install "cascade-py\[mqtt\]"'),
        ("mqqt", ["mqtt"], "did you mean 'mqtt'"),
        ("mqtss://broker", [], "did you mean 'mqtts'"),
        ("localhost", ["local"], "for a broker on that host write mqtt://localhost"),
        (
            "broker.example.org:1883",
            ["local"],
            r"for a broker on that host write mqtt://broker\.example\.org",
        ),
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
    """The error states what is installed and what to install, and the run has not started."""
    points = [EntryPoint(each, "nowhere:Nothing", "cascade.connectors") for each in offered]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    with pytest.raises(ConnectorNotFoundError, match=words):
        cs.run(double(1), connector=name)


@pytest.mark.process
def test_importing_cascade_prints_nothing_and_configures_nothing() -> None:
    """No logger has a handler of ours, so Python's last resort shows warnings; nothing is printed."""
    code = "import logging, cascade; cascade.Engine; print(logging.getLogger().handlers, logging.getLogger('cascade').handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
    assert done.stderr == ""


@pytest.mark.process
def test_the_hint_on_a_forgotten_pause_appears_without_any_logging_set_up() -> None:
    """Where a user configures no logging, stderr has the register that prevents every start, and how to clear it."""
    code = """
        import asyncio, cascade as cs
        from cascade.runtime import Engine, LocalConnector, LocalHub
        from cascade.runtime._admission import wait_reasons

        wait_reasons.STALL_LIMIT = 0.05
        hub = LocalHub()
        hub.publish("cascade/constraints/global/@pause", b'{"type":"pause"}', retain=True)
        task = cs.task(lambda: None, name="task")

        asyncio.run(Engine(connector=LocalConnector(hub, source_id="line-3")).run(task()))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        hint = next((line for line in process.stderr if "nothing has started for" in line), "")
        process.kill()  # it would wait for ever
    assert "line-3: nothing has started for" in hint
    assert "to lift it, clear cascade/constraints/global/@pause: cascade resume" in hint


@pytest.mark.process
def test_a_program_that_does_not_use_mqtt_needs_no_mqtt() -> None:
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


DECLARING = "import cascade"
RUNNING = """
import cascade as cs
@cs.task
def one(): return 1
assert cs.run(one()) == 1
"""
LINKED = RUNNING.replace("one())", "one(), connector=cs.LocalConnector())")
RECORDING = (
    "cascade.interfaces.state",
    "cascade.runtime._durable",
    "cascade.runtime._outbox",
    "cascade.runtime._recovery",
    "sqlite3",
)
PROCESSES = ("cascade.interfaces.pickled_calls", "multiprocessing", "runpy")
REPORTING = (
    *(
        "cascade.interfaces.watch",
        "cascade.runtime._control.constraint_manager",
        "cascade.runtime._observers.progress_bar",
    ),
    *(
        "cascade.runtime.file",
        "cascade.runtime.local",
        "cascade.runtime.telemetry",
        "hashlib",
        "msgspec",
        "pathlib",
    ),
    *("cascade.transport.incoming", "urllib.parse", "uuid"),
)
ERRORS = ("difflib", "importlib.metadata", "shutil")


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "unused", "most"),
    [
        pytest.param(
            DECLARING,
            ("cascade.runtime", "cascade.interfaces.redaction", "msgspec", *RECORDING, *PROCESSES, *ERRORS),
            27,
            id="declaring",
        ),
        pytest.param(RUNNING, (*RECORDING, *PROCESSES, *REPORTING, *ERRORS), 122, id="running"),
        pytest.param(LINKED, (*RECORDING, "cascade.runtime.file", "cascade.wire.reading"), 173, id="linked"),
        pytest.param(f"{RUNNING}import cascade.connectors.mqtt", (*RECORDING, "msgspec"), 171, id="mqtt"),
    ],
)
def test_a_program_imports_no_feature_that_it_does_not_use(
    program: str, unused: tuple[str, ...], most: int
) -> None:
    """Recorded runs, worker processes, telemetry and control cost a start nothing until they are chosen."""
    code = f"""
import sys
before = {{*sys.modules}}
{program}
loaded = {{*sys.modules}} - before
print([name for name in {unused!r} if name in loaded])
print(sum(name.startswith("cascade") for name in loaded) <= {most} or sorted(loaded))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue\n"


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

bus = cs.EventBus()
bus.subscribe(LifecycleEvent, lambda e: print(e.event.value, e.status and e.status.value, flush=True))
cs.run(wait(), bus=bus)
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(("name", "status"), [("SIGINT", -signal.SIGINT), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_the_first_signal_ends_the_run_cleanly(name: str, status: int) -> None:
    """Ctrl-C, SIGTERM and SIGHUP cancel the tasks and publish ENGINE_STOPPED; the exit status names the signal."""
    number, to_us = getattr(signal, name), subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=to_us, stderr=to_us, text=True)
    assert process.stdout is not None
    assert "ready\n" in process.stdout
    process.send_signal(number)
    out, err = process.communicate(timeout=50 * busyness())
    assert out.split("\n")[:2] == ["cleaned", "ENGINE_STOPPED Cancelled"]
    assert process.returncode == status
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    # from Python 3.13 on, lines of ~ and ^ show where in the line above
    assert len([line for line in err.splitlines() if line.strip(" ~^")]) <= 6


CANCELLED = """
import asyncio, cascade as cs

connector = cs.LocalConnector()

@cs.task
async def wait():
    message = {"type": "cancel", "expires_at": 4e9}
    await connector.publish("cascade/constraints/run/night-7/@cancel", message, retain=True)
    await asyncio.Event().wait()

cs.run(wait(), connector=connector, run_id="night-7")
"""


@pytest.mark.process
def test_a_cancelled_run_ends_a_script_in_a_few_lines(tmp_path: Path) -> None:
    """The traceback shows the user's own line and a message that names the run and the constraint."""
    script = tmp_path / "script.py"
    script.write_text(CANCELLED)
    ended = subprocess.run(
        [sys.executable, script], check=False, capture_output=True, text=True, timeout=50 * busyness()
    )
    lines = ended.stderr.splitlines()
    assert (ended.returncode, lines[0]) == (1, "Traceback (most recent call last):")
    assert "script.py" in lines[1]
    assert "cs.run(" in lines[2]
    assert lines[-1].startswith("cascade.interfaces.errors.RunCancelledError: run night-7 was cancelled")
    assert "cascade/constraints/run/night-7/@cancel" in lines[-1]
    assert len([line for line in lines if line.strip(" ~^")]) <= 8


def test_a_file_url_makes_a_file_connector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``file:`` needs no slashes; the runtime declares the entry point."""

    def find(group: str, name: str, *, of: str) -> EntryPoint:
        assert (group, name) == ("cascade.connectors", "file")
        assert of in ("file", "file:run.jsonl")
        return EntryPoint(name, "cascade.runtime:FileConnector", group)

    monkeypatch.setattr("cascade.sdk.plugins.find", find)
    monkeypatch.chdir(tmp_path)
    assert cs.run(double(1), connector="file:run.jsonl") == 2
    assert (tmp_path / "run.jsonl").read_text("utf-8").count("\n") == 4
    assert isinstance(cs.connector("file", path="x"), cs.FileConnector)
    project = Path(__file__).parents[2] / "cascade-runtime" / "pyproject.toml"
    assert 'file = "cascade.runtime:FileConnector"' in project.read_text("utf-8")


def in_a_thread(function: Callable[[], Any]) -> Any:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


def test_a_run_in_another_thread_touches_no_signal() -> None:
    """Only the main thread may handle signals; elsewhere cs.run simply runs."""
    before = signal.getsignal(signal.SIGTERM)
    assert in_a_thread(lambda: cs.run(double(1))) == 2
    assert signal.getsignal(signal.SIGTERM) is before
    assert not logging.getLogger("cascade").handlers


def test_a_command_line_that_is_not_installed_is_an_error_with_the_remedy(mocker: MockerFixture) -> None:
    """The SDK does not need the package of the command; what does need it says what to install."""
    mocker.patch("importlib.metadata.entry_points", return_value=())
    with pytest.raises(UsageError, match=re.escape('pip install "cascade-py[cli]"')):
        cs.main(double(1), arguments=[])


@pytest.mark.process
def test_a_worker_that_imports_the_program_starts_no_run(tmp_path: Path) -> None:
    """A guard that guards only a part: the task fails with the cause, and the rest does not run in the worker."""
    (tmp_path / "job.py").write_text(
        "import cascade as cs\n"
        "@cs.task(mode='process')\ndef one():\n    return 1\n"
        "@cs.task\ndef show(text):\n    print(text, flush=True)\n"
        "cs.run(show('once'))\n"
        "if __name__ == '__main__':\n    cs.run(one())\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "job.py"],
        capture_output=True,
        text=True,
        timeout=60 * busyness(),
        check=False,
    )
    assert (done.stdout, done.returncode) == ("once\n", 1)
    assert "a run starts while the program is imported" in done.stderr
