"""The live screen of ``cascade watch``, line by line, from a picture that the test makes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cli_modules import (
    ConstraintLine,
    EndedLine,
    EngineLine,
    Frame,
    OfferLine,
    Picture,
    RunningLine,
    RunPanel,
    WaitingLine,
    draw,
)
from rich.text import Text

from cascade.wire import progress_of

NIGHTLY = RunPanel(
    "9a81f00b2c3d4e5f",
    title="nightly",
    source="press-1",
    progress=progress_of(
        {"COMPLETED": 1_246, "RUNNING": 2, "BLOCKED": 1_248, "FAILED": 1, "SKIPPED": 2, "CANCELLED": 1},
        known=2_500,
        left_s=104.0,
    ),
    rate=12.0,
    steps=(("load", 1, 1), ("audit", 1_249, 2_499)),
    running=(
        RunningLine("audit:7", age="12s", done=120.0, total=1000.0, note="rows"),
        RunningLine("audit:8", age="9s", done=7.0, total=None, note=""),
        RunningLine("audit:9", age="3s", done=None, total=None, note="paused"),
        RunningLine("audit:10", age="1s", done=None, total=4.0, note=""),
    ),
    waiting=(
        WaitingLine(1_240, "at most 10/m (task:audit)", "cascade clear task:audit rate_limit"),
        WaitingLine(8, "resource gpu is taken", ""),
    ),
    failures=(("audit:3", "ValueError: no such file"),),
)
BARE = replace(
    NIGHTLY,
    run_id="77fe00aa11bb22cc33",
    title="(unnamed)",
    progress=progress_of({"COMPLETED": 1_250}, known=2_500, open=True, left_s=104.0),
    rate=2.26,
    steps=(("load", 1, 1),),
    running=(),
    waiting=(),
    failures=(),
)
LOST = replace(
    BARE,
    run_id="lost-1",
    title="weekly",
    progress=progress_of({"COMPLETED": 1_250, "RUNNING": 4}, status="Lost", known=2_500),
    source="press-2",
    interrupted=("audit:7", "audit:8", "audit:9", "audit:10"),
)


NEVER = replace(LOST, progress=progress_of({}, status="Lost"), interrupted=())


def ended(
    run_id: str,
    title: str,
    status: str,
    *,
    known: int = 0,
    took: str = "",
    ago: str = "",
    error: str = "",
    by: str = "",
    interrupted: tuple[str, ...] = (),
    **counts: int,
) -> EndedLine:
    """A run that is over."""
    progress = progress_of(counts, status=status, known=known)
    return EndedLine(run_id, title, "press-2", progress, took, ago, error, by, interrupted)


EVERYTHING = Picture(
    engines=(
        EngineLine("press-1", "online", "2m", 2, "paused, syncing"),
        EngineLine("press-2", "lost", "31s ago", 0, ""),
        EngineLine("oven-1", "ended", "", 0, ""),
    ),
    runs=(NIGHTLY, BARE, LOST),
    ended=(
        ended(
            "77fe", "old", "Failed", COMPLETED=1_200, FAILED=1, known=2_500, ago="5s", error="ValueError: x"
        ),
        ended("77fd", "oldest", "Cancelled", by="ada", took="3m"),
        ended("77ff", "older", "Succeeded", COMPLETED=4),
        ended("77fc", "odd", "Lost", COMPLETED=4, RUNNING=1, interrupted=("audit:7",), took="8s"),
    ),
    constraints=(
        ConstraintLine("task:audit", "at most 10/m", "olaf", "10m left", ("press-1",), ()),
        ConstraintLine("global", "pause", "", "", ("press-1", "press-2"), ("oven-1 (too old)",)),
        ConstraintLine("run:7", "cancel", "", "", (), ("a (x)", "b (x)", "c (x)", "d (x)", "e (x)")),
    ),
)


def drawn(picture: Picture, frame: Frame, *, note: str = "") -> list[str]:
    """The lines of a screen."""
    lines = draw(picture, frame, title="cascade watch mqtt://b", link="linked", lost=False, note=note)
    return [line.plain.rstrip() for line in lines]


WIDE = """\
cascade watch mqtt://b  linked

ENGINES  3
  press-1                      online        2m  2 runs  paused, syncing
  press-2                      lost     31s ago
  oven-1                       ended

