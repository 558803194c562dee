"""The command: which rows to measure, the table line by line, and the samples in a file."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from figures import against, versions
from figures.measure import Settings
from figures.table import Row, header, line_of, summary

GROUPS = (
    "startup",
    "engine",
    "event",
    "publish",
    "receive",
    "stall",
    "maps",
    "telemetry",
    "control",
    "gates",
    "fleet",
    "serving",
    "ticking",
    "history",
    "executors",
    "otel",
    "journal",
    "recorded",
    "outbox",
    "faults",
    "distance",
)
PEERS = "peers"
_EPILOG = f"""\
--against: each round measures a group three times, in an order that changes: on this checkout, on that one, and
on this one again. Each run is a process of its own with that checkout's sources (PYTHONPATH). "ratio" is the
median over the rounds of this version's cost divided by that one's. "A/A spread" is the range of block medians
of this version beside itself. A row is WORSE if its ratio is above {versions.WORSE}x and outside that spread;
the exit code is then 1. Groups without --rows: {", ".join(against.SHORT)}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 0 even if a figure misses its target, but 1 if a compared row is worse."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.against is not None:
        _check_comparison(parser, options)
        return _compare(options)
    if options.python is not None:
        parser.error("--python is the interpreter for the checkout that --against names; give both")
    settings = Settings(options.rounds, quick=options.quick, peers=options.peers)
    chosen = options.rows or [*GROUPS, *([PEERS] if options.peers else [])]
    print(_surroundings(), flush=True)
    measured = list(_measure(chosen, settings))
    print(f"\n{summary(row for _, row in measured)}; load now {_load()}")
    if options.json:
        _write(options.json, [{"group": group, **row.as_dict()} for group, row in measured])
    return 0


def _check_comparison(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not list(options.against.glob("packages/*/src")):
        parser.error(f"--against {options.against}: not a checkout of Cascade (it has no packages/*/src)")
    if options.peers:
        parser.error("--against compares two versions of Cascade; leave out --peers")
    for group in options.rows or ():
        if group in against.EXCLUDED:
            parser.error(f"--against cannot compare {group!r}: {against.EXCLUDED[group]}")


def _compare(options: argparse.Namespace) -> int:
    """Compare this checkout with another one; return 1 if any row is worse, otherwise 0."""
    this = against.Checkout(against.THIS)
    that = against.Checkout(options.against, str(options.python or this.python))
    rounds = options.rounds or (2 if options.quick else against.ROUNDS)
    print(f"{_surroundings()}\nthis: {this.folder}\nthat: {that.folder}; {rounds} rounds", flush=True)
    compared: list[tuple[str, versions.Comparison]] = []
    for group in options.rows or against.SHORT:
        print(f"\n{group}\n{versions.header()}", flush=True)
        for row in against.compare(group, this, that, rounds, quick=options.quick):
            print(versions.line_of(row), flush=True)
            compared.append((group, row))
    print(f"\n{versions.summary([row for _, row in compared])}; load now {_load()}")
    if options.json:
        _write(options.json, [{"group": group, **row.as_dict()} for group, row in compared])
    return int(any(row.verdict is versions.Verdict.WORSE for _, row in compared))


def _measure(groups: Sequence[str], settings: Settings) -> Iterator[tuple[str, Row]]:
    for name in groups:
        group = importlib.import_module(f"figures.{name}")
        print(f"\n{name}: {group.TITLE}\n{header()}", flush=True)
        for row in group.rows(settings):
            shown = replace(row, target=None) if settings.quick else row  # too small to be judged
            print(line_of(shown), flush=True)
            yield name, shown


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description="Print what Cascade costs beside what it is compared with, as ratios within this run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=_groups, metavar="GROUP,...", help=f"of {', '.join(GROUPS)}, {PEERS}")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds of every row (--against: 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to a file")
    parser.add_argument("--peers", action="store_true", help="measure other libraries, too")
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="compare this version with another checkout"
    )
    parser.add_argument(
        "--python", type=Path, metavar="PYTHON", help="interpreter for that checkout (default: this one)"
    )
    parser.add_argument("--quick", action="store_true", help="one round of tiny sizes: does it all run?")
    return parser


def _groups(text: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in (*GROUPS, PEERS):
            raise argparse.ArgumentTypeError(
                f"{name!r} is not a group; use one of {', '.join((*GROUPS, PEERS))}"
            )
    return chosen


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rounds; give 1 or more")
    return number


def _surroundings() -> str:
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} cores, load {_load()}; cascade {metadata.version('cascade-py')}, "
        f"aiomqtt {metadata.version('aiomqtt')}, paho-mqtt {metadata.version('paho-mqtt')}"
    )


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    document: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "where": _surroundings(),
        "rows": list(rows),
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
