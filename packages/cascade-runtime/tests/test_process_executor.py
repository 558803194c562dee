"""Processes for synchronous tasks: stopped when given up, gone when they should be, refused in words."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cascade.interfaces import (
    ConfigurationError,
    ExecutorUnavailable,
    TaskNotPicklableError,
    TaskTimeoutError,
    WorkerLostError,
)
from cascade.runtime import Engine, ProcessExecutor
from cascade.runtime.executors.process import _Pool
from cascade.testkit import eventually
from cascade.testkit._executor import calls
from cascade.testkit._executor.children import children

pytestmark = pytest.mark.slow

T = TypeVar("T")

# Tasks as users write them: in a module that can be imported, each name taken by the task itself.
TASKS = """
import os, subprocess, sys, time
from pathlib import Path
from cascade.spec import task

@task
def where(): return os.getpid()

@task(name="a name of its own")
def double(x): return 2 * x

@task
def fail(): raise ValueError("boom")

@task
def hang(folder):
    (Path(folder) / "begun").write_text(str(os.getpid()))
    time.sleep(60)

@task
def start_another(folder):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (Path(folder) / "other").write_text(str(other.pid))
    time.sleep(60)

@task
def fork_and_die(folder):
    if os.fork() == 0:
        (Path(folder) / f"child of {os.getppid()}").touch()
        time.sleep(60)
    os._exit(7)

@task(mode="process")
def elsewhere(): return os.getpid()

@task
def say(): print("heard")
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, in a folder that only this process's path names."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "tasks_of_a_user.py").write_text(TASKS)
    monkeypatch.syspath_prepend(folder)
    import tasks_of_a_user  # type: ignore[import-not-found]

    yield tasks_of_a_user
    del sys.modules["tasks_of_a_user"]


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


async def test_tasks_of_a_module_run_elsewhere(tasks: Any) -> None:
    """The name that pickle looks up is the task's, yet the function arrives; so does the path of modules."""
    executor = ProcessExecutor(2)
    values = await Engine(executor=executor).run([tasks.where(), tasks.double(tasks.double(3))])
    assert values[0] != os.getpid()
    assert values[1] == 12
    await executor.close()


async def test_a_task_may_ask_for_a_process(tasks: Any) -> None:
    """An engine that was given nothing makes what such a task needs, and leaves no process behind."""
    before = children()
    here, there = await Engine().run([tasks.where(), tasks.elsewhere()])
    assert here == os.getpid() != there
    assert children() == before


async def test_an_error_brings_its_traceback(tasks: Any) -> None:
    """The cause shows the file and the line where the task failed."""
    executor = ProcessExecutor(1)
    with pytest.raises(ValueError, match="boom") as raised:
        await Engine(executor=executor).run(tasks.fail())
    assert 'tasks_of_a_user.py", line 13, in fail' in str(raised.value.__cause__)
    assert any("in task 'fail'" in note for note in raised.value.__notes__)
    await executor.close()


def in_main() -> None:
    """A function of the script that was started, once its module says so."""


in_main.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda: 1, r"its function is a lambda; define it with def at the top of a module"),
        (in_main, r"of the program that was started.*move it into a module and import it"),
        (threading.Lock().acquire, r"its function cannot be pickled \(TypeError: .*lock"),
    ],
)
async def test_a_function_that_cannot_travel_is_refused(function: Any, problem: str) -> None:
    """In words that name the task and the remedy, before any process is started."""

    def nested() -> None: ...

    executor = ProcessExecutor(1)
    before = children()
    with pytest.raises(TaskNotPicklableError, match=problem):
        await executor.run(function, (), {})
    with pytest.raises(TaskNotPicklableError, match=r"nested' cannot.*defined inside another function"):
        await executor.run(nested, (), {})
    with pytest.raises(TaskNotPicklableError, match="argument 'key' is a lambda"):
        await executor.run(sorted, ([1],), {"key": lambda x: -x})
    assert children() == before
    await executor.close()


async def test_a_task_over_its_time_does_not_eat_a_worker(tasks: Any, tmp_path: Path) -> None:
    """With one worker the next task runs, and nothing is left of the one before."""
    executor = ProcessExecutor(1)
    engine = Engine(executor=executor)
    before = children()
    with pytest.raises(TaskTimeoutError):
        await engine.run(tasks.hang.with_timeout(0.5)(str(tmp_path)))
    await eventually(lambda: children() == before)
    assert await engine.run(tasks.double(1)) == 2
    await executor.close()


async def test_what_a_stopped_task_has_started_ends_with_it(tasks: Any, tmp_path: Path) -> None:
    """A program that a task runs does not outlive the task that was given up."""
    executor = ProcessExecutor(1)
    call = asyncio.create_task(Engine(executor=executor).run(tasks.start_another(str(tmp_path))))
    await eventually(lambda: (tmp_path / "other").exists() and (tmp_path / "other").read_text())
    other = int((tmp_path / "other").read_text())
    assert alive(other)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: not alive(other))
    await executor.close()


async def test_a_forked_child_does_not_hide_the_loss_of_its_worker(tasks: Any, tmp_path: Path) -> None:
    """It holds the pipe open; the loss is seen all the same, told with the exit code, and it is ended too."""
    executor = ProcessExecutor(1, reruns=1)
    before = children()
    with pytest.raises(WorkerLostError, match=r"begun 2 times.*exit code 7"):
        await Engine(executor=executor).run(tasks.fork_and_die(str(tmp_path)))
    await executor.close()
    assert children() == before


