"""ProcessExecutor: calls are stopped when abandoned, workers end in time, and errors name the problem."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from worker_calls import calls, children

from cascade.interfaces import (
    ConfigurationError,
    ExecutorUnavailable,
    TaskNotPicklableError,
    WorkerLostError,
)
from cascade.runtime import Engine, ProcessExecutor
from cascade.spec import task
from cascade.testkit import eventually
from cascade.testkit.waiting import busyness

pytestmark = pytest.mark.process

T = TypeVar("T")

LIMIT = 30.0
"""Seconds after which a program hangs; a busy machine has more."""

# Tasks as users write them: in a module that can be imported, where each name means the task itself.
TASKS = """
import os, signal, subprocess, sys, time
from pathlib import Path
from cascade.spec import task

@task
def where(): return os.getpid()

@task
def hang(folder):
    (Path(folder) / "started").write_text(str(os.getpid()))
    try:
        time.sleep(60)
    finally:
        (Path(folder) / "cleaned up").touch()

@task
def ignore_sigterm(folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / "started").touch()
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

@task
def say(): print("heard")

@task(mode="process")
def inheritable():
    found = [int(name) for name in os.listdir("/proc/self/fd")]
    return [each for each in found if each > 2 and os.path.exists(f"/proc/self/fd/{each}") and os.get_inheritable(each)]
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, in a folder that only this process has on its path."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "tasks_of_a_user.py").write_text(TASKS)
    monkeypatch.syspath_prepend(folder)
    import tasks_of_a_user  # type: ignore[import-not-found]

    yield tasks_of_a_user
    del sys.modules["tasks_of_a_user"]


def alive(process: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows open files as files")
async def test_programs_that_a_task_starts_inherit_no_pipe_of_the_worker(tasks: Any) -> None:
    """One that goes on would keep the pipes open, and hide that its worker was lost."""
    assert await Engine().run(tasks.inheritable()) == []


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda: 1, r"its function is a lambda; define it with def at the top of a module"),
        (threading.Lock().acquire, r"its function cannot be pickled \(TypeError: .*lock"),
    ],
)
async def test_a_function_that_cannot_be_pickled_is_rejected(function: Any, problem: str) -> None:
    """The error names the task and what to do; no process is started."""

    def nested() -> None: ...

    executor = ProcessExecutor(1)
    before = children()
    with pytest.raises(TaskNotPicklableError, match=problem):
        await executor.run(function, (), {})
    with pytest.raises(TaskNotPicklableError, match=r"nested' cannot.*defined inside another function"):
        await executor.run(nested, (), {})
    with pytest.raises(TaskNotPicklableError, match="argument 'key' is a lambda"):
        await executor.run(sorted, ([1],), {"key": lambda x: -x})
    assert not children().keys() - before.keys()
    await executor.close()


async def test_processes_started_by_a_stopped_task_end_with_it(tasks: Any, tmp_path: Path) -> None:
    """A program that a task runs does not outlive the abandoned task."""
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
    """The child keeps the pipe open; the loss is noticed all the same, with the exit code; the child is killed."""
    executor = ProcessExecutor(1, reruns=1)
    before = children()
    with pytest.raises(WorkerLostError, match=r"started 2 times.*exit code 7"):
        await Engine(executor=executor).run(tasks.fork_and_die(str(tmp_path)))
    await executor.close()
    assert not children().keys() - before.keys()


