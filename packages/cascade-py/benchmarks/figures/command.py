"""The command: which rows to measure, the table as it grows, and the samples in a file."""

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

from figures.measure import Settings
from figures.table import Row, header, line_of, summary

GROUPS = (
    "engine",
    "event",
    "publish",
    "receive",
    "stall",
    "telemetry",
    "control",
    "executors",
    "faults",
    "imports",
)
PEERS = "peers"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and return 0: a figure that misses its target is told, not punished."""
    options = _parser().parse_args(arguments)
    settings = Settings(options.rounds, quick=options.quick, peers=options.peers)
    chosen = options.rows or [*GROUPS, *([PEERS] if options.peers else [])]
    print(_surroundings(), flush=True)
    measured = list(_measure(chosen, settings))
    print(f"\n{summary(row for _, row in measured)}; load now {_load()}")
    if options.json:
        _write(options.json, measured)
    return 0


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
    )
    parser.add_argument("--rows", type=_groups, metavar="GROUP,...", help=f"of {', '.join(GROUPS)}, {PEERS}")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds of every row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to a file")
    parser.add_argument("--peers", action="store_true", help="let other libraries take part")
    parser.add_argument("--quick", action="store_true", help="one round of tiny sizes: does it all run?")
    return parser


def _groups(text: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in (*GROUPS, PEERS):
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join((*GROUPS, PEERS))}")
    return chosen


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _surroundings() -> str:
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} cores, load {_load()}; cascade {metadata.version('cascade-py')}, "
        f"aiomqtt {metadata.version('aiomqtt')}, paho-mqtt {metadata.version('paho-mqtt')}"
    )


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _write(path: Path, measured: Sequence[tuple[str, Row]]) -> None:
    document: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "where": _surroundings(),
        "rows": [{"group": group, **row.as_dict()} for group, row in measured],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
