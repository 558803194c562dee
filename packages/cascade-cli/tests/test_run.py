"""``cascade run`` and ``cascade graph``: files, parameters, results, exit codes, signals."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cascade.cli import main
from cascade.testkit.waiting import busyness
from testing_tools.engines import CASCADE, Plant, eventually
from testing_tools.terminals import Terminal

JOB = '''
"""Inspect parts."""
import os, time
import cascade as cs

class Part:
    def __init__(self, number: int) -> None:
        self.number = number

@cs.task(mode="process")
def inspect(part: int) -> tuple[Part, int]:
    if part == 4:
        raise ValueError("bad \\x1b]0;part [red]")
    return Part(part), os.getpid()

@cs.task(mode="inline")
def count(inspected, caption):
    assert all(type(part) is Part and process != os.getpid() for part, process in inspected)
    return f"{len(inspected)} {caption}"

@cs.task
def wait(seconds: float) -> None:
    print("waiting", flush=True)
    time.sleep(seconds)

workflow = count(inspect.map(part=range(3)), cs.Param("caption", default="parts", description="what they are"))
long = wait.map(seconds=[0.2] * 500).with_concurrency(2)

def parts(number: int, *, caption: str = "parts", json: bool = False) -> object:
    """Inspect some parts.

    :param number: how many
    """
    return count(inspect.map(part=range(number)), caption)

@cs.workflow(name="offered", overlap="queue")
def decorated(number: int = 2, *, caption: str = "parts") -> object:
    """Inspect a few."""
    return parts(number, caption=caption)

number = 3
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a file that has workflows."""
    (tmp_path / "job.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def unchanged_interpreter(folder: Path) -> Iterator[None]:
    """Forget afterwards what the command imported from a folder: the next test has files of the same names."""
    path, arguments = list(sys.path), list(sys.argv)
    try:
        yield
    finally:
        sys.path[:], sys.argv[:] = path, arguments
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(folder)):
                del sys.modules[name]


