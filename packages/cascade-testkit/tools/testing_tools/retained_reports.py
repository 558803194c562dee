"""Messages that three engines have left on a broker, and a reader of the tables that commands print."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from cascade.interfaces.topics import canary_topic, constraint_topic, state_topic, status_topic

NOW = 1_800_000_000.0


PAUSE, LIMIT = constraint_topic("global", "pause"), constraint_topic("task:audit", "rate_limit")


def stamp(ago: float) -> str:
    """A time that has passed."""
    return datetime.fromtimestamp(NOW - ago, UTC).isoformat()


def report(source: str, **content: Any) -> dict[str, Any]:
    return {"v": "1.0", "source": source, "session": source, "presence": source, **content}


def plant() -> dict[str, object]:
    """An engine that runs, one that is lost, one without a birth; a pause, and a limit that has expired."""
    row = {"run_id": "r1", "target": "audit", "started": stamp(90), "counts": {"RUNNING": 2, "BLOCKED": 3}}
    over = {"run_id": "r0", "target": "old", "status": "Failed", "error": "E: x", "counts": {"FAILED": 1}}
    pause = {"scope": "global", "type": "pause", "params": {}, "topic": PAUSE, "id": "p", "by": "olaf"}
    obeys = {PAUSE: {"id": "p", "status": "applied"}}
    refuses = {PAUSE: {"id": "p", "status": "unsupported", "reason": "too old"}}
    birth = {"status": "online", "session": "oven", "ts": stamp(300), "host": "pi", "pid": 7}
    return {
        status_topic("oven"): birth,
        state_topic("oven", "runs"): report("oven", runs=[row], recent=[over], project_id="hall"),
        state_topic("oven", "constraints"): report("oven", sync="synced", applied=obeys, effective=[pause]),
        status_topic("press"): {**birth, "session": "press", "ts": stamp(60), "host": "pc", "pid": 8},
        state_topic("press", "constraints"): report("press", sync="stale", applied=refuses, effective=[]),
        status_topic("dead"): {"status": "offline", "session": "dead"},
        state_topic("dead", "runs"): report("dead", runs=[{**row, "run_id": "r2"}], recent=[]),
        canary_topic("dead"): {"canary": "x"},
        PAUSE: {"type": "pause", "id": "p", "by": "olaf", "params": {}, "expires_at": NOW + 650},
        LIMIT: {"type": "rate_limit", "id": "l", "params": {"rate": "10/m"}, "expires_at": NOW - 1},
        constraint_topic("run:r1", "cancel"): {"type": "cancel", "id": "c", "params": {}},
    }


def cells(lines: list[str]) -> list[list[str]]:
    """The cells of a table: at least two blanks stand between two of them."""
    return [re.split(r"\s{2,}", line.strip()) for line in lines if line.strip(" ─")]
