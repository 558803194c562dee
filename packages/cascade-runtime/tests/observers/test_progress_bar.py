"""A run with progress=True shows on stderr how far it is."""

import asyncio
import io
import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces import (
    Redactor,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.gates import gate
from cascade.runtime import Engine, EventBus, LocalConnector, LocalHub
from cascade.runtime._observers import progress_bar
from cascade.runtime._observers.progress_bar import Line, cut, render
from cascade.runtime._observers.run_counts import RunCounts
from cascade.runtime._support.run_facts import RunFacts
from cascade.spec import task
from cascade.testing import ManualClock
from cascade.testkit import eventually
from cascade.testkit.waiting import busyness


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def new_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Return a function that replaces the standard streams; a fixture cannot, because pytest replaces them later."""

    def make() -> Terminal:
        made = Terminal()
        monkeypatch.setattr(sys, "stderr", made)
        monkeypatch.setattr(sys, "stdout", made)
        return made

    monkeypatch.setattr(progress_bar, "INTERVAL", 0)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return make


@task
async def give(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


@task
async def fail(value: Any) -> None:
    raise ValueError("password=x9")


def lines_of(terminal: Terminal) -> list[str]:
    return re.split(r"\r\x1b\[K|\n", terminal.getvalue())


def state(task_id: str, state: TaskState, reason: str = "") -> TaskStateEvent:
    return TaskStateEvent("r1", task_id, "t", state, 0.0, reason=reason)


def counts(*events: TaskStateEvent, tasks: int = 0, unexpanded: int = 0) -> RunCounts:
    facts = RunFacts()
    facts.known, facts.unexpanded = {"t": tasks}, unexpanded
    made = RunCounts(0.0, facts)
    for event in events:
        made.count(event)
    return made


async def test_a_terminal_shows_counts_and_a_last_line(new_terminal: Callable[[], Terminal]) -> None:
    """The line changes in place; at the end only the last line stays."""
    terminal = new_terminal()
    assert await Engine().run(give(give.map(value=[1, 2, 3])), progress=True, run_id="r1") == [1, 2, 3]
    *drawn, last, empty = lines_of(terminal)
    assert empty == ""
    assert re.fullmatch(r"run r1 succeeded after \S+ m?s: 4 completed", last)
    assert any("/4 " in line for line in drawn)
    assert not any("100%" in line for line in drawn)
    assert terminal.getvalue().endswith(f"\r\x1b[K{last}\n")


@pytest.mark.parametrize("kind", ["pipe", "dumb", "closed"])
async def test_elsewhere_only_the_last_line_is_written(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe and a terminal without control characters get one line; a closed stream gets none."""
    stream: io.StringIO = Terminal() if kind == "dumb" else io.StringIO()
    monkeypatch.setenv("TERM", "dumb" if kind == "dumb" else "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    if kind == "closed":
        stream.close()
    assert await Engine().run(give(1), progress=True, run_id="r1") == 1
    if kind != "closed":
        assert re.fullmatch(r"run r1 succeeded after \S+ m?s: 1 completed\n", stream.getvalue())


async def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a console runs as ever."""
    monkeypatch.setattr(sys, "stderr", None)
    assert await Engine().run(give(1), progress=True) == 1


async def test_a_failure_ends_the_line(new_terminal: Callable[[], Terminal]) -> None:
    """The last line counts it and does not repeat the error, which is raised; the streams are given back."""
    terminal = new_terminal()
    with pytest.raises(ValueError, match="x9"):
        await Engine().run(fail(1), progress=True, run_id="r1")
    assert terminal.getvalue().endswith(": 1 failed\n")
    assert sys.stderr is terminal
    assert Line.drawn is None


async def test_what_a_task_prints_and_logs_stands_above_the_line(
    new_terminal: Callable[[], Terminal],
) -> None:
    """The line is erased before and drawn again after; a half line is not overwritten."""
    terminal = new_terminal()
    handler = logging.StreamHandler()  # takes sys.stderr as it is now
    handler.setLevel(logging.WARNING)
    users = logging.getLogger()
    users.addHandler(handler)

    @task
    async def speak() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        print("half", end="")
        for _ in range(3):
            await asyncio.sleep(0)
        print(" done")
        logging.getLogger("users").warning("careful")
        sys.stderr.writelines(["one\n", "two\n"])
        for _ in range(3):
            await asyncio.sleep(0)

    try:
        await Engine().run(speak(), progress=True)
        assert handler.stream is terminal
    finally:
        users.removeHandler(handler)
    shown = lines_of(terminal)
    for whole in ("half done", "careful", "one", "two"):
        assert whole in shown
    assert (
        shown[shown.index("half done") - 1].endswith("1 running: speak:0")
        or not shown[shown.index("half done") - 1]
    )
    assert shown[-3].endswith(" running")


async def test_another_run_of_the_bus_is_not_counted(new_terminal: Callable[[], Terminal]) -> None:
    """Only events of the run itself are."""
    terminal = new_terminal()
    bus = EventBus()

    @task
    async def inner() -> None:
        await Engine(bus=bus).run(give([give(n) for n in range(5)]))

    await Engine(bus=bus).run(inner(), progress=True, run_id="r1")
    assert terminal.getvalue().endswith(": 1 completed\n")


def test_the_line_shows_what_is_blocked_and_why() -> None:
    """The most frequent reason stands for all; a reason that has ended is forgotten."""
    blocked = [state(f"b{n}", TaskState.BLOCKED, "paused by x" if n else "gpu") for n in range(3)]
    made = counts(*blocked, state("r", TaskState.RUNNING), state("c", TaskState.COMPLETED), tasks=5)
    assert (
        render(made, 3, 100)
        == "[####................]  20%  1/5  3.0 s, 20/min  1 running: r  3 waiting: paused by x"
    )
    assert render(made, 3, 80) == "[##........]  20%  1/5  3.0 s  1 running  3 waiting: paused by x"
    assert render(made, 3, 50) == "20%  1/5  1 running  3 waiting: paused by x"
    made.count(state("r", TaskState.COMPLETED))
    assert render(made, 3, 40) == "40%  2/5  3.0 s  3 waiting: paused by x"
    made.count(state("r", TaskState.RUNNING))
    for n in range(3):
        made.count(state(f"b{n}", TaskState.RUNNING))
    assert render(made, 3, 80).endswith("4 running: r")
    made.count(state("r", TaskState.COMPLETED))
    assert render(made, 3, 80).endswith("3 running: b0")


def test_a_pause_is_named_before_what_tasks_waited_for_when_it_came() -> None:
    """A task that waits for the GPU waits for the end of the pause, too; nothing says then how long."""
    ended = [state(f"c{n}", TaskState.COMPLETED) for n in range(20)]
    made = counts(*ended, *(state(f"b{n}", TaskState.BLOCKED, "gpu") for n in range(3)), tasks=25)
    assert (
        render(made, 10, 100)
        == "[################....]  80%  20/25  10.0 s, 2.5 s left, 2.0/s  3 waiting: gpu"
    )
    whole = {"": "global is paused", "t": "global is paused"}
    shown = render(made, 10, 100, hold_of=lambda name: whole[name])
    assert shown == "[################....]  80%  20/25  10.0 s  Paused: global is paused  3 waiting"
    some = {"": "", "t": "task:t is paused"}
    assert render(made, 10, 70, hold_of=lambda name: some[name]).endswith("  3 waiting: task:t is paused")


@pytest.mark.parametrize("columns", [100, 80, 60])
async def test_a_pause_shows_the_command_that_ends_it_however_narrow_the_terminal(
    new_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """The number of waiting tasks, the time and the bar make room for it, in this order."""
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal, hub = new_terminal(), LocalHub()
    hub.publish("cascade/constraints/global/@pause", b'{"type":"pause"}', retain=True)
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"))
    run = asyncio.create_task(engine.run(give(give.map(value=[*range(40)])), progress=True))
    await eventually(lambda: "  Paused: global is paused -> cascade resume" in terminal.getvalue())
    hub.publish("cascade/constraints/global/@pause", b"", retain=True)
    await run
    assert all(len(line) < columns for line in lines_of(terminal) if "Paused" in line)


async def test_a_run_behind_a_gate_waits_and_is_not_called_paused(
    new_terminal: Callable[[], Terminal],
) -> None:
    """As on every other screen; the reason is that of the gate."""
    terminal = new_terminal()
    clock = ManualClock(1_795_600_800.0)
    engine = Engine(clock=clock, gates=[gate("night", window="22:00-06:00 UTC")])
    run = asyncio.create_task(engine.run(give(1), progress=True))
    await eventually(lambda: "it is not yet within 22:00-06:00 UTC" in terminal.getvalue())
    assert "Paused" not in terminal.getvalue()
    clock.advance(12 * 3600)
    assert await run == 1


def test_the_line_estimates_the_time_left_when_it_can() -> None:
    """From the rate so far, when ten tasks have ended and no more can come; and it never says zero."""
    ended = [state(f"c{n}", TaskState.COMPLETED) for n in range(20)]
    assert " 20/60  10.0 s, 20.0 s left, 2.0/s  " in render(counts(*ended, tasks=60), 10, 80)
    assert " 20/21  10.0 s, 1 s left, 2.0/s  " in render(counts(*ended, tasks=21), 10, 80)
    assert " 20/60+  10.0 s, 2.0/s  " in render(counts(*ended, tasks=60, unexpanded=1), 10, 80)
    assert " 9/60  10.0 s, 54/min  " in render(counts(*ended[:9], tasks=60), 10, 80)
    assert " 20/20  10.0 s, 2.0/s  " in render(counts(*ended, tasks=20), 10, 80)


def test_failures_are_red_unless_the_user_wants_no_color() -> None:
    """NO_COLOR keeps every color out."""
    made = counts(state("f", TaskState.FAILED), tasks=2)
    assert "\x1b[31m1 failed\x1b[0m" in render(made, 3, 100, color=True)
    assert "\x1b" not in render(made, 3, 100)


async def test_no_color_is_respected(
    new_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line moves, but nothing is colored."""
    terminal = new_terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(ExceptionGroup):
        await Engine().run(give([fail(1), give(2)]), progress=True, on_failure="continue")
    assert "\x1b[31m" not in terminal.getvalue()


@pytest.mark.full
@given(st.integers(1, 200), st.integers(0, 100), st.text(max_size=50), st.booleans())
def test_the_line_fits_into_every_terminal(columns: int, done: int, reason: str, unexpanded: bool) -> None:
    """It never wraps: one column stays free."""
    events = [state(f"c{n}", TaskState.COMPLETED) for n in range(done)]
    made = counts(*events, state("b", TaskState.BLOCKED, reason), tasks=done + 1, unexpanded=int(unexpanded))
    assert len(render(made, 4000, columns, clean=Redactor().one_line)) < columns


def test_wide_characters_take_two_columns() -> None:
    """Otherwise a Japanese reason would wrap the line."""
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日…"
    assert cut("abc", 2) == "a…"
    assert cut("abc", 0) == ""


PROGRAM = """
import asyncio, cascade as cs

@cs.task
async def wait():
    print("ready", flush=True)
    await asyncio.Event().wait()

cs.run(wait(), progress=True, run_id="r1")
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_ctrl_c_leaves_a_clean_terminal() -> None:
    """The line is erased, the last line says how the run ended, and the traceback follows."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "PYTHON_COLORS": "0"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"1 running" not in shown:
        shown += os.read(ours, 4096)
    process.send_signal(2)
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # Linux: the other side is closed
        process.wait(20 * busyness())
    os.close(ours)
    process.wait(20 * busyness())
    end = shown.decode().replace("\r\n", "\n").rpartition("\r\x1b[K")[2]
    assert re.match(r"run r1 cancelled after \S+ m?s: 1 cancelled\nTraceback", end)
    assert end.endswith("KeyboardInterrupt\n")


async def test_a_terminal_that_is_gone_or_has_few_characters_fails_no_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it cannot show is a question mark."""

    class Narrow(io.StringIO):
        encoding = "ascii"

    class Gone(Narrow):
        def write(self, text: str) -> int:
            raise OSError("gone")

    for made, shown in ((Narrow(), "run ?? succeeded"), (Gone(), "")):
        monkeypatch.setattr(sys, "stderr", made)
        assert await Engine().run(give(1), progress=True, run_id="日本") == 1
        assert made.getvalue().startswith(shown)
        assert made.getvalue().isascii()


def test_nothing_is_drawn_into_a_line_that_a_program_has_not_ended(
    new_terminal: Callable[[], Terminal],
) -> None:
    """Text without characters changes nothing; the line comes back behind a line break."""
    terminal = new_terminal()
    line = Line(terminal)
    line.draw("one")
    print(end="")
    line.draw("two")
    print("half", end="")
    print(end="")
    line.draw("not this")
    print(" done")
    line.draw("three")
    line.close()
    erase = "\r\x1b[K"
    assert terminal.getvalue() == f"{erase}one{erase}two{erase}half done\n{erase}three{erase}"
