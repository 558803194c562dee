"""The pages of running and serving are true: the commands print what they show, and the unit is a valid one."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.testkit.waiting import busyness
from testing_tools.engines import CASCADE

DOCS = Path(__file__).parents[1] / "docs"
RUN = (DOCS / "run.md").read_text("utf-8")
(AUDIT,) = re.findall(r"```python\n(.*?)```", RUN, re.DOTALL)
UNIT, OF_A_SERVICE = (
    text
    for page in (DOCS / "systemd.md", DOCS.parent / "SERVICE.md")
    for text in re.findall(r"```ini\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
)
COMMANDS = re.findall(
    r"^\$ ((?:cascade|python) .*)\n((?:(?!\$|```).*\n)*)", RUN, re.MULTILINE
)  # each with what it prints


@pytest.mark.process
@pytest.mark.parametrize(("command", "printed"), COMMANDS)
def test_a_command_prints_what_the_page_shows(command: str, printed: str, tmp_path: Path) -> None:
    """The run's id and time differ; a script's progress is not shown again."""
    (tmp_path / "audit.py").write_text(AUDIT)
    program, *arguments = shlex.split(command)
    started = [*CASCADE, *arguments] if program == "cascade" else [sys.executable, *arguments]
    done = subprocess.run(
        started, cwd=tmp_path, capture_output=True, text=True, timeout=60 * busyness(), check=False
    )
    lines = "".join(re.findall(r"^(?:run .*|cascade: .*)\n", printed, re.MULTILINE))
    assert done.stdout == printed.removeprefix(lines)
    if lines:
        pattern = re.sub(r"[0-9a-f]{32}", "[0-9a-f]{32}", re.escape(lines))
        pattern = re.sub(r"1\\.2\\ s|1\.2\\ s", r"[0-9.]+ m?s", pattern)
        assert re.match(pattern, done.stderr), done.stderr


def test_the_page_shows_commands() -> None:
    """So the test above has something to run."""
    assert len(COMMANDS) == 4


def test_the_unit_starts_the_command_as_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its command line is one that the command takes; the exit codes in it mean what the page says."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT)
    service = unit["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/cascade")
    assert (service["KillMode"], service["SuccessExitStatus"]) == ("mixed", "143")
    assert service["RestartPreventExitStatus"] == "2 4"
    (tmp_path / "job.py").write_text("import cascade as cs\n@cs.task\ndef workflow(): return 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setattr("sys.argv", list(sys.argv))
    monkeypatch.setenv("CASCADE_BROKER", "mqtt://127.0.0.1:9")
    try:
        assert main(arguments) == 0
    finally:
        sys.modules.pop("job", None)
    assert capsys.readouterr().out == "1\n"


@pytest.mark.process
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this system has no systemd")
@pytest.mark.parametrize("unit", [UNIT, OF_A_SERVICE], ids=["job", "service"])
def test_systemd_accepts_the_unit(unit: str, tmp_path: Path) -> None:
    """With a program that is there; what it says about other units of the machine is not ours."""
    path = tmp_path / "press-line-3.service"
    path.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", unit))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)],
        capture_output=True,
        text=True,
        timeout=60 * busyness(),
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "press-line-3" in line] == []
