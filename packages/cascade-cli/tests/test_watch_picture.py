"""What ``cascade watch`` shows, decided and drawn without a terminal or a broker."""

import io
import json
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from cli_modules import (
    SURE_SECONDS,
    Changes,
    Frame,
    Picture,
    Rates,
    Screen,
    Until,
    draw,
    in_words,
    only_events,
    take,
)
from rich.cells import cell_len
from rich.console import Console

from cascade.interfaces.topics import constraint_topic, state_topic, status_topic
from cascade.interfaces.wire import timestamp
from cascade.wire import View

WALL = 1_800_000_000.0
NOW = 100.0
RATE = constraint_topic("task:resize*", "rate_limit")
HOSTILE = "[red]x\x1b]0;y"


def run_row(**more: Any) -> dict[str, Any]:
    """A running run with something of everything."""
    return {
        "run_id": "9a81f00b2c3d4e5f9a81f00b2c3d4e5f",
        "target": "report",
        "started": timestamp(WALL - 60),
        "counts": {"RUNNING": 2, "COMPLETED": 177, "FAILED": 1, "BLOCKED": 616},
        "known": 796,
        "open": True,
        "eta_s": 41.0,
        "running": [
            {
                "task_id": "audit:0[175]",
                "task_name": "audit",
                "since": timestamp(WALL - 12),
                "done": 120,
                "total": 1000,
                "unit": "rows",
                "message": HOSTILE,
            }
        ],
        "waiting": [
            {"why": "constraint", "topic": RATE, "type": "rate_limit", "id": "x", "n": 616},
            {"why": "resource", "name": "gpu", "n": 3},
            {"why": "retry", "n": 1, "until": timestamp(WALL + 30)},
        ],
        **more,
    }


def view_of(*rows: dict[str, Any], recent: list[dict[str, Any]] | None = None) -> View:
    """An engine online with these runs, one that is lost, one pause and one limit."""
    view = View()

    def tell(topic: str, content: dict[str, Any]) -> None:
        view.fold(topic, json.dumps(content).encode(), now=NOW, retained=True)

    tell(status_topic("press-1"), {"status": "online", "session": "s", "ts": timestamp(WALL - 120)})
    tell(status_topic("press-2"), {"status": "offline", "session": "s"})
    limit = {
        "id": "x",
        "type": "rate_limit",
        "params": {"rate": "10/m"},
        "by": "olaf",
        "expires_at": WALL + 600,
    }
    tell(RATE, limit)
    constraints = {
        "v": "1.0",
        "source": "press-1",
        "session": "s",
        "sync": "synced",
        "applied": {RATE: {"id": "x", "status": "applied"}},
        "effective": [
            {"scope": "task:resize*", "type": "rate_limit", "params": {"rate": "10/m"}, "topic": RATE}
        ],
    }
    tell(state_topic("press-1", "constraints"), constraints)
    runs = {"v": "1.0", "source": "press-1", "session": "s", "runs": list(rows), "recent": recent or []}
    tell(state_topic("press-1", "runs"), runs)
    return view


def picture_of(view: View) -> Picture:
    """The picture at a fixed time."""
    return take(view, Rates(), now=NOW, wall=WALL)


def screen(view: View, width: int = 80, height: int = 40, *, plain: bool = False) -> list[str]:
    """The lines of the screen."""
    frame = Frame(width, height, plain=plain)
    lines = draw(picture_of(view), frame, title="cascade watch mqtt://b", link="linked", lost=False)
    return [line.plain.rstrip() for line in lines]


