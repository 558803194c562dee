"""What every demo does: audit a folder with Cascade beside a second process; here that one only watches."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import ConfigurationError

from .counts import EventCounts
from .live import Live
from .model import Report
from .report import show_counts, show_report, show_totals
from .second_process import SecondProcess
from .sources import InputError, find_sources
from .text import shown
from .workflow import audit_of

SUBSCRIBE_TIMEOUT = 5.0
FINISH_TIMEOUT = 10.0

BAD_INPUT = 2
INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True, slots=True)
class Partners:
    """Who takes part in a demo beside the engine."""

    connector: MqttConnector
    second: SecondProcess
    """The second process."""


ChoosePartners = Callable[[str, Live], Partners]
"""Takes the URL of the broker and the screen for the lines of the second process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = demo_parser(
        "Audit Python files with Cascade, a task for each, while a second process watches over MQTT."
    )
    return perform(parser.parse_args(arguments), watched, label="watcher")


def watched(url: str, live: Live) -> Partners:
    """Let a second process watch."""
    return Partners(MqttConnector.from_url(url), SecondProcess("watcher.py", url, show=live.print_line))


def perform(given: argparse.Namespace, choose_partners: ChoosePartners, *, label: str) -> int:
    """Run a demo with these arguments of the command line and these partners; return the exit code."""
    _prepare_process()
    # The report goes to standard output, where it can be kept; what passes to standard error.
    screen, passing = Console(highlight=False), Console(highlight=False, stderr=True)
    demo = Demo(
        screen, passing, top=given.top if given.report else None, choose_partners=choose_partners, label=label
    )
    try:
        return demo.run(given.folder, given.broker)
    except (InputError, cs.CascadeError) as refused:
        demo.print_line(f"error: {refused}")
        return BAD_INPUT
    except KeyboardInterrupt:
        demo.print_line("Interrupted; everything that was started has been ended.")
        return INTERRUPTED


class Demo:
    """One audit: its two consoles, and the steps that a person sees."""

    def __init__(
        self,
        screen: Console,
        passing: Console,
        *,
        top: int | None,
        choose_partners: ChoosePartners,
        label: str,
    ) -> None:
        self._screen = screen
        self._passing = passing
        self._top = top
        self._choose_partners = choose_partners
        self._label = label

    def run(self, folder: Path | None, broker: str | None) -> int:
        """Find, audit, show; return the exit code.

        :raises InputError: if the folder cannot be audited.
        :raises cascade.CascadeError: if the broker is named wrongly, or none is installed.
        """
        title = str(folder) if folder else f"the standard library of Python {platform.python_version()}"
        sources, unreadable = find_sources(folder or Path(sysconfig.get_path("stdlib")))
        target = audit_of(sources, unreadable, top=self._top or 1)
        live = Live(self._passing, files=len(sources), label=self._label)
        with self._broker_at(broker) as url:
            self.print_line(f"Auditing {title}: {len(sources):,} files")
            report, counts, remarks = _seen(target, live, self._choose_partners(url, live))
        if report is None:
            self.print_line(
                f"Interrupted after {live.audited:,} of {len(sources):,} files: no report was written."
            )
        else:
            self.print_line(f"Audited {live.audited:,} files in {live.seconds:.1f} s.")
            self._screen.print("", shown(f"Audit of {title}", style="bold"), "", sep="\n")
            if self._top is None:
                show_totals(self._screen, report)
            else:
                show_report(self._screen, report, top=self._top)
        show_counts(self._screen, counts, url=url)
        for remark in remarks:
            self._screen.print(shown(remark))
        if report is not None and broker is None:
            self.print_line(
                "Next: name a folder of your own, or see the events in any MQTT program: --broker mqtt://host"
            )
        return INTERRUPTED if report is None else 0

    def print_line(self, line: str) -> None:
        """Print a line that is not part of the report."""
        self._passing.print(shown(line), soft_wrap=True)

    @contextmanager
    def _broker_at(self, url: str | None) -> Iterator[str]:
        """Yield the URL of the broker that was given, or of one started for the occasion."""
        if url is not None:
            _check_url(url)
            yield without_password(url)
            return
        from cascade.testkit.brokers import start_broker

        with start_broker() as broker:
            self.print_line(f"Started a broker: {broker.name} at {broker.url}")
            yield broker.url


def without_password(url: str) -> str:
    """Return a URL that may be shown; its password goes into the environment, where each process looks for it."""
    user, colon, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    if not (user and password):
        return url
    os.environ["CASCADE_MQTT_PASSWORD"] = unquote(password)
    return url.replace(f"{user}{colon}{password}@", f"{user}@", 1)


def _check_url(url: str) -> None:
    """Refuse a bad URL before anything is started."""
    try:
        MqttConnector.from_url(url)
    except ConfigurationError as error:
        raise InputError(f"--broker: {error.problem}") from error


def _seen(
    target: cs.LazyResult[Report], live: Live, partners: Partners
) -> tuple[Report | None, EventCounts, tuple[str, ...]]:
    """Run the audit beside the second process; return the report, if it came to one, counts, and remarks."""
    with partners.second as second:
        if not second.wait_for_line(SUBSCRIBE_TIMEOUT):
            live.print_line("no answer from the broker yet; the audit begins all the same")
        report = _run(target, partners.connector, live)
        second.finish(FINISH_TIMEOUT)
    counts = EventCounts.of(live.produced, partners.connector.statistics(), second.received(live.run_id))
    return report, counts, second.remarks


def _run(target: cs.LazyResult[Report], connector: MqttConnector, live: Live) -> Report | None:
    """Run the audit and return its report, or None if it was interrupted."""
    bus = cs.EventBus()
    live.follow(bus)
    try:
        with live:
            return cs.run(target, connector=connector, bus=bus)
    except KeyboardInterrupt:
        return None


def _prepare_process() -> None:
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is escaped
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for category in (SyntaxWarning, DeprecationWarning):  # of the audited files: "\d" and its like
        warnings.simplefilter("ignore", category)
    # Whatever asks this process to end is a Ctrl-C, so that the broker and the watcher end too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: signal.raise_signal(signal.SIGINT))


def demo_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser for what every demo takes."""
    parser = argparse.ArgumentParser(prog=f"python {sys.argv[0]}", description=description)
    parser.add_argument(
        "folder", nargs="?", type=Path, help="of Python files (default: the standard library of this Python)"
    )
    parser.add_argument(
        "--broker",
        metavar="URL",
        help="mqtt://user@host:port of your own, with the password in CASCADE_MQTT_PASSWORD (default: one is started)",
    )
    parser.add_argument(
        "--report", action="store_true", help="show the whole report, and not only its totals"
    )
    parser.add_argument(
        "--top",
        type=_positive,
        default=10,
        metavar="N",
        help="rows in each table of --report (default: %(default)s)",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows; give 1 or more")
    return int(text)