@pytest.fixture
def cascade(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process: its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with unchanged_interpreter(folder):
            code = main(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


Cascade = Callable[..., tuple[int, str, str]]


def started(*arguments: str, folder: Path, **further: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*CASCADE, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **further,
    )


@pytest.mark.process
def test_a_workflow_is_run_and_its_result_printed(folder: Path) -> None:
    """Its functions and classes can be sent to worker processes and back; progress is on stderr."""
    process = started("run", "job.py", "--caption", "good", folder=folder)
    out, err = process.communicate(timeout=60 * busyness())
    assert (out, process.returncode) == ("3 good\n", 0), err
    assert re.search(r"^run [0-9a-f]{32} succeeded after .*: 4 completed$", err, re.MULTILINE)


@pytest.mark.process
def test_the_objects_of_a_program_are_collected_at_the_end_and_those_of_the_command_are_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "job.py").write_text(
        """
import gc
from pathlib import Path
import cascade as cs

class Device:
    def __init__(self):
        self.itself = self

    def __del__(self):
        Path("device.txt").write_text("closed")

gc.disable()
Device()

@cs.task
def exempted():
    return gc.get_freeze_count() > 1000

workflow = exempted()
"""
    )
    done = subprocess.run(
        [*CASCADE, "run", "job.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert (tmp_path / "device.txt").read_text() == "closed"


@pytest.mark.process
def test_a_decorated_workflow_is_run_like_the_function(cascade: Cascade) -> None:
    """Its parameters are options with the same help."""
    assert cascade("run", "job.py:decorated", "--number", "1", "-q") == (0, "1 parts\n", "")
    code, out, _ = cascade("run", "job.py:decorated", "--help")
    assert code == 0
    assert "Inspect a few." in out
    assert "--caption" in out


@pytest.mark.process
def test_the_file_may_be_anywhere_and_in_a_package(folder: Path, cascade: Cascade) -> None:
    """A package's file may import its package; a worker process finds the file, too."""
    jobs = folder / "deep" / "jobs"
    jobs.mkdir(parents=True)
    (jobs / "__init__.py").touch()
    (jobs / "numbers_of_parts.py").write_text("MORE = 2\n")
    text = JOB.replace(
        "import os, time", "import os, time\nfrom jobs.numbers_of_parts import MORE\nimport numbers_of_parts"
    )
    (jobs / "nightly_parts.py").write_text(text.replace("range(3)", "range(MORE)"))
    assert cascade("run", "deep/jobs/nightly_parts.py", "-q") == (0, "2 parts\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope.py"], "the file nope.py does not exist; write FILE.py or FILE.py:NAME"),
        (["."], "the file . is a folder; write FILE.py or FILE.py:NAME"),
        (["job.txt"], "job.txt is not a Python file; write FILE.py or FILE.py:NAME"),
        (["job.py:pats"], "job.py has no 'pats'; did you mean job.py:parts?"),
        (["job.py:zzz"], "job.py has no 'zzz'; choose one: job.py:workflow, job.py:long, job.py:parts, job.py:decorated"),
        (["job.py:number"], "job.py:number is not a workflow but of type int; a workflow is what a call of a task returns, or a function that returns that"),
        (["job.py", "-p", "captio=x"], "job.py:workflow has no parameter 'captio'; did you mean 'caption'?"),
        (["job.py:parts"], "job.py:parts needs number (how many); pass -p number=..."),
        (["job.py:parts", "-p", "number=x"], "-p number: needs a whole number, not 'x'"),
        (["job.py:parts", "--number", "x"], "Invalid value for '--number': needs a whole number, not 'x'; cascade run --help lists what it takes"),
        (["job.py:parts", "--number", "1", "-p", "number=2"], "the parameter 'number' is given twice; give it once"),
        (["job.py", "-p", "x"], "Invalid value for '-p' / '--param': needs KEY=VALUE, not 'x'; cascade run --help lists what it takes"),
        (["job.py", "--resource", "gpu"], "Invalid value for '--resource': needs NAME=AMOUNT such as gpu=1, not 'gpu'; cascade run --help lists what it takes"),
        (["job.py", "--name", "a"], "--name is the name at the broker, and no broker is named; pass --broker mqtt://localhost, or set CASCADE_BROKER"),
        (["job.py", "--broker", "file:events.jsonl", "--name", "a"], "a file connector takes no name; leave --name out"),
        (["job.py", "--broker", "nonsense"], "the broker's address is not a URL; write mqtt://host:1883, or mqtts://, ws://, wss://, nats:// or tls://"),
        (["job.py", "--broker", "mqtt://host:port"], "url: "),
        (["job.py", "--executor", "proces"], "no executor named 'proces' (installed: dask, futures, process, thread); did you mean 'process'?"),
        (["broken.py"], "broken.py cannot be imported: line 3: ValueError: [red]odd\\u001b]0;title; --debug shows the traceback"),
        (["syntax.py"], "syntax.py cannot be imported: line 1: SyntaxError: "),
        (["leaves.py"], "leaves.py cannot be imported: line 1: SystemExit: 5; --debug shows the traceback"),
        (["runs.py"], 'runs.py cannot be imported: line 4: UsageError: a run starts while the program is imported; put it under `if __name__ == "__main__":`'),
        (["awaits.py"], 'awaits.py cannot be imported: line 5: UsageError: a run starts while the program is imported; put it under `if __name__ == "__main__":`'),
        (["json.py"], "json.py has the name of another module, 'json'; rename the file"),
        (["sys.py"], "sys.py has the name of another module, 'sys'; rename the file"),
        (["relative.py"], "relative.py cannot be imported: line 1: ImportError: attempted relative import with no known parent package; import without the dots, or make "),
        (["shadowed/job.py"], "cascade.py beside job.py would be imported in place of Cascade; rename it"),
        (["job.py", "--broker", "http://broker"], "no connector named 'http' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtt://broker"),
        (["job.py", "--broker", "localhost:1883"], "no connector named 'localhost' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtt://localhost:1883"),
        (["job.py", "--on-failure", "keep"], "Invalid value for '--on-failure': 'keep' is not one of 'stop', 'continue', 'return'; cascade run --help lists what it takes"),
        (["a.b.py"], "a.b.py has a dot in its name; rename the file"),
        (["empty.py"], "empty.py has no 'workflow'; write workflow = task(...) there, without running it"),
        (["job.py:parts", "number=3"], "Got unexpected extra argument (number=3); write -p number=3"),
        (["job.py:parts", "a=1", "b=2"], "Got unexpected extra arguments (a=1 b=2); write -p a=1"),
        (["job.py:parts", "three"], "Got unexpected extra argument (three); cascade run --help lists what it takes"),
        ([], "Missing argument 'FILE.py[:NAME]'; cascade run --help lists what it takes"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_with_cause_and_remedy(
    folder: Path, cascade: Cascade, arguments: list[str], line: str
) -> None:
    """On stderr, with the code 2, and without a traceback; text from outside is shown literally."""
    (folder / "job.txt").touch()
    (folder / "broken.py").write_text("\ndef f():\n    raise ValueError('[red]odd\\x1b]0;title')\nf()\n")
    (folder / "syntax.py").write_text("def f(:\n")
    (folder / "leaves.py").write_text("raise SystemExit(5)\n")
    (folder / "runs.py").write_text("import cascade as cs\n@cs.task\ndef f(): ...\ncs.run(f())\n")
    (folder / "awaits.py").write_text(
        "import asyncio\nimport cascade as cs\n@cs.task\ndef f(): ...\nasyncio.run(cs.arun(f()))\n"
    )
    (folder / "relative.py").write_text("from .parts import number\n")
    (folder / "shadowed").mkdir()
    for name in ("json.py", "sys.py", "a.b.py", "empty.py", "shadowed/job.py", "shadowed/cascade.py"):
        (folder / name).touch()
    code, out, err = cascade("run", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith(f"cascade: {line}")
    assert all(char.isprintable() for char in err.removesuffix("\n"))


@pytest.mark.process
@pytest.mark.parametrize("command", ["run", "graph"])
def test_a_shell_completes_the_file(folder: Path, command: str) -> None:
    """And imports nothing for it."""
    (folder / "job.py").write_text("raise ValueError\n")
    environment = {
        "_CASCADE_COMPLETE": "bash_complete",
        "COMP_WORDS": f"cascade {command} jo",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        CASCADE,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60 * busyness(),
        check=False,
    )
    assert (done.stdout, done.stderr) == ("file,jo\n", "")


@pytest.mark.process
def test_a_failed_run_says_which_item_failed(folder: Path, cascade: Cascade) -> None:
    """Exit code 1, nothing on stdout; the item and the names of its arguments on stderr, literally.

    Their values only with --debug: what a service writes to stderr ends in a journal.
    """
    code, out, err = cascade("run", "job.py:parts", "--number", "5")
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("cascade: the run failed: ValueError: bad ")
    assert "'inspect' (inspect:0[4])" in last
    assert last.endswith("called with part")
    assert "part=4" in cascade("run", "job.py:parts", "--number", "5", "--debug")[2].splitlines()[-1]
    assert "\x1b" not in err


NIGHT = """
import json
import cascade as cs

@cs.task
def measure(sensor: int) -> float:
    return read(sensor)

def read(sensor):
    return deeper(sensor)

def deeper(sensor):
    return json.loads("{" if sensor == 4 else "2.5")

@cs.task(mode="process")
def elsewhere(sensor: int) -> float:
    return read(sensor)

@cs.task
def total(values: list) -> float:
    return sum(values)

workflow = [total(measure.map(sensor=range(6))), measure(1), measure(2)]
one = elsewhere(4)
kept = total(measure.map(sensor=range(6)).or_else(0.0))
"""


@pytest.mark.process
@pytest.mark.parametrize(("name", "task_id"), [("workflow", "measure:0[4]"), ("one", "elsewhere")])
def test_a_failed_run_shows_the_users_own_lines(
    folder: Path, cascade: Cascade, name: str, task_id: str
) -> None:
    """Three at most, the cause last, once, also with --quiet; as JSON the file and the line, and the traceback."""
    (folder / "night.py").write_text(NIGHT)
    code, out, err = cascade("run", f"night.py:{name}", "-q")
    assert (code, out) == (1, "")
    file = folder / "night.py"
    assert err.splitlines()[:-1] == [
        *lines_of(file, "return read(sensor)", "measure" if name == "workflow" else "elsewhere"),
        *lines_of(file, "return deeper(sensor)", "read"),
        *lines_of(file, 'return json.loads("{" if sensor == 4 else "2.5")', "deeper"),
    ]
    code, out, err = cascade("run", f"night.py:{name}", "-q", "--json")
    error = json.loads(out)["error"]
    assert (error["type"], error["file"], error["line"]) == ("JSONDecodeError", str(file), 13)
    assert error["text"].startswith("JSONDecodeError: Expecting property name")
    assert error["task_id"].startswith(task_id)
    assert "in deeper" in error["traceback"]
    assert err.count("\n") == 1


def lines_of(file: Path, code: str, function: str) -> list[str]:
    """A frame as Python writes it; the line is looked up below the function's name."""
    lines = file.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"def {function}("))
    line = next(number for number in range(begin, len(lines)) if lines[number].strip() == code)
    return [f'  File "{file}", line {line + 1}, in {function}', f"    {code}"]


@pytest.mark.process
def test_a_run_that_returns_its_failures_prints_what_there_is(folder: Path, cascade: Cascade) -> None:
    """The values on stdout, each failure on stderr also with --quiet, exit code 1; a kept failure fails nothing."""
    (folder / "night.py").write_text(NIGHT)
    code, out, err = cascade("run", "night.py", "-q", "--on-failure", "return")
    assert code == 1
    assert out.startswith("[Failure(")
    assert out.endswith("), 2.5, 2.5]\n")
    assert "failed: measure:0[4]: JSONDecodeError: " in err
    assert err.splitlines()[-1].startswith("cascade: the run failed: measure:0[4]: JSONDecodeError: ")
    code, out, _ = cascade("run", "night.py", "-q", "--on-failure", "return", "--json")
    document = json.loads(out)
    assert (code, document["status"], document["result"][1:]) == (1, "Failed", [2.5, 2.5])
    assert document["result"][0]["task_id"] == "total:0"
    assert document["error"]["task_id"] == "measure:0[4]"
    assert cascade("run", "night.py:one", "-q", "--on-failure", "return")[1] == ""
    code, out, err = cascade("run", "night.py:kept", "-q")
    assert (code, out) == (0, "12.5\n")
    assert re.fullmatch(r"failed: measure:0\[4\]: JSONDecodeError: .*\n", err)


def test_a_failure_in_a_task_is_never_a_mistake_of_the_command_line(folder: Path, cascade: Cascade) -> None:
    """Also if the task raises an error that the command itself knows."""
    (folder / "odd_errors.py").write_text(
        "import cascade as cs\n"
        "@cs.task\ndef usage(): raise cs.UsageError('odd')\n"
        "@cs.task\ndef link(): raise cs.ConnectorUnavailable('h', 1, 'odd')\n"
        "@cs.task\ndef cancelled(): raise cs.RunCancelledError('x', 'y')\n"
    )
    for name in ("usage", "link", "cancelled"):
        assert cascade("run", f"odd_errors.py:{name}", "-q")[0] == 1, name


LOUD = """
import os, sys
import cascade as cs

print("import", flush=True)

@cs.task
def loud():
    print("task", flush=True)
    os.system("echo child")
    return 1

def workflow(number: int = 0):
    print("function", flush=True)
    return loud()

if __name__ == "__main__":
    cs.main(workflow)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "command",
    [
        [*CASCADE, "run", "loud.py", "--json"],
        [*CASCADE, "--json", "run", "loud.py"],
        [sys.executable, "loud.py", "--json"],
    ],
)
def test_json_is_alone_on_stdout(folder: Path, command: list[str]) -> None:
    """What the file, its functions, tasks and their child processes print goes to stderr."""
    (folder / "loud.py").write_text(
        LOUD.replace('print("import", flush=True)', "...") if "loud.py" in command[1] else LOUD
    )
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60 * busyness(), check=False
    )
    assert (json.loads(done.stdout)["result"], done.stdout.count("\n")) == (1, 1)
    for text in ("function\n", "task\n", "child\n"):
        assert text in done.stderr
    assert ("import\n" in done.stderr) == ("loud.py" not in command[1])


ONE = "import cascade as cs\n@cs.task\ndef workflow(): return 1\n"


def test_a_module_beside_the_file_comes_before_an_installed_one(folder: Path, cascade: Cascade) -> None:
    """As with ``python FILE``."""
    (folder / "tabnanny.py").write_text("NUMBER = 7\n")
    (folder / "own.py").write_text(ONE.replace("1", "tabnanny.NUMBER").replace("as cs", "as cs, tabnanny"))
    assert cascade("run", "own.py", "-q") == (0, "7\n", "")


def test_events_are_written_to_a_file(folder: Path, cascade: Cascade) -> None:
    """One envelope on each line, in order."""
    (folder / "one.py").write_text(ONE)
    assert cascade("run", "one.py", "-q", "--events", "events.jsonl") == (0, "1\n", "")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [each["seq"] for each in events] == [0, 1, 2, 3]
    assert events[-1]["body"]["event"] == "ENGINE_STOPPED"


@pytest.mark.full
@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "warnings"),
    [
        (
            ["--broker", "mqtt://127.0.0.1:9", "--name", "press"],
            ["no connection to 127.0.0.1:9: ", "messages for 127.0.0.1:9 that were not delivered: 4 "],
        ),
        (["--events", "nope/e.jsonl"], ["telemetry is not written to nope/e.jsonl and is lost: "]),
    ],
)
def test_a_broker_or_a_file_that_fails_is_one_warning(
    folder: Path, arguments: list[str], warnings: list[str]
) -> None:
    """And one for what is lost; the run's own code and result stay."""
    (folder / "one.py").write_text(ONE)
    process = started("run", "one.py", "-q", *arguments, folder=folder)
    out, err = process.communicate(timeout=60 * busyness())
    assert (process.returncode, out) == (0, "1\n"), err
    for line, warning in zip(err.splitlines(), warnings, strict=True):
        assert line.startswith(f"cascade: warning: {warning}")


@pytest.mark.process
@pytest.mark.parametrize("keys", ["\x03", "\x03\x03"])
def test_ctrl_c_cancels_the_run(folder: Path, keys: str) -> None:
    """Once: the run ends and says so. Twice: at once. Both with 130 and without a traceback."""
    with Terminal(["run", "job.py:long"], os.environ, folder=folder) as terminal:
        terminal.wait_for("waiting")
        terminal.type(keys)
        assert terminal.end() == 130
    assert "Traceback" not in terminal.text
    if keys == "\x03":
        assert re.search(r"run [0-9a-f]{32} cancelled after", terminal.text)


@pytest.mark.process
def test_sigterm_cancels_the_run(folder: Path) -> None:
    """As a service manager sends it: 143, with the document of the run."""
    process = started("run", "job.py:long", "--json", folder=folder)
    assert process.stderr is not None
    while "waiting" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60 * busyness())
    assert process.returncode == 143, err
    assert json.loads(out)["status"] == "Cancelled"


LEAVING = """
import asyncio, sys
import cascade as cs

class Slow(cs.LocalConnector):
    async def disconnect(self):
        print("leaving", file=sys.stderr, flush=True)
        await asyncio.sleep(60)

settings = cs.settings(connector=Slow())

@cs.task
def workflow():
    return 1
"""


@pytest.mark.process
@pytest.mark.parametrize("state", [[], ["--state", "runs", "--run-id", "night"]])
def test_a_signal_while_the_last_messages_are_sent_gives_no_wrong_result(
    folder: Path, state: list[str]
) -> None:
    """The run has succeeded, and its value is not null: it is recorded, or lost."""
    (folder / "leaving.py").write_text(LEAVING)
    process = started("run", "leaving.py", "--json", *state, folder=folder)
    assert process.stderr is not None
    while "leaving" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60 * busyness())
    assert process.returncode == 143, err
    document = json.loads(out)
    assert (document["status"], document["counts"]) == ("Succeeded", {"COMPLETED": 1})
    assert "result" not in document
    remedy = "run it again with the id night to get it" if state else "it is lost"
    assert f"cascade: the run succeeded, and a signal came before its result was here; {remedy}\n" in err


