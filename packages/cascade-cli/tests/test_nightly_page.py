"""The page about a job of every night is true: each line is executed, and the journal has what the page shows."""

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cascade.testkit.brokers import Broker
from cascade.testkit.waiting import busyness
from testing_tools.engines import CASCADE, eventually
from testing_tools.page_examples import examples

PAGE = (Path(__file__).parents[1] / "NIGHTLY.md").read_text("utf-8")
(JOB,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SERVICE, TIMER = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
_, SENSORS, RESET = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
NIGHTS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BAD = [
    "A sensor fails",
    "A sensor fails, and the run with it",
    "The process is killed",
    "The machine restarts",
    "The broker is away",
]

pytestmark = [
    pytest.mark.full,
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the page is about Linux"),
]


def unit(text: str) -> dict[str, dict[str, str]]:
    """The sections of a unit."""
    found = configparser.ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(text)
    return {name: dict(section) for name, section in found.items()}


class Machine:
    """What the page's lines need: its folder, its broker, and as much of systemd as the unit asks for."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder, self.broker = folder, broker
        self.service = unit(SERVICE)["Service"]
        self.journal = folder / "journal.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = broker.url
        self.inside: list[str] = []
        self.day = 0
        (folder / "night.py").write_text(JOB)
        (folder / "bin").mkdir()
        command = folder / "bin" / "cascade"
        command.write_text(f'#!/bin/sh\nexec {shlex.join(CASCADE)} "$@"\n')
        command.chmod(0o755)
        self.run(SENSORS)

    def environment(self) -> dict[str, str]:
        """Of the unit: its own file is the test's broker; the local date is that of the night."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        # the next or the last date
        zone = f"NIGHT{'+' if datetime.now(UTC).hour < 12 else '-'}12" if self.day else "UTC"
        return {**os.environ, "PATH": path, "CASCADE_BROKER": self.url, "TZ": zone}

    def shell(self, line: str) -> list[str]:
        """What runs a line of a shell."""
        return [*self.inside, "sh", "-ec", f"cd {shlex.quote(str(self.folder))}; {line}"]

    def run(self, line: str) -> str:
        """Run a line of a shell; what it prints."""
        done = subprocess.run(
            self.shell(line),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=100 * busyness(),
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)
        return done.stdout + done.stderr

    def types(self, line: str) -> str:
        """Do what a person types; what is printed then."""
        line = line.removeprefix("sudo ").replace("/srv/press", str(self.folder))
        match shlex.split(line):
            case ["systemctl", "start", "night"]:
                self.start()
            case ["systemctl", "start", "--wait", "night"]:
                self.start()
                self.end()
            case ["systemctl", "kill", "-s", "KILL", "night"]:
                self.kill()
            case ["systemctl", "stop", "night"]:
                self.stop()
            case ["systemctl", "stop", "mosquitto"]:
                self.broker.terminate()
            case ["systemctl", "start", "mosquitto"]:
                self.broker.restart()
            case ["journalctl", *_]:
                self.end()
                text = self.journal.read_text()
                self.journal.unlink()
                return text
            case ["mount", *_]:
                # the namespace has one user
                return self.run(line.replace(",uid=press,gid=press", ""))
            case _:
                return self.run(line)
        return ""

    def start(self) -> None:
        """Start what the unit starts, with stdout and stderr in one journal."""
        program, *arguments = shlex.split(self.service["ExecStart"])
        assert program.endswith("/.venv/bin/cascade")
        with self.journal.open("ab") as journal:
            self.process = subprocess.Popen(
                self.shell(f"exec {shlex.join(['cascade', *arguments])}"),
                cwd=self.folder,
                env=self.environment(),
                stdout=journal,
                stderr=journal,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill the service's processes once all has run that does not wait."""
        assert self.process is not None
        self.wait()
        os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the command as the unit says, at the same moment."""
        assert self.process is not None
        assert self.service["KillMode"] == "mixed"
        self.wait()
        self.process.terminate()
        code = self.process.wait(timeout=100 * busyness())
        assert str(code) == self.service["SuccessExitStatus"]
        self.process = None

    def wait(self) -> None:
        """Wait until all has run but the sensor that hangs."""
        listed = [*CASCADE, "history", "--state", "runs"]
        eventually(
            lambda: (
                "completed=199"
                in subprocess.run(listed, cwd=self.folder, capture_output=True, text=True, check=False).stdout
            ),
            "all other sensors are recorded",
        )

    def end(self) -> None:
        """Wait for the end; systemd starts the unit again after a signal."""
        assert self.service["Restart"] == "on-abnormal"
        while self.process is not None:
            if self.process.wait(timeout=100 * busyness()) == -signal.SIGKILL:
                self.start()
            else:
                self.process = None


@pytest.fixture
def machine(tmp_path: Path, fresh_broker: Broker) -> Iterator[Machine]:
    """A machine on which no night has been yet."""
    made = Machine(tmp_path, fresh_broker)
    yield made
    if made.process is not None:
        os.killpg(made.process.pid, signal.SIGKILL)
        made.process.wait()


def check_bad(machine: Machine, night: str) -> None:
    """Execute the lines of a night after those that the page has before each; the next night finds all as before."""
    machine.run(RESET)
    check(machine, night)
    assert (machine.folder / "night.py").read_text() == JOB
    assert {path.read_text() for path in (machine.folder / "sensors").iterdir()} == {"20.5\n"}
    assert len([*(machine.folder / "sensors").iterdir()]) == 200
    machine.run(RESET)


def check(machine: Machine, night: str) -> None:
    """Execute the lines of a night, and compare what each prints; blanks count once, and ``...`` stands for anything."""
    for line, shown in examples(NIGHTS[night]):
        printed = " ".join(machine.types(line).split())
        pattern = " ".join(re.escape(" ".join(each.split())).replace(r"\.\.\.", ".*") for each in shown)
        assert re.fullmatch(pattern, printed), f"{line}\n{printed}"


@pytest.mark.broker
def test_the_first_two_nights(machine: Machine) -> None:
    """The second one has another date, and so another run."""
    check(machine, "The first night")
    machine.day = 1
    check(machine, "The second night")


@pytest.mark.broker
@pytest.mark.parametrize("night", BAD)
def test_a_bad_night(night: str, machine: Machine) -> None:
    """Each on a machine of its own."""
    check_bad(machine, night)


@pytest.mark.broker
@pytest.mark.nightly
def test_a_night_on_a_full_disk(machine: Machine) -> None:
    """The small file system is mounted in a namespace of the shell that types the lines."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("this system does not permit to mount a file system in a namespace")
    holder = subprocess.Popen([*unshare, "sh", "-ec", "touch ready; exec sleep 600"], cwd=machine.folder)
    try:
        eventually((machine.folder / "ready").exists, "the namespace is there")
        machine.inside = ["nsenter", f"--target={holder.pid}", "--user", "--mount", "--preserve-credentials"]
        check_bad(machine, "The disk is full")
    finally:
        holder.kill()
        holder.wait()


def test_every_night_of_the_page_is_executed() -> None:
    """By one of the tests above."""
    shown = [night for night, text in NIGHTS.items() if "```console" in text]
    assert shown == ["The first night", "The second night", *BAD, "The disk is full"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this system has no systemd")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """The service with a program that is there, and the timer that starts it; other units of the machine are not ours."""
    (tmp_path / "night.service").write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", SERVICE))
    (tmp_path / "night.timer").write_text(TIMER)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "night.timer"), str(tmp_path / "night.service")],
        capture_output=True,
        text=True,
        timeout=60 * busyness(),
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "night." in line] == []