async def test_without_reruns_a_lost_worker_fails_its_task_at_once() -> None:
    """For tasks that must not be run twice."""
    executor = ProcessExecutor(1, reruns=0)
    with pytest.raises(WorkerLostError, match=r"task 'die' was begun once.*killed by SIGKILL"):
        await executor.run(calls.die, (), {})
    await executor.close()


async def test_what_a_task_prints_is_seen(tasks: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """It is on the program's own stdout when the task has ended."""
    executor = ProcessExecutor(1)
    await Engine(executor=executor).run(tasks.say())
    assert capfd.readouterr().out == "heard\n"
    await executor.close()


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/python"])
async def test_a_worker_that_does_not_start_is_told(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with the cause, and without a second attempt."""
    monkeypatch.setattr(sys, "executable", program)
    executor = ProcessExecutor(1)
    with pytest.raises(ExecutorUnavailable, match=r"did not start \(.*(exit code 1|No such file)"):
        await executor.run(calls.echo, (1,), {})
    await executor.close()


@pytest.mark.parametrize("setting", [{"workers": 0}, {"workers": True}, {"reruns": -1}, {"reruns": 1.5}])
def test_a_setting_that_makes_no_sense_is_refused(setting: dict[str, int]) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        ProcessExecutor(**setting)


# Whole programs, without `if __name__ == "__main__"`: workers do not run a script again.


HANGING = """
async def hanging():
    await Engine(executor=ProcessExecutor(1)).run(t.hang(sys.argv[1]))
"""


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    """Run a script beside the module of tasks, in a process group of its own."""
    file = folder / "modules" / "job.py"
    begin = (
        "import asyncio, os, signal, sys, threading, time, tasks_of_a_user as t\n"
        "from pathlib import Path\n"
        "from cascade.runtime import Engine, ProcessExecutor\n"
    )
    file.write_text(begin + textwrap.dedent(script))
    return subprocess.Popen(
        [sys.executable, str(file), str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], T]) -> T:
    deadline = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def worker_that_hangs(folder: Path) -> int:
    """The process in which the task runs, as soon as it does."""
    begun = folder / "begun"
    return int(wait_for(lambda: begun.exists() and begun.read_text()))


@pytest.mark.usefixtures("tasks")
def test_ctrl_c_reaches_the_parent_only(tmp_path: Path) -> None:
    """Everybody in the terminal's group gets SIGINT; the worker lives on, and answers."""
    script = """
        signal.signal(signal.SIGINT, lambda *_: os.write(1, b"interrupted\\n"))  # a print may be under way
        async def main():
            executor = ProcessExecutor(1)
            for name in ("first", "second"):
                print(await Engine(executor=executor).run(t.where()), flush=True)
                while not (Path(sys.argv[1]) / name).exists():
                    await asyncio.sleep(0.01)
            await executor.close()
        asyncio.run(main())
    """
    with start(script, tmp_path) as program:
        assert program.stdout
        first = program.stdout.readline()
        os.killpg(program.pid, signal.SIGINT)
        assert program.stdout.readline() == "interrupted\n"
        (tmp_path / "first").touch()
        assert program.stdout.readline() == first
        (tmp_path / "second").touch()
        assert program.wait(20) == 0
    wait_for(lambda: not alive(int(first)))


@pytest.mark.usefixtures("tasks")
def test_the_program_can_end_while_a_call_runs(tmp_path: Path) -> None:
    """It does not hang, whatever runs, and leaves no process behind."""
    script = f"""{HANGING}
threading.Thread(target=lambda: asyncio.run(hanging()), daemon=True).start()
begun = Path(sys.argv[1]) / "begun"
while not (begun.exists() and begun.read_text()):
    time.sleep(0.01)
"""
    with start(script, tmp_path) as program:
        worker = worker_that_hangs(tmp_path)
        assert program.wait(20) == 0
    wait_for(lambda: not alive(worker))


@pytest.mark.usefixtures("tasks")
def test_a_killed_program_leaves_no_worker(tmp_path: Path) -> None:
    """After kill -9 the worker ends by itself, in the middle of a task."""
    with start(f"{HANGING}\nasyncio.run(hanging())\n", tmp_path) as program:
        worker = worker_that_hangs(tmp_path)
        program.kill()
    wait_for(lambda: not alive(worker))


@pytest.mark.usefixtures("tasks")
def test_an_interrupted_program_ends_with_its_workers(tmp_path: Path) -> None:
    """Row 30: Ctrl-C ends the run, and the task that it waits for."""
    with start(
        f"{HANGING}\ntry: asyncio.run(hanging())\nexcept KeyboardInterrupt: print('ended')\n", tmp_path
    ) as program:
        worker = worker_that_hangs(tmp_path)
        os.killpg(program.pid, signal.SIGINT)
        assert program.communicate(timeout=20)[0] == "ended\n"
    wait_for(lambda: not alive(worker))


def test_idle_workers_are_all_told_to_end_before_one_is_waited_for() -> None:
    """Closing takes as long as the slowest of them, not as all together."""
    told: list[str] = []

    class Idle:
        def hang_up(self) -> None:
            told.append("hang up")

        def retire(self) -> str:
            told.append("wait")
            return "exit code 0"

    pool = _Pool()
    pool._idle = [Idle(), Idle()]  # type: ignore[list-item]
    pool.close()
    assert told == ["hang up", "hang up", "wait", "wait"]
