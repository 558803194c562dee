"""The lines of the live screen, for any width: text and styles, without a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from cascade.cli._watching.picture import (
    ConstraintLine,
    EndedLine,
    EngineLine,
    OfferLine,
    Picture,
    RunningLine,
    RunPanel,
    WaitingLine,
)
from cascade.cli.durations import show_duration
from cascade.interfaces.text import printable
from cascade.wire import shortened
from cascade.wire.progress import ACTIVE, PAUSED, UNKNOWN, Progress, label

NARROW = 64
"""Columns below which a line holds less, and a command stands on a line of its own."""
# Named colours, which a light and a dark terminal both show legibly; every state is also written as a word.
STYLES = {
    "online": "green",
    "Running": "green",
    "Paused": "magenta",
    "Succeeded": "green",
    "unknown": "yellow",
    "lost": "bold red",
    "Lost": "bold red",
    "Failed": "bold red",
    "ended": "dim",
    "Ended": "dim",
    "Cancelled": "magenta",
}
_SHORTEST_BAR = 4
_ERROR_LINES = 2
_ARROW = "  -> "


@dataclass(frozen=True, slots=True)
class Frame:
    """The space for a drawing."""

    width: int
    height: int
    plain: bool = False
    """Whether the terminal shows ASCII only."""

    @property
    def narrow(self) -> bool:
        """Whether lines have to be short."""
        return self.width < NARROW


def draw(picture: Picture, frame: Frame, *, title: str, link: str, lost: bool, note: str = "") -> list[Text]:
    """Return the lines of a screen, none wider or more than the frame has; what a lost link has left is dim.

    :param note: what the watcher has to know before anything else; empty if there is nothing.
    """
    lines = [*_head(frame, title, link, "bold red" if lost else "dim"), *_note(note, frame)]
    sections = _sections(picture, frame, frame.height - len(lines))
    for line in sections if lost else ():
        line.stylize("dim")
    lines += sections
    for line in lines:
        line.truncate(frame.width, overflow="ellipsis")
    return lines[: frame.height]


def _head(frame: Frame, title: str, link: str, style: str) -> Iterator[Text]:
    if len(title) + len(link) + 2 <= frame.width:
        yield Text.assemble((title, "bold"), "  ", (link, style))
    else:
        yield Text(title, "bold")
        yield Text(link, style)


def _note(note: str, frame: Frame) -> Iterator[Text]:
    """Yield a note in at most a third of the lines."""
    if not note:
        return
    most = max(1, frame.height // 3)
    for part in textwrap.wrap(printable(note), frame.width, max_lines=most, placeholder=" …"):
        yield Text(part, "yellow", no_wrap=True)


def _sections(picture: Picture, frame: Frame, room: int) -> list[Text]:
    """Return all sections; the runs get the lines that the other sections leave."""
    if not (picture.engines or picture.runs or picture.constraints or picture.ended):
        return [Text(""), _text("no engines; one without a name shows within 12 s", "dim")]
    all_of_it = _with_parts(picture, frame, part=room, runs=room)
    if len(all_of_it) <= room:
        return all_of_it
    part = max(4, room // 5)
    others = _with_parts(picture, frame, part=part, runs=0)
    return _with_parts(picture, frame, part=part, runs=max(8, room - len(others)))


def _with_parts(picture: Picture, frame: Frame, *, part: int, runs: int) -> list[Text]:
    """Return the sections with so many lines for the runs, and for each other section."""
    ids = shortened([*(each.run_id for each in picture.runs), *(each.run_id for each in picture.ended)])
    return [
        *_section("ENGINES", [[_engine(each, frame)] for each in picture.engines], part),
        *(_section("RUNS", [list(_run(each, frame, ids)) for each in picture.runs], runs) if runs else ()),
        *_section("CONSTRAINTS", [list(_constraint(each, frame)) for each in picture.constraints], part),
        *_section("WORKFLOWS", [[_offer(each, frame)] for each in picture.workflows], part),
        *_section("ENDED", [list(_ended(each, frame, ids)) for each in picture.ended], part),
    ]


def _section(name: str, items: Sequence[Sequence[Text]], room: int) -> list[Text]:
    """Return a heading and the items that fit into so many lines."""
    if not items:
        return []
    lines = [Text(""), Text.assemble((name, "bold"), (f"  {len(items)}", "dim"))]
    for index, item in enumerate(items):
        more = index < len(items) - 1
        if len(lines) + len(item) + more > room and index:
            return [*lines, _text(f"  and {len(items) - index} more", "dim")]
        lines += item
    return lines


def _engine(engine: EngineLine, frame: Frame) -> Text:
    width = 16 if frame.narrow else 28
    runs = f"{engine.runs} run{'s' if engine.runs != 1 else ''}" if engine.runs else ""
    line = Text.assemble(
        "  ", _cell(engine.source, width), " ", _cell(engine.status, 7, STYLES[engine.status])
    )
    parts = [engine.age] if frame.narrow else [f"{engine.age:>8}", f"{runs:>7}"]
    line.append("".join(f" {part}" for part in parts))
    if engine.notes:
        line.append(f"  {printable(engine.notes)}", "magenta")
    return line


def _run(run: RunPanel, frame: Frame, ids: Mapping[str, str]) -> Iterator[Text]:
    head, progress = _run_head(run, ids[run.run_id]), run.progress
    if progress.status not in ACTIVE:
        at = f"  {progress.status} at {progress.finished:,}/{progress.known:,}"
        head.append(at, STYLES.get(progress.status, ""))
        yield head
        yield from _counted(progress)
        yield from _broke(run.interrupted, frame)
        return
    yield head
    if run.missing is None:
        yield _progress(run, frame)
    else:
        seen = f"{progress.finished:,} ended of those seen here"
        yield _text(f"    {seen}; {run.missing:,} events did not arrive")
    if run.doubt:
        yield _text(f"    {run.doubt}", "yellow")
    if run.dropped:
        yield _text(f"    {run.dropped:,} events were dropped by the engine", "yellow")
    yield from _counted(progress)
    if len(run.steps) > 1 and not frame.narrow:
        yield _steps(run)
    shown = run.running[: 2 if frame.height < 30 else 5]
    for task in shown:
        yield _task(task, frame)
    if more := len(run.running) - len(shown) + run.running_more:
        yield _text(f"    and {more:,} more that run", "dim")
    for reason in run.waiting[:4]:
        yield from _reason(reason, frame)
    for name, error in run.failures[:3]:
        yield from _failure(name, error, frame)


def _run_head(run: RunPanel, id_: str) -> Text:
    head = Text.assemble("  ", (printable(run.title), "bold"), f" {printable(id_)}")
    head.append(f" on {printable(run.source)}", "dim")
    if run.progress.status in (PAUSED, UNKNOWN):
        head.append(f"  {run.progress.status}", STYLES[run.progress.status])
        head.append(_by(run.by), "dim")
    return head


def _steps(run: RunPanel) -> Text:
    names = [f"{name} {ended:,}/{known:,}" for name, ended, known in run.steps]
    names += [f"and {run.names_more:,} more names"] if run.names_more else []
    return _text(f"    {'  '.join(names)}", "dim")


def _failure(name: str, error: str, frame: Frame) -> Iterator[Text]:
    first, *rest = _wrapped(f"failed {name}: {error}", frame)
    yield Text.assemble(("    failed", "bold red"), first.removeprefix("failed"))
    yield from (_text(f"      {part}") for part in rest)


def _counted(progress: Progress) -> Iterator[Text]:
    """Yield the numbers of tasks by state; how many have completed, the line of the bar of an active run says."""
    left_out = "completed" if progress.status in ACTIVE else ""
    shown = [f"{count:,} {label(word)}" for word, count in progress.tasks.items() if word != left_out]
    if shown:
        yield _text(f"    {', '.join(shown)}")


def _broke(interrupted: Sequence[str], frame: Frame) -> Iterator[Text]:
    """Yield what ran when the link of a lost run broke."""
    if interrupted:
        for part in _wrapped(f"ran when the link broke: {_some(interrupted)}", frame):
            yield _text(f"    {part}", "yellow")


def _by(author: str) -> str:
    return f"  by {printable(author)}" if author else ""


def _progress(run: RunPanel, frame: Frame) -> Text:
    progress = run.progress
    parts = [f"{progress.finished:,}/{progress.known:,}{'+' if progress.open else ''}"]
    if progress.percent is not None:
        parts.append(f"{progress.percent}%")
    if run.rate:
        parts.append(f"{run.rate:.1f}/s" if run.rate < 10 else f"{run.rate:,.0f}/s")
    if progress.left_s is not None:
        parts.append(f"{show_duration(max(progress.left_s, 1.0))} left")
    text = "  ".join(parts)
    width = max(_SHORTEST_BAR, min(10 if frame.narrow else 24, frame.width - len(text) - 5))
    return Text.assemble("    ", (_bar((progress.percent or 0) / 100, width, frame), "green"), f" {text}")


def _task(task: RunningLine, frame: Frame) -> Text:
    line = Text.assemble("    ", _cell(task.name, 18 if frame.narrow else 30), f" {task.age:>5}")
    if task.total:
        share = min(1.0, max(0.0, (task.done or 0.0) / task.total))
        line.append(f"  {_bar(share, 6 if frame.narrow else 12, frame)}", "green")
        line.append(f" {task.done or 0:g}/{task.total:g}")
    elif task.done:
        line.append(f"  {task.done:g}")
    if task.note:
        line.append(f"  {printable(task.note)}", "dim")
    return line


def _reason(reason: WaitingLine, frame: Frame) -> Iterator[Text]:
    line = Text.assemble((f"    {reason.n:,} wait: ", "magenta"), printable(reason.why))
    command = printable(reason.command)
    if command and not frame.narrow and line.cell_len + len(_ARROW) + len(command) <= frame.width:
        line.append(_ARROW, "dim")
        line.append(command, "bold")
        command = ""
    yield line
    for index, part in enumerate(textwrap.wrap(command, max(10, frame.width - 9))):
        yield Text.assemble(("      -> " if index == 0 else "         ", "dim"), (part, "bold"))


def _constraint(constraint: ConstraintLine, frame: Frame) -> Iterator[Text]:
    line = Text.assemble(
        "  ", _cell(constraint.scope, 16 if frame.narrow else 24), f" {printable(constraint.what)}"
    )
    notes = [f"by {printable(constraint.by)}"] if constraint.by else []
    notes += [constraint.expires] if constraint.expires else []
    rest = "".join(f"  {note}" for note in notes)
    if line.cell_len + len(rest) <= frame.width or not frame.narrow:
        line.append(rest, "dim")
        rest = ""
    if not frame.narrow and constraint.obeyed and constraint.on_broker:
        names = constraint.obeyed
        line.append(
            f"  obeyed by {printable(names[0]) if len(names) == 1 else f'{len(names)} engines'}", "dim"
        )
    yield line
    if rest:
        yield _text(f"  {rest}", "dim")
    for text in constraint.gates[:2]:
        yield from (_text(f"    {part}", "yellow") for part in _wrapped(text, frame))
    if not constraint.on_broker:
        yield _text(f"    not on the broker, still obeyed by {_some(constraint.obeyed)}", "bold red")
    if constraint.refused:
        yield _text(f"    refused by {_some(constraint.refused)}", "bold red")


def _offer(offer: OfferLine, frame: Frame) -> Text:
    line = Text.assemble(
        "  ", _cell(offer.name, 16 if frame.narrow else 24), f" on {printable(offer.source)}"
    )
    if not offer.accepting:
        line.append("  not accepting", "yellow")
    if offer.next:
        line.append(f"  next in {offer.next}")
    if offer.last:
        line.append(f"  {printable(offer.last)}", STYLES.get(offer.last, ""))
        line.append(f" {offer.ago} ago" if offer.ago else "", "dim")
    return line


def _ended(run: EndedLine, frame: Frame, ids: Mapping[str, str]) -> Iterator[Text]:
    progress = run.progress
    line = Text.assemble(
        "  ",
        _cell(progress.status, 9, STYLES.get(progress.status, "")),
        f" {printable(run.title)} {printable(ids[run.run_id])}",
    )
    if not frame.narrow:
        line.append(f" on {printable(run.source)}", "dim")
    line.append(f"  {progress.finished:,}/{progress.known:,}" if progress.known else "")
    if run.took and not frame.narrow:
        line.append(f"  took {run.took}", "dim")
    if run.ago:
        line.append(f"  {run.ago} ago", "dim")
    line.append(_by(run.by), "dim")
    yield line
    if progress.finished < progress.known or "failed" in progress.tasks:
        yield from _counted(progress)
    for part in _wrapped(run.error, frame) if run.error else ():
        yield _text(f"    {part}", "red")
    yield from _broke(run.interrupted, frame)


def _wrapped(text: str, frame: Frame) -> list[str]:
    """Return a text in at most so many lines as an error gets, for an indentation of up to six columns."""
    return textwrap.wrap(
        printable(text), max(10, frame.width - 6), max_lines=_ERROR_LINES, placeholder=" …"
    ) or [""]


def _bar(share: float, width: int, frame: Frame) -> str:
    full, empty = ("#", "-") if frame.plain else ("█", "░")
    filled = int(share * width)
    return full * filled + empty * (width - filled)


def _cell(text: str, width: int, style: str = "") -> Text:
    """Return a text that is exactly so many columns wide."""
    cell = _text(text, style)
    cell.truncate(width, overflow="ellipsis", pad=True)
    return cell


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return printable(", ".join(names[:3]) + more)
