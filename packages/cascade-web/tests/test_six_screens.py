"""One state of a run, read from all screens: terminal line, ``watch``, ``watch --plain``, ``runs``, summary and page."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from browsing import Tab
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pages import PANELS
from playwright.async_api import Browser

from cascade.cli._watching.changes import Changes, in_words
from cascade.cli._watching.drawing import Frame, draw
from cascade.cli._watching.picture import take
from cascade.cli._watching.rates import Rates
from cascade.interfaces import TaskState, TaskStateEvent
from cascade.interfaces.topics import constraint_topic, state_topic, status_topic
from cascade.interfaces.wire import timestamp
from cascade.runtime._admission.wait_reasons import Wait
from cascade.runtime._observers.progress_bar import render
from cascade.runtime._observers.run_counts import RunCounts
from cascade.runtime._run_reports.active_run import ActiveRun
from cascade.runtime._run_reports.report_bodies import RowMaker, runs_report, summary_report
from cascade.runtime._run_reports.reported_runs import RunTable
from cascade.runtime._run_reports.run_history import RunHistory
from cascade.runtime._support.run_facts import RunFacts
from cascade.web import page
from cascade.wire import View, run_rows
from testing_tools.memory_broker import MemoryBroker, Person

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="session"), pytest.mark.full]

STATES = 200
SOURCE, RUN = "oven", "night-7"
NOW, START = 100.0, 1_800_000_000.0
GATES = ("", "", "site/power is 900 w, must stay below 800", "beam/current has sent nothing yet")
GATE = "gate.power"
PAUSES = ("", "", "", "global", f"source:{SOURCE}", f"run:{RUN}", "task:bake", "task:*")
WORDS = ("completed", "running", "waiting", "failed", "skipped", "recorded", "cancelled")
SKIPS = ["its condition is false", "recorded in attempt 1", "its failure was kept in attempt 2"]

Shown = dict[str, Any]
"""What a screen says: the fields that it has."""


@dataclass
class Plant:
    """An engine with one run in a random state: what it publishes, and what its own terminal knows."""

    chance: random.Random
    events: list[TaskStateEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance = self.chance
        self.seconds = float(chance.randrange(2, 5_000))
        self.now = START + self.seconds
        self.pause = chance.choice(PAUSES)
        self.gate = chance.choice(GATES)
        self.facts = RunFacts()
        self.facts.unexpanded = chance.choice((0, 0, 1))
        self.run = ActiveRun(RUN, "bake", START, facts=self.facts, token="t")
        self.counts = RunCounts(START, self.facts)
        for number in range(chance.randrange(60)):
            self._make(f"bake:0[{number}]")
        ready = chance.randrange(40)
        self.facts.known["bake"] = len({each.task_id for each in self.events}) + ready + chance.randrange(10)
        self.slots = chance.randrange(ready + 1)
        self.facts.waits_for_slot = lambda: self.slots

    def _make(self, key: str) -> None:
        """Have a task go through a few states; none of them contradicts another."""
        state = self.chance.choice([*TaskState])
        if state is TaskState.RETRYING:
            self._note(key, TaskState.RUNNING)
        reasons = {TaskState.BLOCKED: ["it waits for gpu"], TaskState.SKIPPED: SKIPS}
        self._note(key, state, self.chance.choice(reasons.get(state, [""])))
        if state is not TaskState.RETRYING:
            return
        if self.chance.random() < 0.5:  # the next attempt runs, which no event says
            self.run.attempt_begins(key, self.now)
        else:
            self.facts.retries[key] = self.now + 30

    def _note(self, key: str, state: TaskState, reason: str = "") -> None:
        event = TaskStateEvent(RUN, key, "bake", state, START, reason=reason)
        self.events.append(event)
        self.run.count(event)
        self.counts.count(event)

    def waits(self, run: ActiveRun) -> dict[Wait, int]:
        """Every reason to wait, as admission finds them."""
        blocked = run.counts().get("BLOCKED", 0)
        topic = constraint_topic(self.pause or "global", "pause")
        pause: dict[Wait, int] = {Wait("constraint", topic, "pause"): blocked} if self.pause else {}
        gate: dict[Wait, int] = {Wait("constraint", constraint_topic("global", GATE), GATE): blocked}
        return {
            Wait("resource", "gpu"): blocked,
            Wait("slot"): self.slots,
            **pause,
            **(gate if self.gate else {}),
        }

    def texts(self, run: ActiveRun, waits: Iterable[Wait]) -> dict[Wait, str]:
        """Why the gate is closed."""
        return {wait: self.gate for wait in waits if wait.type == GATE}

    def messages(self, *, events: bool) -> dict[str, Any]:
        """What the broker retains of the engine, and its events behind it under numbers."""
        head = {"v": "1.0", "source": SOURCE, "session": "s", "presence": "s"}
        everything = self.pause in ("global", f"source:{SOURCE}", "task:*")
        table = RunTable()
        table.begin(self.run)
        rows = RowMaker(self.now, waits=self.waits, paused=everything, texts=self.texts)
        common: dict[str, Any] = {"paused": everything, "now": self.now}
        pause: dict[str, Any] = {
            "scope": self.pause,
            "type": "pause",
            "params": {},
            "id": "p",
            "expires_at": None,
        }
        in_force = [pause | {"topic": constraint_topic(self.pause, "pause")}] if self.pause else []
        found = {
            status_topic(SOURCE): {"status": "online", "session": "s", "ts": timestamp(START)},
            state_topic(SOURCE, "constraints"): {
                **head, "sync": "synced", "applied": {}, "effective": in_force, "ts": timestamp(self.now)
            },
            state_topic(SOURCE, "runs"): runs_report(
                [self.run], RunHistory(), rows, head=head | {"org_id": "o", "project_id": "p"}, count=1, **common
            ),
            state_topic(SOURCE, "summary"): summary_report(table, up=True, waits=self.waits, **common),
        }  # fmt: skip
        return found | {str(seq): self._envelope(seq) for seq in range(len(self.events) if events else 0)}

    def _envelope(self, seq: int) -> dict[str, Any]:
        event = self.events[seq]
        body = {
            "type": "TaskStateEvent",
            "task_id": event.task_id,
            "task_name": event.task_name,
            "state": event.state,
        }
        envelope = {"v": "1.0", "ts": timestamp(START), "run_id": RUN, "org_id": "o", "project_id": "p"}
        return {
            **envelope,
            "source": SOURCE,
            "seq": seq,
            "token": "t",
            "body": body | {"reason": event.reason},
        }


def topic_of(name: str) -> str:
    return f"cascade/telemetry/o/p/{RUN}/events" if name.isdecimal() else name


def numbers(text: str) -> Shown:
    """The tasks by the words of a line."""
    found = {
        "recorded" if word == "taken" else word: int(n.replace(",", "").replace("\u202f", ""))
        for n, word in re.findall(r"(\d[\d,\u202f]*) (taken(?= from the record)|\w+)", text)
    }
    return {word: found.get(word, 0) for word in WORDS}


def held_by(text: str) -> list[str]:
    """The reasons of gates in a text."""
    return [gate for gate in sorted({*GATES} - {""}) if gate in text]


def of_line(text: str) -> Shown:
    """The numbers of a progress line: ``5/9+  55%``."""
    done, known, plus = re.findall(r"([\d,]+)/([\d,]+)(\+?)", text)[0]
    percent = re.findall(r"(\d+)%", text)
    return {
        "finished": int(done), "known": int(known), "open": bool(plus), "percent": int(percent[0]) if percent else None,
        "has_left": " left" in text,
    }  # fmt: skip


def of_terminal(plant: Plant) -> Shown:
    whole = plant.pause if plant.pause != "task:bake" else ""
    pauses = {
        "": whole and f"{whole} is paused",
        "bake": f"{plant.pause} is paused" if plant.pause else plant.gate,
    }
    line = render(plant.counts, plant.seconds, 500, hold_of=lambda name: pauses[name])
    names = numbers(line)
    reason = re.search(r"(?:waiting|Paused): (.*?)(?:  |$)", line)
    if plant.pause and reason is not None:
        assert "gpu" not in reason[1], line
    elif plant.gate and reason is not None:
        assert reason[1] == plant.gate, line
    return {
        "status": "Paused" if "  Paused: " in line else "Running", **of_line(line),
        **{word: names[word] for word in ("running", "waiting", "failed")},
    }  # fmt: skip


def of_watch(view: View) -> Shown:
    picture = take(view, Rates(), now=NOW, wall=START)
    lines = [line.plain for line in draw(picture, Frame(500, 60), title="w", link="linked", lost=False)]
    at = lines.index("RUNS  1") + 1
    counts = next(
        (
            line
            for line in lines[at + 2 :]
            if re.match(r"    [\d,]+ (?!wait:)(taken from the record|\w+)(,|$)", line)
        ),
        "",
    )
    reasons = [
        int(n.replace(",", "")) for n in re.findall(r"^    ([\d,]+) wait:", "\n".join(lines), re.MULTILINE)
    ]
    found = numbers(counts)
    del found["completed"]
    assert max(reasons, default=0) <= found["waiting"], lines
    status = "Paused" if lines[at].endswith("  Paused") else "Running"
    held = held_by("\n".join(lines))
    return {"status": status, **of_line(lines[at + 1]), **found, "reasons": reasons[:4], "held": held}


def of_plain(view: View) -> tuple[Shown, str]:
    changes = dict(Changes().since_last(view, NOW))
    engine, line = in_words("engine", changes["engine"]), in_words("run", changes["run"])
    known, plus = re.findall(r"(\d+)(\+?) known", line)[0]
    percent = re.findall(r"(\d+)%", line)
    status = re.findall(r": (\w+), ", line)[0]
    found = {
        "status": status,
        "known": int(known),
        "open": bool(plus),
        "percent": int(percent[0]) if percent else None,
    }
    return found | numbers(line.partition(": ")[2].partition(", held by")[0]) | {
        "held": held_by(line)
    }, engine


def of_runs(person: Person) -> Shown:
    code, lines, _ = person.types("runs", "--json")
    (row,) = json.loads(lines[0])
    assert code == 0
    table = person.types("runs", width=300)[1]
    cells = re.split(r"\s{2,}", table[-1].strip())
    assert cells[3] == row["status"]
    tasks = cells[5] if len(cells) > 5 and re.match(r"\d+ \w", cells[5]) else ""
    assert numbers(tasks) == {word: row["tasks"].get(word, 0) for word in WORDS}
    assert ([cell for cell in cells if re.fullmatch(r"\d+%", cell)] or [None])[0] == (
        None if row["percent"] is None else f"{row['percent']}%"
    )
    found = {key: row[key] for key in ("status", "finished", "known", "open", "percent", "left_s")}
    assert held_by(table[-1]) == row["held"]
    return {**found, **numbers(tasks), "has_left": row["left_s"] is not None, "held": row["held"]}


def of_home(device: dict[str, Any], messages: dict[str, Any]) -> Shown:
    """Home Assistant's sensors, of the summary and of the report of runs."""

    def sensor(name: str, key: str = "value_template") -> str:
        found = device["components"][name]
        topic = found.get("state_topic", state_topic(SOURCE, "summary"))
        template = ImmutableSandboxedEnvironment().from_string(found[key])
        return template.render(value_json=messages[topic]).strip()

    percent = sensor("progress")
    return {
        "engine_paused": sensor("paused") == "ON", "engine_state": sensor("state"), "running": int(sensor("running")),
        "waiting": int(sensor("waiting")), "percent": None if percent == "None" else int(percent),
        "held": json.loads(sensor("held", "json_attributes_template"))["reasons"],
    }  # fmt: skip


