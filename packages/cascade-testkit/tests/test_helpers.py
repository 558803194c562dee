"""The small helpers find what they are for, and describe it."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from cascade.testkit import eventually, no_leaks, time_limit, waiting
from cascade.testkit.connector import Ability

Run = Callable[..., subprocess.CompletedProcess[str]]


T = TypeVar("T", bound=Callable[..., None])


def whole_run(test: T) -> T:
    """Mark a test that runs pytest in a process of its own."""
    marked: T = pytest.mark.process(pytest.mark.timeout(180)(test))
    return marked


async def test_eventually_returns_what_came_true() -> None:
    """It asks again and again, also a condition that is awaited, and returns the first true value."""
    values = iter([0, [], "", "found"])

    async def condition() -> object:
        return next(values)

    assert await eventually(condition) == "found"


async def test_eventually_waits_longer_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factor is looked up only when the timeout is over; a pause of the program does not use up the rest."""
    clock = asyncio.get_running_loop().time
    monkeypatch.setattr("os.getloadavg", lambda: (1e9, 0, 0), raising=False)
    assert waiting.busyness() == 20
    began = clock()
    assert await eventually(lambda: clock() > began + 0.3, timeout=0.2)


def test_a_pause_of_the_whole_program_counts_as_one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing could happen in it, so it uses up no time that others need."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0, 0), raising=False)
    looks = iter([0.0, 0.5, 60.0, 60.5, 61.0])
    deadline = waiting.Deadline(2.0, lambda: next(looks))
    assert [(deadline.passed(), deadline.waited) for _ in range(4)] == [
        (False, 0.5),
        (False, 1.5),
        (False, 2.0),
        (True, 2.5),
    ]


async def test_a_time_limit_ends_what_takes_longer_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the limit is later; a body that ends earlier is not affected, nor what follows it."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0, 0), raising=False)
    with pytest.raises(TimeoutError):
        async with time_limit(0.01):
            await asyncio.Event().wait()
    monkeypatch.setattr("os.getloadavg", lambda: (1e9, 0, 0), raising=False)
    async with no_leaks(), time_limit(0.2):  # 4 s: a pause of the program counts as one second
        began = loop.time()
        await eventually(lambda: loop.time() > began + 0.3)


async def test_eventually_says_what_did_not_happen() -> None:
    """The error contains the condition's own text, or its description, and its last value."""
    caught: list[int] = []
    with pytest.raises(
        AssertionError, match=r"not within 0 s: .*lambda: len\(caught\) > 1.* last value: False"
    ):
        await eventually(lambda: len(caught) > 1, timeout=0)
    with pytest.raises(AssertionError, match=r"not within 0 s: the moon; last value: 0"):
        await eventually(int, timeout=0, what="the moon")


async def test_no_leaks_is_content_with_what_ends_soon() -> None:
    """Tasks and sockets that were closed, but end one loop iteration later, are not leaks."""
    async with no_leaks():
        task = asyncio.create_task(asyncio.sleep(0.02))
        with socket.socket():
            pass
    assert task.done()


async def test_no_leaks_names_each_thing_that_was_left(tmp_path: Path) -> None:
    """A task by its name, a thread by its name, a file by its path, a socket as one."""
    hold = threading.Event()
    thread = threading.Thread(target=hold.wait, name="left-thread")
    checked = no_leaks(timeout=0)
    await checked.__aenter__()
    task = asyncio.create_task(asyncio.Event().wait(), name="left-task")
    thread.start()
    file, link = (tmp_path / "left-file").open("w"), socket.socket()
    with pytest.raises(AssertionError) as caught:
        await checked.__aexit__(None, None, None)
    files = (
        ("left-file", "socket:") if sys.platform == "linux" else ()
    )  # elsewhere they are listed without names
    for word in ("task left-task", "thread left-thread", *files):
        assert word in str(caught.value)
    file.close()
    link.close()
    hold.set()
    thread.join()
    task.cancel()


@pytest.mark.full
@whole_run
def test_the_no_leaks_fixture_fails_a_test_that_leaves_something(tmp_path: Path, run_pytest: Run) -> None:
    """The test passes and its teardown is the error."""
    tmp_path.joinpath("test_it.py").write_text(
        "import asyncio, pytest\n"
        "from cascade.testkit import fixtures\n"
        "fixtures._LEAK_SECONDS = 0.1\n"
        "@pytest.mark.asyncio\n"
        "async def test_it(no_leaks):\n"
        "    asyncio.get_running_loop().left = asyncio.create_task(asyncio.Event().wait(), name='left')\n"
        "@pytest.mark.asyncio\n"
        "async def test_good(no_leaks):\n"
        "    await asyncio.create_task(asyncio.sleep(0))\n",
        encoding="utf-8",
    )
    done = run_pytest(tmp_path)
    assert "2 passed, 1 error" in done.stdout
    assert "left behind: task left" in done.stdout


@pytest.mark.full
@whole_run
@pytest.mark.broker
def test_a_failed_test_shows_the_log_of_its_broker(tmp_path: Path, run_pytest: Run) -> None:
    """The report of a failed test shows what the broker logged; a test that passes shows nothing."""
    tmp_path.joinpath("test_it.py").write_text(
        "def test_good(broker): pass\ndef test_bad(broker): assert False\n", encoding="utf-8"
    )
    done = run_pytest(tmp_path)
    assert done.stdout.count("log of broker") == 1
    assert str(Path(".conf")) in done.stdout


CONTRACT = """
from cascade.testkit.connector import Ability, ConnectorContract

class Bare:
    async def connect(self): ...
    async def disconnect(self): ...
    async def publish(self, topic, payload, qos=0, *, retain=False): ...
    async def subscribe(self, topic, callback, qos=0): ...
    async def flush(self, timeout=None): return True

class TestBare(ConnectorContract):
    abilities = frozenset({abilities})
    async def make(self):
        return Bare()
    async def observe(self, topic_filter):
        return list
"""


@pytest.mark.full
@whole_run
@pytest.mark.parametrize("abilities", ["", "Ability.WATCH, Ability.FLUSH"])
def test_abilities_must_be_declared_as_they_are(tmp_path: Path, run_pytest: Run, abilities: str) -> None:
    """One that is there and not declared fails, and one that is declared and not there."""
    code = CONTRACT.replace("{abilities}", "{" + abilities + "}")
    tmp_path.joinpath("test_it.py").write_text(code, encoding="utf-8")
    done = run_pytest(tmp_path, "-k", "test_abilities_are_declared_as_they_are", "-vv")
    assert "=== 1 failed, " in done.stdout
    assert "Ability.WATCH" in done.stdout if abilities else "Ability.FLUSH" in done.stdout


@whole_run
def test_an_undeclared_ability_is_skipped_with_its_reason(tmp_path: Path, run_pytest: Run) -> None:
    """The report names the ability and describes it."""
    tmp_path.joinpath("test_it.py").write_text(CONTRACT.replace("{abilities}", "set()"), encoding="utf-8")
    done = run_pytest(tmp_path, "-k", "wildcard", "-rs")
    assert f"Ability.DELIVERY is not declared: {Ability.DELIVERY.value}" in done.stdout
    assert "failed" not in done.stdout
