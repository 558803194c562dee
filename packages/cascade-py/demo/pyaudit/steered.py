"""The second demo: the same audit, slowed, paused and let go by a second process."""

from __future__ import annotations

import argparse
import logging
import secrets
from collections.abc import Sequence
from functools import partial

from cascade.connectors.mqtt import MqttConnector

from .command import Cast, demo_parser, perform
from .live import Live
from .spectator import Spectator

SLOWED = 10.0
"""Seconds that the whole audit would take at the limited rate."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = demo_parser(
        "Audit Python files with Cascade while a second process slows, pauses and resumes the run over MQTT.",
        top=3,
    )
    parser.add_argument(
        "--pause",
        type=_seconds,
        default=3.0,
        metavar="SECONDS",
        help="time in which nothing may start (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    return perform(given, partial(steered, pause=given.pause), speaker="steer")


def steered(url: str, live: Live, *, pause: float) -> Cast:
    """Let a second process steer an engine that has a name."""
    logging.getLogger("cascade").addHandler(_Log(live))
    source = f"demo-line-{secrets.token_hex(2)}"  # its own, so that nobody else on this broker is steered
    options = {
        "--rate": f"{max(1, round(live.files / SLOWED))}/s",
        "--pause-at": str(max(1, live.files // 4)),
        "--pause": str(pause),
        "--free-at": str(max(1, live.files // 2)),
    }
    arguments = (word for option in options.items() for word in option)
    second = Spectator("controller.py", url, source, *arguments, "--forget", show=live.say)
    return Cast(MqttConnector.from_url(url, source_id=source), second)


class _Log(logging.Handler):
    """Shows the engine's own warnings among the lines of the second process."""

    def __init__(self, live: Live) -> None:
        super().__init__(logging.WARNING)
        self._live = live

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        self._live.say(f"the engine's log: {record.getMessage()}")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds; give 0 to 3600")
    return seconds