def test_the_tasks_stand_in_the_order_of_the_graph() -> None:
    """Each with how many have ended; a cycle, which only hostile data has, leaves the order of the message."""
    totals = {
        "join": {"known": 1, "counts": {}},
        "audit": {"known": 792, "counts": {"COMPLETED": 170, "FAILED": 1}},
    }
    totals["load"] = {"known": 1, "counts": {"COMPLETED": 1}}
    view = view_of(run_row(tasks=totals))
    nodes = [{"id": name, "name": name, "kind": "task", "known": 1} for name in ("join", "audit", "load")]
    for edges, order in (
        ([[2, 1], [1, 0]], ["load", "audit", "join"]),
        ([[0, 1], [1, 0]], ["join", "audit", "load"]),
    ):
        graph = {"run_id": run_row()["run_id"], "rev": 1, "folded": False, "nodes": nodes, "edges": edges}
        body = {"v": "1.0", "source": "press-1", "session": "s", "runs": [graph]}
        view.fold(state_topic("press-1", "graph"), json.dumps(body).encode(), now=NOW)
        assert [name for name, _, _ in picture_of(view).runs[0].steps] == order
    assert picture_of(view).runs[0].steps[1] == ("audit", 171, 792)
    assert any("join 0/1  audit 171/792  load 1/1" in line for line in screen(view))


@pytest.mark.parametrize("width", [20, 40, 63, 80, 200])
@pytest.mark.parametrize("height", [6, 24, 60])
def test_no_line_is_wider_than_the_screen_and_no_screen_higher(width: int, height: int) -> None:
    """With two hundred runs, wide characters and hostile text."""
    rows = [run_row(run_id=f"run-{number}", target="報告" * 20 + HOSTILE) for number in range(200)]
    lines = screen(view_of(*rows), width, height)
    assert len(lines) <= height
    assert max(cell_len(line) for line in lines) <= width
    assert "\x1b" not in "".join(lines)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """The time left is the engine's estimate, which every screen shows."""
    rates = Rates()
    row = run_row(open=False, counts={"COMPLETED": 196}, eta_s=12.0)
    views = [view_of(row), view_of(row), view_of({**row, "counts": {"COMPLETED": 246}})]
    panels = [take(view, rates, now=NOW + 5 * step, wall=WALL).runs[0] for step, view in enumerate(views)]
    assert [(panel.rate, panel.progress.left_s) for panel in panels] == [
        (None, 12.0),
        (0.0, 12.0),
        (5.0, 12.0),
    ]


def test_a_command_that_fits_exactly_stands_in_the_line_and_is_never_cut() -> None:
    """At any width the whole command is on the screen: it is there to be copied."""
    command = "cascade clear 'task:resize*' rate_limit"
    fits = len("    616 wait: at most 10/m (task:resize*)  -> ") + len(command)
    for width in range(40, 100):
        lines = screen(view_of(run_row()), width)
        assert any(line.endswith(f"-> {command}") for line in lines) == (width >= len(command) + 9), width
        assert any(line.startswith("    616 wait") and line.endswith(command) for line in lines) == (
            width >= fits
        )


def test_an_empty_broker_says_what_to_expect() -> None:
    """An engine without a name retains nothing."""
    assert "no engines; one without a name shows within 12 s" in screen(View())


def events_only(*seqs: int) -> View:
    """A view of which only events have come, the last one 20 s before now."""
    view = View()
    for seq in seqs:
        body = {"type": "TaskStateEvent", "task_id": f"a:{seq}", "task_name": "a", "state": "COMPLETED"}
        envelope = {
            "v": "1.0",
            "run_id": "night-7",
            "source": "nats-1",
            "seq": seq,
            "token": "t",
            "body": body,
        }
        topic = "cascade/telemetry/local/default/night-7/events"
        view.fold(topic, json.dumps(envelope).encode(), now=NOW - 20)
    return view


def test_an_engine_of_which_only_events_come_is_neither_online_nor_lost() -> None:
    """Its run is not lost either: it is not known, and a watch for the end of the run goes on."""
    view, until = events_only(0, 1), Until("night-7")
    lines = screen(view)
    assert any(re.fullmatch(r"  nats-1 +unknown +20s ago +only events", line) for line in lines), lines
    assert "    its last event came 20s ago: not known whether it still runs" in lines
    assert not any("lost" in line.lower() for line in lines)
    assert [until.end(view, NOW + seconds) for seconds in (0, SURE_SECONDS, 9_000)] == [None] * 3
    changes = [in_words(kind, row) for kind, row in Changes().since_last(view, NOW)]
    assert changes == [
        "engine nats-1: unknown, neither its birth nor a new report has arrived",
        "run night-7  on nats-1: Running, 2 completed, 2+ known",
    ]


