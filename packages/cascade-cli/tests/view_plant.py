"""Engines within a test: what they say becomes a view, and a picture of ``cascade watch``."""

from __future__ import annotations

import json
from typing import Any

from cli_modules import Picture, Rates, take

from cascade.interfaces.topics import state_topic, status_topic
from cascade.interfaces.wire import timestamp
from cascade.wire import View

WALL = 1_800_000_000.0
NOW = 100.0


class ViewPlant:
    """Engines whose messages the test writes."""

    def __init__(self) -> None:
        self.view = View()

    def say(self, topic: str, content: dict[str, Any], *, now: float = NOW, retained: bool = True) -> None:
        self.view.fold(topic, json.dumps(content).encode(), now=now, retained=retained)

    def online(self, source: str, *, age: float = 0.0) -> None:
        self.say(status_topic(source), {"status": "online", "session": source, "ts": timestamp(WALL - age)})

    def report(
        self, source: str, kind: str, *, now: float = NOW, retained: bool = True, **content: Any
    ) -> None:
        body = {"v": "1.0", "source": source, "session": source, **content}
        self.say(state_topic(source, kind), body, now=now, retained=retained)

    def event(
        self, source: str, run_id: str, seq: int, *, now: float = NOW, ago: float = 0.0, **body: Any
    ) -> None:
        envelope = {
            "v": "1.0",
            "ts": timestamp(WALL - ago),
            "run_id": run_id,
            "source": source,
            "seq": seq,
            "token": "t",
            "body": {"type": "TaskStateEvent", **body},
        }
        self.say(f"cascade/telemetry/local/default/{run_id}/events", envelope, now=now, retained=False)

    def picture(self, *, later: float = 0.0) -> Picture:
        return take(self.view, Rates(), now=NOW + later, wall=WALL + later)
