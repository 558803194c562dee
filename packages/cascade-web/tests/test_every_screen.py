"""What became of 200 random runs, read from every screen: page, watch, runs, ps, history, logs, Home Assistant and the reports themselves."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from browsing import Tab, Tabs
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pages import PANELS, Kind, fresh, region
from playwright.async_api import Browser, Page, expect
from served_page import HOST, History, RelayAccess, Upstream, WebServer, assemble

from cascade.cli._watching.changes import Changes, in_words
from cascade.cli._watching.drawing import Frame, draw
from cascade.cli._watching.picture import take
from cascade.cli._watching.rates import Rates
from cascade.cli.durations import show_duration
from cascade.interfaces.topics import state_topic, status_topic
from cascade.interfaces.wire import timestamp
from cascade.ops._home_assistant.device import device_topic
from cascade.testkit import Broker, Mosquitto, eventually
from cascade.testkit.brokers import NatsServer
from cascade.testkit.ports import free_port
from cascade.web import page
from cascade.wire import View
from cascade.wire.progress import progress_of
from testing_tools.engines import Plant
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.random_runs import Oracle, oracles, play
from testing_tools.recorder import Recorder

pytestmark = [
    pytest.mark.broker, pytest.mark.process, pytest.mark.full, pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="session"),
]  # fmt: skip

NIGHTLY = [pytest.mark.nightly, pytest.mark.timeout(3_600)]
PLANTS = [
    pytest.param(Mosquitto, 4, 10, id="mosquitto-40"),
    pytest.param(Mosquitto, 9, 25, id="mosquitto-200", marks=NIGHTLY),
    pytest.param(NatsServer, 9, 25, id="nats-200", marks=NIGHTLY),
]
"""The broker, how many engines, and how many runs of each."""
FIRST_FAILURES = 20
EVERY_RUN = (
    "watch",
    "plain",
    "page list",
    "page run",
    "history list",
    "history run",
    "history",
    "history of one",
)
WORDS = ("completed", "running", "waiting", "failed", "skipped", "recorded", "cancelled")
Shown = dict[str, Any]
"""What a screen says of a run: the fields that it has."""
Key = tuple[str, str]
"""Engine and run."""


def numbers(text: str) -> Shown:
    """The tasks by the words of a line."""
    found = {
        "recorded" if word == "taken" else word: int(n.replace(",", "").replace("\u202f", ""))
        for n, word in re.findall(r"(\d[\d,\u202f]*) (taken(?= from the record)|\w+)", text)
    }
    return {word: found[word] for word in WORDS if found.get(word)}


def wanted(oracle: Oracle, last: Mapping[str, Any] | None, *, gone: bool) -> Shown:
    """What every screen has to say of a run; of one that was killed what its last report says.

    :param gone: no process of its engine has come after that to say so: then the run is lost because its engine is.
    """
    if oracle.status:
        known = max(sum(oracle.counts.values()), oracle.plan.items + 2 + (oracle.plan.end == "skip"))
        found = progress_of(oracle.counts, status=oracle.status, known=known, recorded=oracle.recorded)
        more: Shown = {
            "error": oracle.error,
            "by": oracle.by,
            "failed": oracle.failed[:FIRST_FAILURES],
            "interrupted": [],
            "lines": oracle.logged,
            "lines of this id": oracle.logged + oracle.earlier,
            "tasks by name": found.finished,
        }
        ended = oracle.ended
    else:
        assert last is not None, oracle
        found = progress_of(
            last["counts"], status="Lost", known=last["known"], recorded=last.get("recorded", 0)
        )
        running = [each["task_id"] for each in last["running"]]
        tasks = "no task" if not running else "1 task" if len(running) == 1 else f"{len(running)} tasks"
        more = {
            "error": "" if gone else f"its process died while {tasks} ran",
            "by": "",
            "interrupted": running,
        }
        ended = None if gone else datetime.fromisoformat(last["reported"]).timestamp()
    more |= {"took": show_duration(ended - oracle.began)} if ended is not None else {}
    return {
        "status": found.status,
        "tasks": dict(found.tasks),
        "known": found.known,
        "finished": found.finished,
        "began": oracle.began,
        "ended": ended,
        **more,
    }


# The screens


def of_watch(view: View, now: float, wall: float) -> dict[Key, Shown]:
    """The live screen of ``cascade watch``, tall enough for all."""
    picture = take(view, Rates(), now=now, wall=wall)
    lines = [line.plain for line in draw(picture, Frame(600, 100_000), title="w", link="linked", lost=False)]
    found: dict[Key, Shown] = {}
    row: Shown = {}
    for line in lines[lines.index("ENGINES  8") if "ENGINES  8" in lines else 0 :]:
        over = re.match(r"  (\w+) +name of \S+ (\S+) on (\S+)(?:  ([\d,]+)/([\d,]+))?(.*)", line)
        lost = re.match(r"  name of \S+ (\S+) on (\S+)  (Lost) at ([\d,]+)/([\d,]+)", line)
        if lost is not None:
            finished, known = (int(n.replace(",", "")) for n in lost.groups()[3:5])
            row = found[lost[2], lost[1]] = {
                "status": lost[3],
                "finished": finished,
                "known": known,
                "interrupted": [],
            }
        elif over is not None:
            finished, known = (int(n.replace(",", "")) if n else 0 for n in over.groups()[3:5])
            by, took = re.search(r"  by (\S+)", over[6]), re.search(r"  took (\S+)", over[6])
            row = found[over[3], over[2]] = {
                "status": over[1], "finished": finished, "known": known, "error": "", "interrupted": [],
                "by": by[1] if by else "", "took": took[1] if took else "",
            }  # fmt: skip
        elif line.startswith("    ran when the link broke: "):
            row["interrupted"] = named(line)
        elif re.match(r"    \d+ (completed|running|waiting|failed|skipped|taken|cancelled)\b", line):
            row["tasks"] = numbers(line)
        elif line.startswith("    ") and "error" in row:
            row["error"] += line.strip()
    return found


def named(line: str) -> list[str]:
    """The tasks that ran when a link broke: the first three, and how many more."""
    text = line.partition("broke: ")[2]
    names, _, more = text.partition(" and ")
    return [*names.split(", "), *([more] if more else [])]


def shortly(tasks: list[str]) -> list[str]:
    """The same of a list."""
    return [*tasks[:3], *([f"{len(tasks) - 3} more"] if len(tasks) > 3 else [])]


def of_plain(view: View, now: float) -> dict[Key, Shown]:
    """The latest line of ``cascade watch --plain`` of each run."""
    found: dict[Key, Shown] = {}
    for kind, row in Changes().since_last(view, now):
        if kind != "run":
            continue
        line = in_words(kind, row)
        head = re.fullmatch(
            r"run (\S+) .*? on (\S+): (\w+)(?: by (\S+))?, (no tasks|.*?), (\d+)\+? known(?:, (ran when the link broke: .*?))?(?:: (?!\d)(.*))?",
            line,
        )
        assert head is not None, line
        found[head[2], head[1]] = {
            "status": head[3], "by": head[4] or "", "tasks": numbers(head[5]), "known": int(head[6]), "error": head[8] or "",
            "interrupted": named(head[7].replace(": box", "", 0)) if head[7] else [],
        }  # fmt: skip
    return found


def of_rows(rows: list[dict[str, Any]]) -> dict[Key, Shown]:
    """``cascade runs --json``."""
    fields = ("status", "error", "by", "tasks", "known", "finished")
    return {
        (row["source"], row["run_id"]): {**{key: row[key] for key in fields}, "interrupted": shortly(row["interrupted"]),
                                         "began": row["started"], "ended": row["ended"], "failed": row["failed"]}
        for row in rows
    }  # fmt: skip


def of_table(lines: list[str]) -> dict[Key, Shown]:
    """``cascade runs`` in a pipe."""
    found = {}
    for line in lines:
        run_id, source, _, status, began, ended, tasks, known, _, by, _, error, broke = line.split("\t")
        counts = {key: int(n) for key, _, n in (each.partition("=") for each in tasks.split())}
        found[source, run_id] = {"status": status, "began": began, "ended": ended or None, "by": by, "error": error, "known": int(known),
                                 "tasks": counts, "interrupted": shortly(broke.split(", ") if broke else [])}  # fmt: skip
    return found


ROWS = """(panel) => [...document.querySelectorAll(`#${panel} .row`)].map((row) => ({
    status: row.querySelector(".state").textContent, share: row.querySelector(".push").textContent, meta: row.querySelector(".meta:not(.push)").textContent,
    errors: [...row.querySelectorAll(".error:not([hidden])")].map((each) => each.textContent) }))"""
DETAILS = """() => {
    const text = (id) => document.getElementById(id).textContent, rows = (id, part) => [...document.querySelectorAll(`#${id} .row ${part}`)].map((each) => each.textContent);
    const shown = (id, found) => (document.getElementById(id).hidden ? [] : found);
    return { title: text("details-title"), end: text("details-end"), error: document.getElementById("details-error").hidden ? "" : text("details-error"),
        failed: shown("failures-section", rows("failures", ".name")), running: shown("now", rows("running", ".name")), note: text("running-note"),
        logs: shown("logs-section", rows("logs", ".value")), tasks: rows("tasks", ".push") };
}"""


def of_listed(row: dict[str, Any]) -> tuple[Key, Shown]:
    """A row of "Recent runs", or of "History"."""
    parts = row["meta"].split(" · ")
    by = parts.pop(0).removeprefix("by ") if parts[0].startswith("by ") else ""
    source, run_id = parts.pop(0), parts.pop(0).removeprefix("run ")
    took = parts.pop(0).removeprefix("took ") if parts and parts[0].startswith("took ") else ""
    share = re.fullmatch(r"([\d\u202f]+) of ([\d\u202f]+)( so far)?", parts[0] if parts else "")
    broke = [each for each in row["errors"] if each.startswith("ran when the link broke: ")]
    shown = {"status": row["status"], "by": by, "took": took, "tasks": numbers(parts[-1] if parts else ""),
             "error": "".join(each for each in row["errors"] if each not in broke), "interrupted": named(broke[0]) if broke else []}  # fmt: skip
    if share is not None:
        shown |= {"finished": int(share[1]), "known": int(share[2])}
    return (source, run_id), shown


def of_lost(row: dict[str, Any]) -> tuple[Key, Shown]:
    """A row of "Runs" of an engine that is gone."""
    source, run_id, _, *rest = row["meta"].split(" · ")
    share = re.fullmatch(r"(\d+) of (\d+)( so far)?", row["share"])
    shown = {
        "status": row["status"],
        "tasks": numbers(rest[-1]),
        "interrupted": named(row["errors"][0]) if row["errors"] else [],
    }
    return (source, run_id.removeprefix("run ")), shown | (
        {"finished": int(share[1]), "known": int(share[2])} if share else {}
    )


def of_details(found: dict[str, Any]) -> Shown:
    """The page of one run."""
    head = re.match(
        r"(\w+)(?: by (\S+))? · began [^·]+(?: · (?:ended|last heard of) [^·]+)?(?: · took (\S+))?(?: · (\d+) of (\d+))?$",
        found["end"],
    )
    assert head is not None, found
    failed = found["failed"]
    return {
        "status": head[1], "by": head[2] or "", "took": head[3] or "", "finished": int(head[4] or 0), "known": int(head[5] or 0), "error": found["error"],
        "failed": failed if len(failed) <= FIRST_FAILURES else failed[::-1][:FIRST_FAILURES], "interrupted": shortly(found["running"]),
        "lines": len(found["logs"]), "tasks by name": sum(int(each.partition(" of ")[0]) for each in found["tasks"]),
    }  # fmt: skip


async def of_page(page: Page) -> tuple[dict[Key, Shown], dict[Key, Shown]]:
    """The lists of a page that was open all the time, and each of their runs."""
    listed: dict[Key, Shown] = {}
    opened: dict[Key, Shown] = {}
    for name, place, read in (("Runs", "runs", of_lost), ("Recent runs", "recent", of_listed)):
        panel, more = region(page, name), True
        following = panel.get_by_role("button", name="Next")
        while more:
            found = [read(row) for row in await page.evaluate(ROWS, place)]
            listed |= dict(found)
            for key, _ in found:
                row = panel.get_by_role("row").filter(has_text=re.compile(rf" run {key[1]} "))
                await row.get_by_role("button").first.click()
                await expect(page.locator("#details-title")).to_have_text(f"name of {key[1]} on {key[0]}")
                opened[key] = of_details(await page.evaluate(DETAILS))
                # it has the latest lines of all runs
                del opened[key]["lines"]
            more = await following.is_visible() and await following.is_enabled()
            if more:
                await following.click()
    return listed, opened


async def of_past(tabs: Tabs, url: str) -> tuple[dict[Key, Shown], dict[Key, Shown]]:
    """The section "History" of a page that somebody opens in the morning, and each run behind its link."""
    tab = await tabs.open(url)
    page = tab.page
    listed: dict[Key, Shown] = {}
    following = page.locator("#past-next")
    await expect(page.locator("#past .row").first).to_be_visible()
    while True:
        listed |= dict(map(of_listed, await page.evaluate(ROWS, "past")))
        if not await following.is_visible() or await following.is_disabled():
            break
        before = await page.locator("#past-note").text_content()
        await following.click()
        await expect(page.locator("#past-note")).not_to_have_text(before or "")
    opened: dict[Key, Shown] = {}
    for source, run_id in listed:
        await page.evaluate("(link) => { location.hash = link; }", f"#run={run_id}&on={source}")
        await expect(page.locator("#details-title")).to_have_text(f"name of {run_id} on {source}")
        await expect(page.locator("#details-close")).to_be_visible()
        opened[source, run_id] = of_details(await page.evaluate(DETAILS))
    return listed, opened


def of_history(row: dict[str, Any]) -> Shown:
    """``cascade history --json``, the list and one run."""
    recorded = row["counts"].pop("recorded", 0)
    counts = Counter({key.upper(): n for key, n in row["counts"].items()}) + Counter(SKIPPED=recorded)
    shown = {"status": row["status"], "by": row["by"], "error": row["error"], "began": row["created"], "ended": row["ended"],
             "tasks": dict(progress_of(counts, status=row["status"], recorded=recorded).tasks)}  # fmt: skip
    if "steps" in row:
        failed = sorted(
            (step for step in row["steps"] if step["state"] == "failed"), key=lambda step: step["ended"]
        )
        shown["failed"] = [step["key"] for step in failed][:FIRST_FAILURES]
    return shown


def of_reports(recorder: Recorder, kind: str, part: str) -> dict[Key, Shown]:
    """What the broker keeps of the latest ends."""
    latest = {message.topic: message.json_object() for message in recorder.of(f"cascade/state/+/{kind}")}
    found: dict[Key, Shown] = {}
    for report in latest.values():
        for row in reversed(report[part]):
            counts = progress_of(row["counts"], recorded=row.get("recorded", 0), status=row["status"])
            shown = {key: row.get(key, "") for key in ("status", "error", "by", "known", "ended")} | {
                "began": row["started"]
            }
            found[report["source"], row["run_id"]] = shown | {
                "tasks": dict(counts.tasks),
                "finished": counts.finished,
            }
            if "interrupted" in row:
                ids = {key: [each["task_id"] for each in row[key]] for key in ("failures", "interrupted")}
                found[report["source"], row["run_id"]] |= {"interrupted": ids["interrupted"]}
                if row["status"] != "Lost":
                    found[report["source"], row["run_id"]] |= {"failed": ids["failures"]}
    return found


def of_terminal(run: Oracle) -> Shown:
    """What the command prints of a run at its end, from the events in its own process."""
    said = run.terminal
    counts = progress_of(said["counts"], recorded=run.recorded, status=said["status"])
    return {"status": said["status"], "error": said["error"], "tasks": dict(counts.tasks)}


def of_home(plant: Plant, recorder: Recorder, source: str) -> tuple[Key, Shown]:
    """Home Assistant's sensors of an engine: the run that ended last."""
    assert plant.cascade("ha", "--force", "--", source).returncode == 0
    device = recorder.of(device_topic(source))[-1].json_object()
    report = recorder.of(state_topic(source, "runs"))[-1].json_object()

    def sensor(name: str) -> str:
        template = ImmutableSandboxedEnvironment().from_string(device["components"][name]["value_template"])
        return str(template.render(value_json=report)).strip()

    shown = {"status": sensor("last_run")}
    if shown["status"] in ("Failed", "Lost"):
        shown["error"] = sensor("last_error")
    return (source, report["recent"][0]["run_id"]), shown