async def test_with_reruns_a_call_survives_a_lost_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs again in another worker; one warning names the task and how its worker ended."""
    executor = ProcessExecutor(1, reruns=2)
    assert await executor.run(calls.die_at_first, (str(tmp_path),), {}) == "survived"
    message = "the worker process of task 'die_at_first' died (killed by SIGKILL); the task runs again"
    warnings = [record for record in caplog.records if record.name == "cascade.executor"]
    assert [(record.levelname, record.getMessage()) for record in warnings] == [("WARNING", message)]
    await executor.close()


async def test_a_retry_policy_runs_a_task_again_whose_worker_was_lost(tmp_path: Path) -> None:
    """The error is an ordinary failure of the task."""
    executor = ProcessExecutor(1)
    retried = task(calls.die_at_first).with_retry(2, on=(WorkerLostError,))
    assert await Engine(executor=executor).run(retried(str(tmp_path))) == "survived"
    await executor.close()


@pytest.mark.full
@pytest.mark.parametrize("how", ["settle", "close"])
async def test_a_task_that_ignores_sigterm_is_killed(how: str, tasks: Any, tmp_path: Path) -> None:
    """It had ignored the signal that stops it: its process ends all the same, and the next call runs."""
    executor = ProcessExecutor(1)
    before = children()
    call = asyncio.create_task(executor.run(tasks.ignore_sigterm.function, (str(tmp_path),), {}))
    await eventually((tmp_path / "started").exists)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    if how == "settle":
        assert await executor.settle(0) == 0
        assert not children().keys() - before.keys()
        assert await executor.run(calls.echo, (1,), {}) == 1
    await executor.close()
    await eventually(lambda: not children().keys() - before.keys())


async def test_the_output_of_a_task_is_visible(tasks: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """It is on the program's stdout when the task has ended."""
    executor = ProcessExecutor(1)
    await Engine(executor=executor).run(tasks.say())
    assert capfd.readouterr().out == "heard\n"
    await executor.close()


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/python"])
async def test_a_worker_that_does_not_start_is_an_error(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is raised at once, with the cause and without a second attempt."""
    monkeypatch.setattr(sys, "executable", program)
    executor = ProcessExecutor(1)
    with pytest.raises(ExecutorUnavailable, match=r"did not start \(.*(exit code 1|No such file)"):
        await executor.run(calls.echo, (1,), {})
    await executor.close()


async def test_a_system_that_starts_no_thread_fails_the_call_and_no_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call fails in words and never runs; a later one waits for a thread that there is."""
    executor, before = ProcessExecutor(2), children()

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        with pytest.raises(ExecutorUnavailable, match="cannot start more threads"):
            await executor.run(calls.echo, (1,), {})
        assert not children().keys() - before.keys()
    assert await executor.run(calls.echo, (2,), {}) == 2
    monkeypatch.setattr(threading.Thread, "start", fail)
    assert await asyncio.gather(*(executor.run(calls.echo, (n,), {}) for n in (3, 4))) == [3, 4]
    monkeypatch.undo()
    await executor.close()


@pytest.mark.parametrize("setting", [{"workers": 0}, {"workers": True}, {"reruns": -1}, {"reruns": 1.5}])
def test_an_invalid_setting_is_rejected(setting: dict[str, int]) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        ProcessExecutor(**setting)


# Whole programs, without `if __name__ == "__main__"`: workers do not run the script again.


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
    return asyncio.run(eventually(condition, LIMIT))


def worker_that_hangs(folder: Path) -> int:
    """Return the process ID of the worker as soon as the task runs in it."""
    started = folder / "started"
    return int(wait_for(lambda: started.exists() and started.read_text()))


@pytest.mark.usefixtures("tasks")
def test_ctrl_c_reaches_the_parent_only(tmp_path: Path) -> None:
    """Every process of the terminal's group gets SIGINT; the worker does not, and runs the next call."""
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
        assert program.wait(LIMIT * busyness()) == 0
    wait_for(lambda: not alive(int(first)))


@pytest.mark.usefixtures("tasks")
def test_the_program_can_end_while_a_call_runs(tmp_path: Path) -> None:
    """It does not hang, and leaves no process behind."""
    script = f"""{HANGING}
threading.Thread(target=lambda: asyncio.run(hanging()), daemon=True).start()
started = Path(sys.argv[1]) / "started"
while not (started.exists() and started.read_text()):
    time.sleep(0.01)
"""
    with start(script, tmp_path) as program:
        worker = worker_that_hangs(tmp_path)
        assert program.wait(LIMIT * busyness()) == 0
    wait_for(lambda: not alive(worker))


@pytest.mark.usefixtures("tasks")
def test_a_killed_program_leaves_no_worker(tmp_path: Path) -> None:
    """After kill -9 the worker ends by itself, even during a task, whose ``finally`` runs."""
    with start(f"{HANGING}\nasyncio.run(hanging())\n", tmp_path) as program:
        worker = worker_that_hangs(tmp_path)
        program.kill()
    wait_for(lambda: not alive(worker))
    assert (tmp_path / "cleaned up").exists()


@pytest.mark.usefixtures("tasks")
def test_an_interrupted_program_ends_with_its_workers(tmp_path: Path) -> None:
    """Row 30: Ctrl-C ends the run and the running task."""
    with start(
        f"{HANGING}\ntry: asyncio.run(hanging())\nexcept KeyboardInterrupt: print('ended')\n", tmp_path
    ) as program:
        worker = worker_that_hangs(tmp_path)
        os.killpg(program.pid, signal.SIGINT)
        assert program.communicate(timeout=LIMIT * busyness())[0] == "ended\n"
    wait_for(lambda: not alive(worker))


OPTIONS = "(lambda sys: (sys.flags.optimize, sys.warnoptions, sys._xoptions))(__import__('sys'))"
SHOW_OPTIONS = f"""
import asyncio
from cascade.runtime import ProcessExecutor

async def main():
    executor = ProcessExecutor(1)
    print(await executor.run(eval, ({OPTIONS!r},), {{}}))
    await executor.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], (0, [], {})),
        (
            ["-OO", "-W", "error::UserWarning", "-X", "faulthandler", "-X", "int_max_str_digits=5000"],
            (2, ["error::UserWarning"], {"faulthandler": True, "int_max_str_digits": "5000"}),
        ),
    ],
    ids=["none", "some"],
)
def test_a_worker_has_the_interpreter_options_of_its_program(options: list[str], shown: object) -> None:
    """Asserts, warnings and limits are the same there as in every other mode."""
    ours = ("PYTHONOPTIMIZE", "PYTHONWARNINGS")  # they would count as options
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    program = subprocess.run(
        [sys.executable, *options, "-c", SHOW_OPTIONS],
        capture_output=True,
        text=True,
        timeout=LIMIT * busyness(),
        env=environment,
        check=True,
    )
    assert program.stdout == f"{shown}\n"