def test_counts_of_a_run_name_the_events_that_did_not_arrive() -> None:
    """A watch that begins late sees a part of the run, and no report that makes up for it: it has no bar and no share."""
    view = events_only(7, 9)
    lines = screen(view)
    assert "    2 ended of those seen here; 8 events did not arrive" in lines
    assert not any("%" in line for line in lines)
    (_, (kind, row)) = Changes().since_last(view, NOW)
    assert row["missing"] == 8
    assert in_words(kind, row).endswith("Running, 2 completed, of the events that arrived; 8 did not")


@pytest.mark.parametrize("height", [6, 24])
def test_what_is_not_known_of_an_engine_stands_below_the_head(height: int) -> None:
    """In whole sentences if there is room, and never on more than a third of the screen."""
    text = only_events.in_words(["nats-1"], over_nats=False)
    frame = Frame(60, height)
    lines = draw(picture_of(View()), frame, title="t", link="linked", lost=False, note=text)
    assert all(cell_len(line.plain) <= 60 for line in lines)
    noted = [line.plain for line in lines if str(line.style) == "yellow"]
    assert len(noted) <= height // 3
    assert (" ".join(noted) == text) == (height == 24)


class Shown:
    """Stands for the live screen: it keeps the lines that were drawn last."""

    lines: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()

    def update(self, group: Any, *, refresh: bool) -> None:
        """Take a drawing."""
        assert refresh
        self.lines = tuple(line.plain.rstrip() for line in group.renderables)
        self.styles = tuple(str(line.spans[-1].style) if line.spans else "" for line in group.renderables)


def test_without_a_link_the_screen_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages, durations and time left are those of the loss, which the head names; with the link they go on."""
    passed = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: NOW + passed)
    monkeypatch.setattr(time, "time", lambda: WALL + passed)
    live = Shown()
    feed: Any = SimpleNamespace(
        notice="", waits="", view=view_of(run_row()), lost_since=None, without_state=lambda now: []
    )
    shown = Screen(live, Console(file=io.StringIO(), width=100, height=40), "cascade watch mqtt://b")

    def at(seconds: float) -> tuple[str, ...]:
        nonlocal passed
        passed = seconds
        shown.update(feed)
        return live.lines

    head, *linked = at(0.0)
    assert head == "cascade watch mqtt://b  linked"
    assert any("online        2m   1 run" in line for line in linked)
    feed.lost_since = NOW + 60.0
    (head, *then), (later, *still) = at(60.0), at(4_000.0)
    assert head == "cascade watch mqtt://b  link lost 0s ago, connecting again; what you see is from then"
    assert later == "cascade watch mqtt://b  link lost 65m ago, connecting again; what you see is from then"
    assert any("online        3m   1 run" in line for line in then)
    assert any("9m left" in line for line in then)
    assert still == then
    assert {style for line, style in zip(live.lines[1:], live.styles[1:], strict=True) if line} == {"dim"}
    feed.lost_since = None
    _, *again = at(4_000.0)
    assert any("online       68m   1 run" in line for line in again)
    assert any("expired" in line for line in again)
    assert "dim" not in live.styles[3]


def test_a_lost_engine_runs_nothing_in_a_line_either() -> None:
    """Its last reports listed a run and a pause in force; the run is lost now, and nothing obeys the pause."""
    view = view_of(run_row())
    pause = {"scope": "global", "type": "pause", "topic": constraint_topic("global", "pause")}
    report = {"v": "1.0", "source": "press-1", "session": "s", "sync": "synced", "effective": [pause]}
    view.fold(state_topic("press-1", "constraints"), json.dumps(report).encode(), now=NOW, retained=True)
    first = [in_words(kind, row) for kind, row in Changes().since_last(view, NOW) if kind == "engine"]
    assert first == ["engine press-1: online, paused, 1 run", "engine press-2: lost"]
    view.fold(status_topic("press-1"), b'{"status": "offline", "session": "s"}', now=NOW)
    after = [in_words(kind, row) for kind, row in Changes().since_last(view, NOW) if kind == "engine"]
    assert after == ["engine press-1: lost", "engine press-2: lost"]