@pytest.mark.full
@pytest.mark.process
def test_the_progress_is_drawn_in_a_terminal(folder: Path) -> None:
    """At 80 and at 40 columns no line is wider than the terminal, and the result stands alone on the last line."""
    for columns in (80, 40):
        (folder / "quick.py").write_text(
            JOB.replace("[0.2] * 500", "[0.02] * 60").replace('print("waiting", flush=True)', "...")
        )
        with Terminal(["run", "quick.py:long"], os.environ, width=columns, folder=folder) as terminal:
            assert terminal.end() == 0, terminal.text
        drawn = [line for line in re.split(r"[\r\n]", terminal.text) if " running" in line]
        assert drawn
        assert all(len(line) < columns for line in drawn)
        assert not any("100%" in line for line in drawn)


@pytest.mark.full
@pytest.mark.process
def test_hostile_names_reach_no_terminal(folder: Path) -> None:
    """Of a task, a run's error and a parameter: they are shown with their control characters escaped."""
    (folder / "hostile.py").write_text(
        "import time\nimport cascade as cs\nevil = '[red]\\x1b]0;title\\x07\\n'\n"
        "@cs.task(name=evil)\ndef task(x):\n    time.sleep(0.3)\n    raise ValueError(evil + str(x))\n"
        "workflow = [task(cs.Param(evil, default=1, description=evil)), task(2)]\n"
    )
    for arguments in (
        ["--on-failure", "continue"],
        ["--help"],
        ["-p", "\x1b]0;title=1"],
        ["--executor", "\x1b]0;"],
    ):
        with Terminal(["run", "hostile.py", *arguments], os.environ, folder=folder) as terminal:
            assert terminal.end() == (0 if arguments == ["--help"] else 1 if "continue" in arguments else 2)
        assert "\x1b]0;" not in terminal.raw, terminal.raw
        assert "\x07" not in terminal.raw


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_a_constraint_that_cancels_the_run_is_exit_code_4(folder: Path, plant: Plant) -> None:
    """The engine has the name that ``--name`` gives; the broker comes from the environment."""
    process = started("run", "job.py:long", "--name", "press", folder=folder, env=plant.environment())
    eventually(lambda: [row for row in plant.json("runs") if row["source"] == "press"], "the run is seen")
    assert plant.cascade("cancel", "source:press").returncode == 0
    _, err = process.communicate(timeout=60 * busyness())
    assert process.returncode == 4, err
    assert "cascade: the run was cancelled: " in err