# One plant for all


@contextmanager
def collecting(broker: Broker, path: Path) -> Iterator[None]:
    """Keep what engines send, in a process of its own."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "cascade.cli",
        "collect",
        "--to",
        str(path),
        "--broker",
        broker.url,
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def serving(broker: Broker, path: Path) -> AsyncIterator[str]:
    """Serve the page with the history; the value is its address."""
    port = free_port()
    server = WebServer(
        assemble("/mqtt", history=True), Upstream.of(broker.url), RelayAccess(None), History(path)
    )
    async with server.listening(HOST, port):
        yield f"http://{HOST}:{port}/"


def asked(path: Path, query: str) -> int:
    """A number that the collector's file says."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute(query).fetchone()[0])
        except sqlite3.DatabaseError:
            return 0


def last_reports(recorder: Recorder) -> dict[Key, dict[str, Any]]:
    """The last row of each run in a report that lists it as active."""
    found: dict[Key, dict[str, Any]] = {}
    for message in recorder.of("cascade/state/+/runs"):
        report = message.json_object()
        for row in report.get("runs", ()):
            found[report["source"], row["run_id"]] = {**row, "reported": report["ts"]}
    return found


@pytest.mark.parametrize(("kind", "boxes", "count"), PLANTS)
async def test_every_run_reads_the_same_on_every_screen(
    tabs: Tabs, kind: Kind, boxes: int, count: int, tmp_path: Path, seeded_random: random.Random
) -> None:
    """Field by field: runs with failures, kept failures, retries, skips, cancels, kills and continuations.

    A run that was killed is as its last report has it, and marked so.
    """
    path, seed = tmp_path / "all.sqlite", seeded_random.randrange(1 << 30)
    sources = [f"box-{number}" for number in range(boxes)]
    with fresh(kind) as broker, ExitStack() as stack:
        recorder = stack.enter_context(Recorder(broker.host, broker.port, "cascade/#", "homeassistant/#"))
        stack.enter_context(collecting(broker, path))
        await eventually(path.exists, 60)
        plant = stack.enter_context(Plant(broker))
        async with serving(broker, path) as url:
            tab = await tabs.open(url)
            await expect(tab.page.locator("#link")).to_have_attribute("data-link", "ready")
            two = asyncio.Semaphore(2)

            async def box(source: str) -> int:
                async with two:
                    comes_back = source not in sources[-2:]
                    return await asyncio.to_thread(
                        play, broker.url, source, tmp_path, seed, count, to_the_end=comes_back
                    )

            kills = await asyncio.gather(*map(box, sources))
            await eventually(
                lambda: (
                    asked(path, "SELECT count(*) FROM event WHERE seq IS NOT NULL")
                    >= len(
                        {m.json_object().get("event_id") for m in recorder.of("cascade/telemetry/#")} - {None}
                    )
                ),
                60,
            )
            runs = {
                (source, each.run_id): each
                for source in sources
                for each in oracles(tmp_path, source, seed, count).values()
            }
            await eventually(
                lambda: asked(path, "SELECT count(*) FROM engine WHERE status = 'offline'") == boxes, 60
            )
            lasts = {source: list(oracles(tmp_path, source, seed, count).values())[-1] for source in sources}
            gone = {(source, last.run_id) for source, last in lasts.items() if not last.status}
            await expect(tab.page.locator("#recent-note")).to_have_text(str(len(runs) - len(gone)))
            screens = await rendered(plant, recorder, tabs, tab, url, path, runs)
    reports = last_reports(recorder)
    wrong = list(
        differences(
            screens, {key: wanted(each, reports.get(key), gone=key in gone) for key, each in runs.items()}
        )
    )
    print(f"{len(runs)} runs, {sum(kills)} kills, {len(screens)} screens")
    assert not wrong, "\n".join(wrong[:20])
    assert tab.complaints == []


