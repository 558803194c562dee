"""The demo as a person starts it: a real broker, a real second process, and every way to end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from cascade.testkit.brokers import Mosquitto, start_broker
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import busyness

STDLIB = Path(sysconfig.get_path("stdlib"))
PROGRAM = {
    "pkg/__init__.py": "from . import a\n",
    "pkg/a.py": "# a comment\nimport pkg.b\n\ndef f(x):\n    return 1 if x else 2\n",
    "pkg/b.py": "import pkg.a\nclass C:\n    def m(self):\n        if self:\n            pass\n",
    "bad.py": "def broken(:\n",
}
REDUCERS = 4
"""Tasks of the workflow besides one for each file."""

pytestmark = pytest.mark.broker

WriteFiles = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture
def program(write_files: WriteFiles) -> Path:
    """A folder with a package of two modules that import each other, and a file that does not parse."""
    return write_files(dict(PROGRAM))


def run_demo(demo: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(demo / "watch.py"), "--report", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=50 * busyness(), env=environment, check=False
    )


def counts_of(output: str) -> list[int]:
    """Return produced, sent, dropped, received, duplicates and holes as the demo printed them."""
    table = output.partition("Holes in seq")[2].splitlines()
    row = next(line for line in table if re.search(r"\d", line))
    return [int(word.replace(",", "")) for word in row.split()]


def read_lines(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return file.readlines()


def events_of(files: int) -> int:
    """Return how many events a run over this many files has: two for each task, and its start and end."""
    return 2 * (files + REDUCERS) + 2


@pytest.mark.full
def test_an_audit_is_reported_and_seen_whole_by_the_second_process(demo: Path, program: Path) -> None:
    """With a broker of its own: each number is the one counted by hand, and all counts of events agree."""
    done = run_demo(demo, program)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert re.search(r"^ +3 +files *$", done.stdout, re.MULTILINE)
    assert "11  lines: 9 code, 1 comment, 1 blank" in done.stdout
    assert re.search(r"2 +C\.m +pkg/b\.py:3", done.stdout)
    assert re.search(r"2 +pkg\.a > pkg\.b > pkg\.a", done.stdout)
    assert re.search(r"bad\.py:1 +invalid syntax", done.stdout)
    events = events_of(files=4)
    assert counts_of(done.stdout) == [events, events, 0, events, 0, 0]
    assert "Every event arrived, and none twice." in done.stdout
    assert re.search(r"watcher \| #0 +ENGINE_STARTED", done.stderr)
    assert re.search(rf"watcher \| #{events - 1} +ENGINE_STOPPED Succeeded", done.stderr)


@pytest.mark.full
def test_files_and_lines_are_those_of_an_independent_count(demo: Path) -> None:
    """For a real package the totals are what a plain search and a plain read of the files find."""
    paths = list((STDLIB / "email").rglob("*.py"))
    lines = [line for path in paths for line in read_lines(path)]
    blank = sum(not line.strip() for line in lines)
    done = run_demo(demo, STDLIB / "email")
    assert re.search(rf"^ *{len(paths):,} +files *$", done.stdout, re.MULTILINE), done.stderr
    assert re.search(rf"^ *{len(lines):,} +lines: .* {blank:,} blank *$", done.stdout, re.MULTILINE)
    assert counts_of(done.stdout)[3] == events_of(len(paths))


@pytest.mark.full
def test_a_broker_that_was_given_is_used_and_left_running(demo: Path, program: Path) -> None:
    """The events go through the broker at the URL, which is still there afterwards."""
    with start_broker() as broker:
        done = run_demo(demo, program, "--broker", broker.url)
        events = events_of(files=4)
        assert counts_of(done.stdout) == [events, events, 0, events, 0, 0], done.stderr
        assert f"at {broker.host}:{broker.port}" in done.stderr
        assert "Started a broker" not in done.stderr
        assert broker.running


@pytest.mark.full
@pytest.mark.parametrize("password_in", ["the URL", "the environment"])
def test_row_32_a_password_gets_both_in_and_is_shown_nowhere(
    demo: Path, program: Path, monkeypatch: pytest.MonkeyPatch, password_in: str
) -> None:
    """The engine and the second process use it; no line of either has it."""
    require_mosquitto()
    secret = "s3cr%t"
    with Mosquitto(users={"me": secret}) as broker:
        monkeypatch.setenv("CASCADE_MQTT_PASSWORD", secret if password_in == "the environment" else "")
        given = f"me:{quote(secret)}" if password_in == "the URL" else "me"
        done = run_demo(demo, program, "--broker", f"mqtt://{given}@{broker.host}:{broker.port}")
    events = events_of(files=4)
    assert counts_of(done.stdout) == [events, events, 0, events, 0, 0], done.stderr
    assert not [text for text in (secret, quote(secret)) if text in done.stdout + done.stderr]


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="reads the command lines of all processes from /proc")
def test_row_32_a_password_stands_in_no_command_of_the_second_process(demo: Path, closed_port: int) -> None:
    """A list of all processes shows what was typed, and that alone; no broker answers there, and the advice is masked."""
    address = f"127.0.0.1:{closed_port}"
    with started(demo, STDLIB / "json", "--broker", f"mqtt://me:s3cret@{address}") as running:
        assert running.stderr is not None
        assert any("watcher |" in line for line in running.stderr)
        commands = [command for command in running_commands() if address in command]
        output, rest = running.communicate(timeout=30 * busyness())
    assert [command for command in commands if "watcher.py" in command and f"mqtt://me@{address}" in command]
    assert ["watcher.py" in command for command in commands if "s3cret" in command] == [False]
    assert f"Is there a broker at mqtt://me@{address}?" in " ".join(output.split())
    assert "s3cret" not in output + rest


@pytest.mark.full
def test_without_a_broker_the_report_is_the_same_and_the_drops_are_shown(
    demo: Path, program: Path, closed_port: int
) -> None:
    """No broker answers at the URL: the audit is right, and unsent events are counted and explained."""
    url = f"mqtt://127.0.0.1:{closed_port}"
    done = run_demo(demo, program, "--broker", url)
    assert done.returncode == 0, done.stderr
    assert report_of(done.stdout) == report_of(run_demo(demo, program).stdout)
    events = events_of(files=4)
    assert counts_of(done.stdout) == [events, 0, events, 0, 0, 0]
    assert f"{events} events were dropped" in done.stdout
    assert url in done.stdout
    assert "watcher | no MQTT broker answers at" in done.stderr


def report_of(output: str) -> str:
    return output.partition("Events of this run")[0]


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["missing"], "missing does not exist; give a folder of Python files"),
        (["bad.py"], "bad.py is a file; give the folder that holds it"),
        (["empty"], "empty; give a folder that holds some"),
        (["pkg", "--broker", "localhost"], "--broker: this is not a URL; write mqtt://"),
        (["pkg", "--broker", "http://localhost"], "--broker: "),
        (["pkg", "--top", "0"], "'0' is not a number of rows; give 1 or more"),
    ],
)
def test_bad_input_is_refused_with_advice_before_anything_starts(
    demo: Path, program: Path, arguments: list[str], advice: str
) -> None:
    """Exit code 2 and one clear line; no report, no broker, no traceback."""
    (program / "empty").mkdir()
    done = run_demo(demo, program / arguments[0], *arguments[1:])
    assert done.returncode == 2
    assert "error: " in done.stderr.splitlines()[-1]
    assert advice in done.stderr.splitlines()[-1]
    assert done.stdout == ""
    assert "Started a broker" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything_and_still_counts(demo: Path, ending: signal.Signals) -> None:
    """In the middle of a long audit: no traceback, no orphan, exit code 130, and the counts agree."""
    with started(demo, STDLIB) as running:
        assert running.stderr is not None
        port = next(
            found[1] for line in running.stderr if (found := re.search(r"mqtt://127.0.0.1:(\d+)", line))
        )
        assert any("ENGINE_STARTED" in line for line in running.stderr)
        running.send_signal(ending)
        output, rest = running.communicate(timeout=30 * busyness())
    assert running.returncode == 130, rest
    assert "Traceback" not in rest
    assert "Interrupted after" in rest
    produced, sent, dropped, received, *faults = counts_of(output)
    assert (sent, dropped, received, faults) == (produced, 0, produced, [0, 0])
    assert not [command for command in running_commands() if f"mqtt://127.0.0.1:{port}" in command]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)


def running_commands() -> list[str]:
    """Return the command lines of all processes."""
    if sys.platform != "linux":
        return subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            commands.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return commands


@contextmanager
def started(demo: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(demo / "watch.py"), "--report", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()
