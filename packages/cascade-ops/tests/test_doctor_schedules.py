"""``cascade doctor`` names ticks that were due and did not run, and clocks that are not believed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doctor_facts import NOW, good
from ops_modules import findings

import cascade as cs
from cascade.cli import main
from cascade.runtime.serving import missed_ticks
from cascade.testing import ManualClock
from cascade.testkit import eventually
from cascade.wire import View

ONLINE, LOST = {"status": "online", "session": "b"}, {"status": "offline", "session": "b"}
ENDED = LOST | {"reason": "ended"}
YESTERDAY, TODAY, NEXT = (f"2027-01-{day}T03:00:00+01:00" for day in (14, 15, 16))  # NOW is 09:00 there
HELD = {"at": TODAY, "code": "paused", "reason": "a pause of source:press is in force"}
BUSY = {"at": YESTERDAY, "code": "busy", "reason": "a run goes on: audit~7"}


def report(next_at: str | None, last: str = "", **schedule: Any) -> View:
    """What the broker retains of the service press."""
    view = View()
    row = {"name": "audit", "doc": "", "params": {}, "overlap": "skip", "accepting": True, "missed": "one"}
    ended = {"run_id": last, "status": "Failed", "ended": TODAY} if last else None
    planned = {"cron": "0 3 * * *", "tz": "Europe/Berlin", "text": "At 03:00", "next": next_at, **schedule}
    rows = [{**row, "last": ended, "schedule": planned}, {**row, "name": "by_hand"}]
    head = {"v": "1.0", "source": "press", "session": "s", "ts": TODAY}
    for kind, content in ("workflows", rows), ("runs", []):
        message = json.dumps(head | {kind: content}).encode()
        view.fold(f"cascade/state/press/{kind}", message, now=1.0, retained=True)
    return view


@pytest.mark.parametrize(
    ("birth", "view", "name", "text"),
    [
        (ONLINE, report(NEXT), "", ""),
        (ENDED, report(NEXT), "", ""),
        (LOST, report(TODAY), "tick_not_run", f"audit of press was due at {TODAY} and did not run: the engine is lost"),
        (ENDED, report(TODAY), "tick_not_run", f"audit of press was due at {TODAY} and did not run: the engine is ended"),
        (ONLINE, report(TODAY), "tick_not_run", f"audit of press was due at {TODAY} and did not run: the engine is online"),
        (ONLINE, report(TODAY, skipped=HELD), "tick_skipped", f"audit of press did not start at {TODAY}: a pause of source:press is in force"),
        (ONLINE, report(NEXT, skipped=BUSY), "tick_skipped", f"audit of press did not start at {YESTERDAY}: a run goes on: audit~7"),
        (ONLINE, report(NEXT, "audit~by-hand", skipped=BUSY), "tick_skipped", "audit of press did not start at"),
        (ONLINE, report(NEXT, "audit~2027-01-15T02:00:00Z", skipped=BUSY), "", ""),
        (ONLINE, report(None, problem="the clock is not set"), "clock_not_set", "press: the clock is not set"),
        (LOST, report(NEXT, problem="the clock is not set"), "", ""),
    ],
)  # fmt: skip
def test_a_tick_that_did_not_run_is_named_with_the_reason(
    birth: dict[str, str], view: View, name: str, text: str
) -> None:
    """Due and not started by a service that is away, or skipped by one that is there; not if a later one has run."""
    view.fold("cascade/status/press", json.dumps(birth).encode(), now=1.0, retained=True)
    found = findings(replace(good(), view=view), now=NOW)
    assert [each.name for each in found] == [name] * bool(name)
    assert all(each.found.startswith(text) for each in found)
    assert all(each.warning == (each.name != "tick_not_run") for each in found)


@pytest.mark.parametrize("is_live", [True, False])
def test_a_machine_without_the_lease_misses_no_tick_while_another_one_holds_it(*, is_live: bool) -> None:
    """The one that held it before has gone; its last report is of before the tick. Without a holder the tick is missed."""
    view = View()
    for source, held, birth, at in (
        ("press", False, LOST, TODAY),
        ("oven", True, ONLINE if is_live else LOST, NEXT),
    ):
        lease = {"name": "hall-2", "ttl": 30.0, "held": held}
        schedule = {"cron": "0 3 * * *", "tz": "Europe/Berlin", "text": "At 03:00", "next": at}
        row = {"name": "audit", "doc": "", "params": {}, "overlap": "skip", "accepting": True}
        head = {"v": "1.0", "source": source, "session": "s", "ts": TODAY}
        for topic, payload in (
            (
                f"state/{source}/workflows",
                head | {"workflows": [row | {"schedule": schedule, "lease": lease}]},
            ),
            (f"state/{source}/runs", head | {"runs": []}),
            (f"status/{source}", birth),
        ):
            view.fold(f"cascade/{topic}", json.dumps(payload).encode(), now=1.0, retained=True)
    names = [each.name for each in findings(replace(good(), view=view), now=NOW)]
    assert names == ([] if is_live else ["tick_not_run"])


@cs.task
def report_parts() -> None: ...


@cs.workflow(cron="0 3 * * *", tz="Europe/Berlin")
def audit() -> cs.LazyResult[None]:
    return report_parts()


async def serve(folder: Path, now: float) -> None:
    """Serve from that moment until a power cut, before any tick."""
    serving = asyncio.create_task(cs.aserve(audit, clock=ManualClock(now), state=folder))
    await eventually(lambda: missed_ticks(folder, now + 2 * 86_400))
    serving.cancel()
    await asyncio.wait({serving})


def test_a_state_folder_shows_what_was_due_also_without_a_broker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a service that does not run any more; an empty folder shows nothing, and what is no folder is one line."""
    command = ["doctor", "--broker", "mqtt://127.0.0.1:9", "--json", "--state"]
    assert main([*command, str(tmp_path)]) == 3
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["problems"]] == ["refused"]
    asyncio.run(serve(tmp_path, 1_769_911_200.0 + 60))
    assert main([*command, str(tmp_path)]) == 3
    problems = {each["name"]: each["text"] for each in json.loads(capsys.readouterr().out)["problems"]}
    assert problems.keys() == {"refused", "tick_not_run"}
    assert (
        "audit of local was due at 2026-02-02T03:00:00+01:00 and did not run, nor did "
        in problems["tick_not_run"]
    )
    assert main([*command, str(tmp_path / "none")]) == 2
    assert "Directory" in capsys.readouterr().err