async def rendered(
    plant: Plant, recorder: Recorder, tabs: Tabs, tab: Tab, url: str, path: Path, runs: Mapping[Key, Oracle]
) -> dict[str, dict[Key, Shown]]:
    """Read every screen."""
    view, now, wall = View(), time.monotonic(), time.time()
    for message in recorder.messages:
        view.fold(message.topic, message.payload, now=now, retained=message.retain)
    screens = {"watch": of_watch(view, now, wall), "plain": of_plain(view, now)}
    screens["page list"], screens["page run"] = await of_page(tab.page)
    screens["history list"], screens["history run"] = await of_past(tabs, url)

    def typed(*arguments: str) -> str:
        done = plant.cascade(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    screens["runs"] = of_rows(json.loads(await asyncio.to_thread(typed, "runs", "--json")))
    screens["runs table"] = of_table((await asyncio.to_thread(typed, "runs")).splitlines())
    rows = json.loads(await asyncio.to_thread(typed, "history", "--from", str(path), "--json"))
    screens["history"] = {(row["source"], row["run_id"]): of_history(row) for row in rows}
    screens["recent"], screens["ended"] = (
        of_reports(recorder, "runs", "recent"),
        of_reports(recorder, "ended", "runs"),
    )
    screens["terminal"] = {key: of_terminal(run) for key, run in runs.items() if run.status}
    lines = [
        json.loads(line)
        for line in (await asyncio.to_thread(typed, "logs", "--from", str(path), "--json")).splitlines()
    ]
    screens["logs"] = {
        key: {"lines of this id": sum(each["run_id"] == key[1] for each in lines)}
        for key, run in runs.items()
        if run.status
    }
    sources = {source for source, _ in runs}
    screens["home"] = dict([await asyncio.to_thread(of_home, plant, recorder, source) for source in sources])
    for row in json.loads(await asyncio.to_thread(typed, "ps", "--json")):
        assert (row["runs"], row["paused"]) == (0, False)
        assert row["source"] in sources
        assert row["status"] in ("ended", "lost")
    screens["history of one"] = {}
    for source, run_id in runs:
        row = json.loads(await asyncio.to_thread(typed, "history", run_id, "--from", str(path), "--json"))
        screens["history of one"][source, run_id] = of_history(row)
    return screens


def differences(screens: Mapping[str, Mapping[Key, Shown]], wanted: Mapping[Key, Shown]) -> Iterator[str]:
    """Yield what a screen says otherwise than the run itself."""
    for screen, found in screens.items():
        for key, shown in found.items():
            for field, value in shown.items():
                want: Any = wanted[key].get(field, value)
                if field in ("began", "ended") and want is not None:
                    want = timestamp(want)
                # a list names three; retained reports have the tasks of the latest runs alone
                most = {"interrupted": 3, "failed": FIRST_FAILURES}.get(field)
                if most is not None and screen.startswith("runs") and not value:
                    continue
                if value != want if most is None or want is None else value[:most] != want[:most]:
                    yield f"{screen}: {key[1]} {field}: {value!r} instead of {want!r} ({wanted[key]['status']})"
        if screen in EVERY_RUN and (missing := wanted.keys() - found.keys()):
            yield f"{screen}: {len(missing)} runs are missing"


# The rows of the examination "the morning after" that 200 runs at their end do not show

AT, CLOCK = 100.0, 1_800_000_000.0
TASK = {"task_id": "bake:0[1]", "task_name": "bake", "since": timestamp(CLOCK - 9), "paused": False}
ROW: dict[str, Any] = {
    "run_id": "night-7", "token": "t", "target": "bake", "started": timestamp(CLOCK - 9), "attempt": 1, "counts": {"RUNNING": 1, "COMPLETED": 10},
    "known": 61, "open": False, "tasks": {"bake": {"known": 61, "counts": {"RUNNING": 1, "COMPLETED": 10}}}, "running": [TASK], "waiting": [],
}  # fmt: skip
ALL: dict[str, Any] = {
    "topic": "cascade/constraints/task/%2A/@pause",
    "scope": "task:*",
    "type": "pause",
    "params": {},
    "id": "p",
    "expires_at": None,
    "by": "ann",
}
GLOBAL = {**ALL, "topic": "cascade/constraints/global/@pause", "scope": "global"}


def said(
    *runs: dict[str, Any],
    presence: str = "p",
    online: bool = True,
    ago: float = 0.0,
    sync: str = "synced",
    effective: tuple[Any, ...] = (),
) -> dict[str, Any]:
    """What the broker keeps of an engine, whose birth is of the process "p"."""
    head = {
        "v": "1.0",
        "source": "oven",
        "session": presence,
        "presence": presence,
        "ts": timestamp(CLOCK - ago),
    }
    constraints = {"sync": sync, "applied": {}, "effective": [*effective], "in_scope_running": 0}
    return {
        status_topic("oven"): {"status": "online" if online else "offline", "session": "p", "ts": timestamp(CLOCK - 4000)},
        state_topic("oven", "constraints"): head | constraints,
        state_topic("oven", "runs"): head | {"org_id": "o", "project_id": "p", "runs": [*runs], "recent": [], "paused": bool(effective)},
    }  # fmt: skip


def unborn(*runs: dict[str, Any]) -> dict[str, Any]:
    """The same of an engine whose birth nobody may read, or somebody has cleared."""
    return {topic: content for topic, content in said(*runs).items() if topic != status_topic("oven")}


BEGUN = {**ROW, "counts": {}, "known": 0, "tasks": {}, "running": []}
CUT = {**ROW, "counts": {"RUNNING": 40, "COMPLETED": 10}, "running_more": 39, "tasks_more": 7, "lost": 5}
ROWS_OF_U = {
    "U6 a run that is killed in its first moment": (said(BEGUN, online=False), {"Lost"}, {"Running"}, ()),
    "U8 of how many, of a run that was killed": (said(ROW, online=False), {"Lost", "61", "bake:0[1]"}, set(), ()),
    "U9 all tasks are held by task:*": (said(ROW, effective=(ALL,)), {"Paused", "ann"}, {"Running"}, ()),
    "U10 a pause that the broker has lost": (said(ROW, effective=(GLOBAL,), sync="stale"), {"Paused", "still obeyed by oven"}, {"None: nothing is paused"}, ("runs",)),
    "U11 a report of an hour ago": (said(ROW, ago=3600), {"not known whether"}, set(), ("plain",)),
    "U12 what a report leaves out, and events that were dropped": (said(CUT), {"dropped by the engine"}, set(), ("plain", "runs")),
    "U13 a run of an earlier process": (said(ROW, presence="before"), {"Lost"}, {"Running"}, ()),
    "U14 a source without a birth, to who comes now": (unborn(ROW), {"not known whether"}, {"Running", "Lost", "lost", "online,"}, ("plain",)),
    "U14 the same 12 s later": (unborn(ROW), {"Lost"}, {"Running"}, ("runs",)),
}  # fmt: skip
"""What is on the broker, what each screen says of it, what none says, and the screens that have no room for it."""


@pytest.mark.parametrize("name", ROWS_OF_U)
async def test_what_was_found_in_the_morning_reads_right_on_every_screen(
    browser: Browser, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watch, watch in a pipe, list of runs, and page, from the same messages; ``ps`` counts a run only where it goes on."""
    kept, texts, never, without = ROWS_OF_U[name]
    comes_now, view = name.endswith("who comes now"), View()
    begin = AT - 5 if comes_now else 0.0
    for topic, content in kept.items():
        view.fold(topic, json.dumps(content).encode(), now=begin, retained=True)
    drawn = draw(take(view, Rates(), now=AT, wall=CLOCK), Frame(200, 200), title="", link="", lost=False)
    tab = await Tab.of(browser)
    await tab.load(page())
    messages = [(topic, json.dumps(content), begin) for topic, content in kept.items()]
    (of_page,) = await tab.page.evaluate(PANELS, [messages])
    await tab.close()
    person, changes = Person(MemoryBroker(kept), monkeypatch), Changes()
    monkeypatch.setattr(time, "time", lambda: CLOCK)
    code, lines, notes = await asyncio.to_thread(person.types, "runs", width=400)
    screens = {
        "watch": "\n".join(line.plain for line in drawn),
        "plain": "\n".join(in_words(*each) for at in (AT, AT + 3) for each in changes.since_last(view, at)),
        "runs": "\n".join([*lines, notes]),
        "page": "\n".join(each for part in of_page.values() for each in ([part] if isinstance(part, str) else part)),
    }  # fmt: skip
    assert code == 0
    for screen, shown in screens.items():
        assert [text for text in texts if text not in shown and screen not in without] == [], (screen, shown)
        assert [text for text in never if text in shown] == [], (screen, shown)
    (row,) = json.loads((await asyncio.to_thread(person.types, "ps", "--json"))[1][0])
    goes_on = name[:3].strip() not in ("U6", "U8", "U13", "U14")
    assert (row["status"] == "unknown") == ("U14" in name)
    assert (row["runs"], row["paused"]) == (int(goes_on), name.startswith(("U9", "U10")))