RUNS  3
  nightly 9a81f00b2c3d4e5f on press-1
    ████████████░░░░░░░░░░░░ 1,250/2,500  50%  12/s  104s left
    2 running, 1,248 waiting, 1 failed, 2 skipped, 1 cancelled
    load 1/1  audit 1,249/2,499
    audit:7                          12s  █░░░░░░░░░░░ 120/1000  rows
    audit:8                           9s  7
    audit:9                           3s  paused
    audit:10                          1s  ░░░░░░░░░░░░ 0/4
    1,240 wait: at most 10/m (task:audit)  -> cascade clear task:audit rate_limit
    8 wait: resource gpu is taken
    failed audit:3: ValueError: no such file
  (unnamed) 77fe00aa on press-1
    ░░░░░░░░░░░░░░░░░░░░░░░░ 1,250/2,500+  2.3/s
  weekly lost-1 on press-2  Lost at 1,250/2,500
    1,250 completed, 4 running
    ran when the link broke: audit:7, audit:8, audit:9 and 1 more

CONSTRAINTS  3
  task:audit               at most 10/m  by olaf  10m left  obeyed by press-1
  global                   pause  obeyed by 2 engines
    refused by oven-1 (too old)
  run:7                    cancel
    refused by a (x), b (x), c (x) and 2 more

ENDED  4
  Failed    old 77fe on press-2  1,201/2,500  5s ago
    1,200 completed, 1 failed
    ValueError: x
  Cancelled oldest 77fd on press-2  took 3m  by ada
  Succeeded older 77ff on press-2  4/4
  Lost      odd 77fc on press-2  4/5  took 8s
    4 completed, 1 running
    ran when the link broke: audit:7
"""
NARROW = """\
cascade watch mqtt://b  linked

ENGINES  3
  press-1          online  2m  paused, …
  press-2          lost    31s ago
  oven-1           ended

