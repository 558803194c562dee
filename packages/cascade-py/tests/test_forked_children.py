"""Children that tasks fork: they can be ended by signals, end where the task ends, and leave the run alone.

Each case is a program of its own: pytest and its plugins would be forked with their threads.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cascade.testkit.waiting import busyness

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.process,
]

MODES = ("thread", "inline", "async", "process")

CHILDREN = """
import multiprocessing, os, signal, subprocess, sys, time

fork = multiprocessing.get_context("fork")

def process():
    child = fork.Process(target=time.sleep, args=[3600])
    child.start()
    child.terminate()
    child.join()
    return child.exitcode

def pool():
    with fork.Pool(2) as workers:
        return workers.map(abs, [-1, 2])

def preexec():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], preexec_fn=lambda: None)
    child.terminate()
    return child.wait()

def forked(act, number=None, begun=None):
    child = os.fork()
    if not child:
        act()
        return "the child went on with the run"
    if begun is not None:
        os.read(begun, 1)
    if number is not None:
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def terminated():
    return forked(lambda: time.sleep(3600), signal.SIGTERM)

def hung_up():
    return forked(lambda: time.sleep(3600), signal.SIGHUP)

def interrupted():
    # Python itself loses a Ctrl-C that comes while its own functions for forked children run, and
    # handles one that comes just before a sleep only after that
    begun, begins = os.pipe()
    return forked(lambda: (os.write(begins, b"."), [time.sleep(0.01) for _ in iter(int, 1)]), signal.SIGINT, begun)

def returned():
    return forked(lambda: None)

def left():
    return forked(lambda: sys.exit(3))

def raised():
    return forked(lambda: 1 / 0)
"""

EXPECTED = {
    "process": -signal.SIGTERM,
    "pool": [1, 2],
    "preexec": -signal.SIGTERM,
    "terminated": -signal.SIGTERM,
    "hung_up": -signal.SIGHUP,
    "interrupted": 1,  # by its KeyboardInterrupt
    "returned": 0,
    "left": 3,
    "raised": 1,
}
"""What the task returns, by what it does with its child."""

PROGRAM = """
import asyncio, json, os, sys
import cascade as cs
import children

def declared(mode, kind):
    # by its name, as a worker process finds it
    code = f"{'async ' if mode == 'async' else ''}def {mode}_{kind}():\\n    return act()"
    names = {"act": getattr(children, kind), "__name__": __name__}
    exec(code, names)
    task = cs.task(names[f"{mode}_{kind}"]) if mode == "async" else cs.task(mode=mode)(names[f"{mode}_{kind}"])
    globals()[f"{mode}_{kind}"] = task
    return task

MODE, KINDS, TIMES = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3])
tasks = {kind: declared(MODE, kind) for kind in KINDS}

if __name__ == "__main__":
    found = cs.run([task() for task in tasks.values() for _ in range(TIMES)], connector="file:events.jsonl")
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(3, marks=pytest.mark.full),
        pytest.param(100, marks=[pytest.mark.nightly, pytest.mark.timeout(1_200)]),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_child_ends_by_itself_or_by_a_signal_and_the_run_goes_on(
    mode: str, times: int, tmp_path: Path
) -> None:
    """Row 46: whatever forks, in each mode; no child is left, and no event is written twice."""
    found, events = run(mode, [*EXPECTED], times, tmp_path)
    assert found == [value for value in EXPECTED.values() for _ in range(times)]
    assert len(events) == len({event["event_id"] for event in events}) == 2 + 2 * len(found)


def test_a_child_of_a_task_dies_of_sigterm_though_the_run_handles_it(tmp_path: Path) -> None:
    """Row 46, in short: a task in a thread, which starts a child and ends it at once."""
    assert run("thread", ["process", "terminated"], 2, tmp_path)[0] == [-signal.SIGTERM] * 4


def run(
    mode: str, kinds: list[str], times: int, folder: Path
) -> tuple[list[object], list[dict[str, object]]]:
    """Return what the tasks returned, and the events of the run."""
    (folder / "children.py").write_text(CHILDREN)
    (folder / "program.py").write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "program.py", mode, ",".join(kinds), str(times)],
        cwd=folder,
        check=False,
        capture_output=True,
        timeout=(20 + len(kinds) * times / 4) * busyness(),
    )
    assert ended.returncode == 0, ended.stderr.decode()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return json.loads(ended.stdout), events


ORPHANS = """
import os, signal, sys, time
import cascade as cs
import workers

@cs.task(mode="inline")
def forks(worker):
    if not os.fork():
        print(os.getpid(), worker, flush=True)
        time.sleep(3600)
    time.sleep(3600)

if __name__ == "__main__":
    cs.run(forks(workers.pid()))
"""


def test_a_forked_child_keeps_no_worker_process_alive_when_the_program_is_killed(tmp_path: Path) -> None:
    """Row 46: a worker notices the end of its engine by its pipe, of which the child has no copy."""
    (tmp_path / "workers.py").write_text(
        "import os\nimport cascade as cs\n@cs.task(mode='process')\ndef pid():\n    return os.getpid()\n"
    )
    (tmp_path / "program.py").write_text(ORPHANS)
    command = [sys.executable, "-W", "ignore", "program.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        child, worker = map(int, program.stdout.readline().split())
        program.kill()
        try:
            eventually_gone(worker)
            os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def eventually_gone(pid: int) -> None:
    deadline = time.monotonic() + 10 * busyness()
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
        except OSError:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} runs on")
