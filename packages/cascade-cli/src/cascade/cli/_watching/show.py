"""The three forms of a watch: a live screen, lines for a person, and lines of JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from cascade.cli._watching.changes import MAX_SEEN, Changes
from cascade.cli._watching.changes import in_words as change_in_words
from cascade.cli._watching.feed import Feed
from cascade.cli._watching.only_events import in_words
from cascade.cli.durations import show_duration
from cascade.cli.output import Output


class Show(Protocol):
    """Shows a feed; called a few times a second."""

    def update(self, feed: Feed) -> None:
        """Show what the feed holds now."""
        ...


class Lines:
    """One line for each change: JSON, or words with the time of day."""

    def __init__(self, output: Output, *, over_nats: bool = False) -> None:
        self._output = output
        self._over_nats = over_nats
        self._changes = Changes()
        self._lost = False
        self._noticed: set[str] = set()
        # engines of which only events arrive, as a note has said
        self._named: dict[str, None] = {}

    def update(self, feed: Feed) -> None:
        """Print what has changed."""
        lost = feed.lost_since is not None
        if lost != self._lost:
            self._lost = lost
            self._line(
                "link", {"status": "lost" if lost else "linked", "reason": feed.problem if lost else ""}
            )
        if lost:
            return
        now = time.monotonic()
        for kind, notice in (("broker", feed.notice), ("run", feed.waits)):
            if notice and kind not in self._noticed:
                self._noticed.add(kind)
                self._output.note(notice)
        for kind, row in self._changes.since_last(feed.view, now, feed.gone):
            self._line(kind, row)
        self._note([source for source in feed.without_state(now) if source not in self._named])

    def _note(self, sources: list[str]) -> None:
        if sources:
            self._output.note(in_words(sources, over_nats=self._over_nats))
        self._named.update(dict.fromkeys(sources))
        while len(self._named) > MAX_SEEN:
            del self._named[next(iter(self._named))]

    def _line(self, kind: str, row: Any) -> None:
        if self._output.json:
            self._output.document({"kind": kind, **row})
        else:
            text = f"link {row['status']}" if kind == "link" else change_in_words(kind, row)
            self._output.line(f"{time.strftime('%H:%M:%S')} {text}")


def lost_in_words(seconds: float) -> str:
    """Return the head of the screen without a link, which was lost so many seconds ago."""
    return f"link lost {show_duration(seconds)} ago, connecting again; what you see is from then"


class Screen:
    """A live screen: it is drawn again where it stands."""

    def __init__(self, live: Any, console: Any, title: str, *, over_nats: bool = False) -> None:
        from cascade.cli._watching.rates import Rates

        self._live = live
        self._console = console
        self._title = title
        self._over_nats = over_nats
        self._rates = Rates()

    def update(self, feed: Feed) -> None:
        """Draw the feed."""
        from rich.console import Group

        from cascade.cli._watching.drawing import Frame, draw
        from cascade.cli._watching.picture import take

        now = time.monotonic()
        lost = feed.lost_since
        then = (
            now if lost is None else lost
        )  # without a link nothing newer is known: the picture stands still
        picture = take(feed.view, self._rates, now=then, wall=time.time() - (now - then))
        options = self._console.options
        frame = Frame(options.max_width, max(6, self._console.size.height - 1), plain=options.ascii_only)
        link = "linked" if lost is None else lost_in_words(now - lost)
        silent = feed.without_state(then)
        note = in_words(silent, over_nats=self._over_nats) if silent else feed.notice or feed.waits
        lines = draw(picture, frame, title=self._title, link=link, lost=lost is not None, note=note)
        self._live.update(Group(*lines), refresh=True)


@contextmanager
def live_screen(output: Output, title: str, *, over_nats: bool) -> Iterator[Screen]:
    """Show a live screen for as long as the context lasts; its last picture stays."""
    from rich.live import Live

    from cascade.cli._terminal import console

    screen = console(output.stream)
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop", redirect_stderr=False) as live:
        yield Screen(live, screen, title, over_nats=over_nats)