RUNS  3
  nightly 9a81f00b2c3d4e5f on press-1
    ##-- 1,250/2,500  50%  12/s  104s l…
    2 running, 1,248 waiting, 1 failed,…
    audit:7              12s  ------ 12…
    audit:8               9s  7
    audit:9               3s  paused
    audit:10              1s  ------ 0/4
    1,240 wait: at most 10/m (task:audi…
      -> cascade clear task:audit
         rate_limit
    8 wait: resource gpu is taken
    failed audit:3: ValueError: no
      such file
  (unnamed) 77fe00aa on press-1
    ---------- 1,250/2,500+  2.3/s
  weekly lost-1 on press-2  Lost at 1,2…
    1,250 completed, 4 running
    ran when the link broke: audit:7,
    audit:8, audit:9 and 1 more

CONSTRAINTS  3
  task:audit       at most 10/m
    by olaf  10m left
  global           pause
    refused by oven-1 (too old)
  run:7            cancel
    refused by a (x), b (x), c (x) and …

ENDED  4
  Failed    old 77fe  1,201/2,500  5s a…
    1,200 completed, 1 failed
    ValueError: x
  Cancelled oldest 77fd  by ada
  Succeeded older 77ff  4/4
  Lost      odd 77fc  4/5
    4 completed, 1 running
    ran when the link broke: audit:7
"""


@pytest.mark.parametrize(
    ("frame", "expected"),
    [(Frame(100, 60), WIDE), (Frame(40, 60, plain=True), NARROW)],
    ids=["wide", "narrow"],
)
def test_a_screen_with_something_of_everything_is_drawn_line_by_line(frame: Frame, expected: str) -> None:
    """At 100 columns, and at 40 in ASCII, where runs, authors and steps leave the lines or get lines of their own."""
    assert drawn(EVERYTHING, frame) == expected.splitlines()


def test_a_low_screen_lists_the_first_two_running_tasks() -> None:
    """So that several runs fit; the reasons to wait and the failures stay."""
    lines = drawn(replace(EVERYTHING, runs=(NIGHTLY,)), Frame(100, 29))
    assert not any("audit:9" in line for line in lines)
    assert "    audit:8                           9s  7" in lines
    assert "    8 wait: resource gpu is taken" in lines


def test_a_long_title_and_a_lost_link_stand_on_two_lines() -> None:
    """The head has no part of the sections' lines then; with room for exactly both it is one line."""
    title, link = "cascade watch mqtt://broker", "linked"
    for width, head in ((35, [f"{title}  {link}"]), (34, [title, link])):
        lines = draw(EVERYTHING, Frame(width, 60), title=title, link=link, lost=False)
        assert [line.plain for line in lines[: len(head) + 1]] == [*head, ""]


def pieces(lines: list[Text]) -> dict[str, str]:
    """The style of each part of the lines that has one."""
    found = {}
    for line in lines:
        if line.style:
            found[line.plain.strip()] = str(line.style)
        found |= {line.plain[span.start : span.end].strip(): str(span.style) for span in line.spans}
    return found


def test_what_needs_attention_has_a_colour() -> None:
    """Red for what is lost, failed or refused, magenta for what waits, green for what runs, dim for what is over."""
    lines = draw(EVERYTHING, Frame(100, 60), title="the title", link="linked", lost=False, note="only events")
    styles = pieces(lines)
    expected = {
        "the title": "bold",
        "linked": "dim",
        "only events": "yellow",
        "ENGINES": "bold",
        "online": "green",
        "lost": "bold red",
        "ended": "dim",
        "paused, syncing": "magenta",
        "nightly": "bold",
        "on press-1": "dim",
        "████████████░░░░░░░░░░░░": "green",
        "load 1/1  audit 1,249/2,499": "dim",
        "█░░░░░░░░░░░": "green",
        "rows": "dim",
        "1,240 wait:": "magenta",
        "->": "dim",
        "cascade clear task:audit rate_limit": "bold",
        "failed": "bold red",
        "Lost at 1,250/2,500": "bold red",
        "by olaf  10m left": "dim",
        "obeyed by press-1": "dim",
        "refused by oven-1 (too old)": "bold red",
        "Failed": "bold red",
        "Succeeded": "green",
        "Cancelled": "magenta",
        "ValueError: x": "red",
    }
    assert {text: styles.get(text) for text in expected} == expected
    lost = draw(EVERYTHING, Frame(100, 60), title="the title", link="link lost", lost=True)
    assert pieces(lost[:1])["link lost"] == "bold red"
    assert all("dim" in pieces([line]).values() for line in lost[1:] if line.plain.strip())


@pytest.mark.parametrize("height", [24, 30, 40, 60, 100])
def test_sections_that_do_not_fit_say_how_many_more_there_are(height: int) -> None:
    """The runs get the lines that the others leave, so that the screen is full; all sections are on it."""
    picture = Picture(
        engines=tuple(EngineLine(f"engine-{number}", "online", "", 0, "") for number in range(40)),
        runs=tuple(replace(NEVER, title=f"run-{number}") for number in range(150)),
        ended=tuple(ended(f"{number}", "old", "Failed") for number in range(40)),
        constraints=tuple(ConstraintLine(f"c-{number}", "pause", "", "", (), ()) for number in range(40)),
    )
    lines = drawn(picture, Frame(100, height))
    assert len(lines) == height
    sections: dict[str, list[str]] = {}
    for line in filter(None, lines[1:]):
        if not line.startswith(" "):
            name, total = line.split()
            items = sections.setdefault(f"{name} {total}", [])
        else:
            items.append(line)
    assert list(sections) == ["ENGINES 40", "RUNS 150", "CONSTRAINTS 40", "ENDED 40"]
    for head, items in sections.items():
        *shown, more = items
        assert more == f"  and {int(head.split()[1]) - len(shown)} more"
        assert shown
    assert sections["ENGINES 40"][0].split()[0] == "engine-0"
    assert len(sections["RUNS 150"]) >= len(sections["ENGINES 40"])


@pytest.mark.parametrize("width", [60, 100])
def test_workflows_stand_before_the_runs_that_have_ended(width: int) -> None:
    """What takes no request is marked; a name has a column of its own."""
    offers = (
        OfferLine("audit", "oven", accepting=True, next="3h", last="Succeeded", ago="5m"),
        OfferLine("wash\x1b", "dead", accepting=False, next="", last="Failed", ago=""),
    )
    picture = Picture(EVERYTHING.engines, (), EVERYTHING.ended, (), offers)
    lines = drawn(picture, Frame(width, 40))
    at = lines.index("WORKFLOWS  2")
    pad = " " * ((16 if width < 64 else 24) - 5)
    assert lines[at + 1 : at + 3] == [
        f"  audit{pad} on oven  next in 3h  Succeeded 5m ago",
        f"  wash\\u001b{pad[:-5]} on dead  not accepting  Failed",
    ]
    assert lines[at + 4] == "ENDED  4"


def test_a_section_whose_last_item_fits_exactly_names_no_rest() -> None:
    """A line that says that one more follows would need as much room as that one."""
    engines = tuple(EngineLine(f"engine-{number}", "online", "", 0, "") for number in range(20))
    picture = Picture(engines, (), (), ())
    assert drawn(picture, Frame(100, 23))[-1].startswith("  engine-19")
    cut = drawn(picture, Frame(100, 22))
    assert cut[-1].startswith("  and ")