def of_page(found: dict[str, Any]) -> Shown:
    run = found["run"].replace("Cancel…", "")
    status, done, known, so_far = re.findall(
        r"(Running|Paused)(?:([\d\u202f]+) of ([\d\u202f]+)( so far)?)?", run
    )[0]
    percent = re.findall(r" · (\d+)%", run)
    shown: Shown = {
        "status": status,
        "percent": int(percent[0]) if percent else None,
        "has_left": " left" in run,
    }
    if known:
        shown |= {"finished": int(done), "known": int(known), "open": bool(so_far)}
    names = numbers(re.split("site/power|beam/current", run.partition(f"run {RUN}")[2])[0])
    reasons = [int(n) for each in found["waiting"] for n in re.findall(r"(\d+) tasks?", each)]
    assert max(reasons, default=0) <= names["waiting"], found
    (running, waiting) = re.findall(r"(\d+) running, (\d+) waiting", found["engine"])[0]
    assert (int(running), int(waiting)) == (names["running"], names["waiting"]), found
    held = held_by(run)
    assert held_by(" ".join(found["waiting"])) == held, found
    return {**shown, **names, "reasons": reasons[:4], "held": held}


async def test_the_same_state_reads_the_same_on_all_screens(
    browser: Browser, seeded_random: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Field by field, for 200 random states; what an engine and its own terminal count, watchers compute from messages.

    Of half of the states the events have arrived, too.
    """
    plants = [Plant(seeded_random) for _ in range(STATES)]
    told = [plant.messages(events=number % 2 == 1) for number, plant in enumerate(plants)]
    cases = [[(topic_of(name), json.dumps(each)) for name, each in found.items()] for found in told]
    tab = await Tab.of(browser)
    await tab.load(page())
    pages = await tab.page.evaluate(PANELS, cases)
    await tab.close()
    assert tab.complaints == []
    broker = MemoryBroker(told[0])
    person = Person(broker, monkeypatch)
    monkeypatch.setattr(time, "time", lambda: START)
    assert (await asyncio.to_thread(person.types, "ha", "--", SOURCE))[0] == 0
    device = broker.written[-1][1]
    for plant, messages, case, of_browser in zip(plants, told, cases, pages, strict=True):
        view = View()
        for topic, payload in case:
            view.fold(topic, payload.encode(), now=NOW, retained="telemetry" not in topic)
        broker.retained = {topic: payload.encode() for topic, payload in case if "telemetry" not in topic}
        plain, engine = of_plain(view)
        screens = {
            "terminal": of_terminal(plant), "watch": of_watch(view), "plain": plain, "page": of_page(of_browser),
            "runs": await asyncio.to_thread(of_runs, person), "home": of_home(device, messages),
        }  # fmt: skip
        (row,) = run_rows(view, NOW)
        screens["rows"] = {
            key: row[key] for key in ("status", "finished", "known", "open", "percent", "left_s")
        }
        for name in {name for each in screens.values() for name in each}:
            said = {screen: each[name] for screen, each in screens.items() if name in each}
            assert len({json.dumps(each) for each in said.values()}) == 1, (name, said, screens)
        whole = plant.pause not in ("", "task:bake")
        assert row["status"] == ("Paused" if whole else "Running")
        assert row["left_s"] is None or not whole
        assert (
            engine
            == f"engine {SOURCE}: online{', paused' if screens['home']['engine_paused'] else ''}, 1 run"
        )
    # the cases are worth comparing
    assert len({json.dumps(of_browser["run"]) for of_browser in pages}) > STATES // 2
