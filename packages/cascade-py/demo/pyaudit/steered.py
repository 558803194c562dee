"""The demo: a second process slows, pauses and resumes the audit."""

from __future__ import annotations

import argparse
import logging
import secrets
from collections.abc import Sequence
from functools import partial

from cascade.connectors.mqtt import MqttConnector

from .command import Partners, demo_parser, perform
from .live import Live
from .second_process import SecondProcess

SLOWED = 10.0
"""Seconds that the whole audit would take at the limited rate."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = demo_parser(
        "Audit Python files with Cascade while a second process slows, pauses and resumes the run over MQTT.",
    )
    parser.add_argument(
        "--pause",
        type=_seconds,
        default=3.0,
        metavar="SECONDS",
        help="time in which nothing may start (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    return perform(given, partial(steered, pause=given.pause), label="steer")


def steered(url: str, live: Live, *, pause: float) -> Partners:
    """Return an engine with a name and a second process that steers it."""
    logging.getLogger("cascade").addHandler(_Log(live))
    source = (
        f"demo-line-{secrets.token_hex(2)}"  # a new name, so that no other engine on this broker is steered
    )
    options = {
        "--rate": f"{max(1, round(live.files / SLOWED))}/s",
        "--pause-at": str(max(1, live.files // 4)),
        "--pause": str(pause),
        "--free-at": str(max(1, live.files // 2)),
    }
    arguments = (word for option in options.items() for word in option)
    second = SecondProcess("controller.py", url, source, *arguments, "--forget", show=live.print_line)
    return Partners(MqttConnector.from_url(url, source_id=source), second)


class _Log(logging.Handler):
    """Shows the engine's own warnings among the lines of the second process."""

    def __init__(self, live: Live) -> None:
        super().__init__(logging.WARNING)
        self._live = live

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        self._live.print_line(f"the engine's log: {record.getMessage()}")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds; give 0 to 3600")
    return seconds