def test_a_graph_in_every_form(folder: Path, cascade: Cascade) -> None:
    """A tree for a person, text for tools, JSON; required parameters of the graph may be missing."""
    assert cascade("graph", "job.py") == (0, "count\n├─ inspect for each\n└─ caption (input)\n", "")
    assert cascade("graph", "job.py", "--format", "mermaid")[1].startswith("flowchart TD\n")
    assert cascade("graph", "job.py", "--format", "dot")[1].startswith("digraph cascade {\n")
    for arguments in (["--format", "json"], ["--json"]):
        assert [step["name"] for step in json.loads(cascade("graph", "job.py", *arguments)[1])] == [
            "inspect",
            "caption",
            "count",
        ]
    for name, begin in (("g.mmd", "flowchart"), ("g.dot", "digraph"), ("g.json", "["), ("g.txt", "count")):
        assert cascade("graph", "job.py", "-o", name) == (0, "", "")
        assert (folder / name).read_text("utf-8").startswith(begin)


@pytest.mark.process
def test_what_a_graph_cannot_be_drawn_with(
    folder: Path, cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphviz that is missing or fails, a folder that is missing: one line and the remedy; svg needs no Graphviz."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    code, _, err = cascade("graph", "job.py", "--format", "png")
    assert (code, err) == (
        2,
        "cascade: png needs Graphviz, which is not installed; choose --format svg, or apt-get install graphviz\n",
    )
    assert cascade("graph", "job.py", "-o", "g.svg") == (0, "", "")
    assert (folder / "g.svg").read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    code, _, err = cascade("graph", "job.py", "-o", "nope/g.dot")
    assert (code, err) == (
        2,
        "cascade: nope/g.dot cannot be written: No such file or directory; choose another for -o\n",
    )
    dot = folder / "dot"
    dot.write_text("#!/bin/sh\necho $*\ncat\n")
    dot.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(dot))
    assert cascade("graph", "job.py", "-o", "g.svg") == (0, "", "")
    graph = cascade("graph", "job.py", "--format", "dot")[1]
    assert (folder / "g.svg").read_text() == f"-Tsvg\n{graph}"
    dot.write_text("#!/bin/sh\ncat > /dev/null\necho 'odd' >&2\nexit 3\n")
    assert cascade("graph", "job.py", "-o", "g.svg") == (1, "", "cascade: Graphviz failed: odd\n")
    dot.write_text("#!/no/such/program\n")
    code, _, err = cascade("graph", "job.py", "-o", "g.svg")
    assert (code, "; choose --format mermaid, or a smaller graph" in err) == (1, True)


CLOSES = """
import os, time
import cascade as cs

@cs.task(mode={mode!r})
def closes():
    os.closerange(3, 256)

@cs.task
def after(closed):
    time.sleep(0.1)

workflow = after(closes())
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="there the loop's files are no descriptors")
@pytest.mark.parametrize("mode", ["thread", "inline"])
def test_a_task_that_closes_the_files_of_the_event_loop_fails_the_run(tmp_path: Path, mode: str) -> None:
    """Nobody has cancelled it: the exit code is 1, so that a service is started again."""
    (tmp_path / "closes.py").write_text(CLOSES.format(mode=mode))
    ended = subprocess.run(
        [*CASCADE, "run", "closes.py", "--quiet"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1, ended.stderr
    assert "cascade: the run failed: OSError: [Errno 9] Bad file descriptor" in ended.stderr
