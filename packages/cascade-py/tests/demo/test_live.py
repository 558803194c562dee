"""What passes on the screen while an audit runs."""

from __future__ import annotations

import io
import threading

import pytest
from pyaudit.live import Live
from rich.console import Console

import cascade as cs
from cascade.interfaces import Lifecycle, LifecycleEvent, TaskState, TaskStateEvent


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[Console, io.StringIO]:
    """A terminal without colours, and what is written to it."""
    monkeypatch.setenv("TERM", "xterm")
    output = io.StringIO()
    return Console(file=output, force_terminal=True, color_system=None, width=80), output


def task_event(name: str, state: TaskState) -> TaskStateEvent:
    return TaskStateEvent("r", f"{name}-0", name, state, timestamp=0.0)


def test_every_event_is_counted_and_files_that_are_done_move_the_bar(
    terminal: tuple[Console, io.StringIO],
) -> None:
    """Starts, ends and other tasks are events too, but only an audited file is progress."""
    console, output = terminal
    live = Live(console, files=2)
    bus = cs.EventBus()
    live.follow(bus)
    with live:
        bus.publish(LifecycleEvent("r", Lifecycle.ENGINE_STARTED, timestamp=0.0))
        for state in (TaskState.RUNNING, TaskState.COMPLETED):
            bus.publish(task_event("audit", state))
            bus.publish(task_event("count", state))
    assert (live.produced, live.audited, live.run_id) == (5, 1, "r")
    assert "1/2 files" in output.getvalue()


def test_lines_of_the_second_process_stand_above_the_bar(terminal: tuple[Console, io.StringIO]) -> None:
    """A line that another thread prints is a line of its own, and the bar is drawn again below it."""
    console, output = terminal
    live = Live(console, files=2)
    with live:
        thread = threading.Thread(target=live.print_line, args=("[b]#0[/b] \x1b[2J ENGINE_STARTED",))
        thread.start()
        thread.join()
    lines = output.getvalue().split("\n")
    (shown_at,) = [
        index
        for index, line in enumerate(lines)
        if line.endswith(r"watcher | [b]#0[/b] \x1b[2J ENGINE_STARTED")
    ]
    assert "0/2 files" in lines[shown_at + 1]


def test_a_command_stays_whole_and_other_lines_break_between_words(
    terminal: tuple[Console, io.StringIO],
) -> None:
    """What a person may copy has no line end in it; the rest is set to the terminal's width."""
    console, output = terminal
    live = Live(console, files=2, label="steer")
    words = "word " * 30
    live.print_line(f"$ {words}end")
    live.print_line(f"< {words}end")
    command, *rest = output.getvalue().splitlines()
    assert command == f"steer | $ {words}end"
    assert len(rest) == 3
    assert all(line.strip().endswith(("word", "end")) for line in rest)


def test_without_a_terminal_there_is_no_bar() -> None:
    """In a file or a pipe only lines remain, without a control character."""
    output = io.StringIO()
    live = Live(Console(file=output, width=80), files=2)
    with live:
        live.print_line("#0 ENGINE_STARTED")
    assert output.getvalue().rstrip("\n") == "watcher | #0 ENGINE_STARTED"
