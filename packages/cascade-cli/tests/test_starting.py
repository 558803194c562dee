"""``cascade serve``, ``start`` and ``workflows`` on a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import publish

from cascade.interfaces.topics import state_topic, status_topic
from cascade.testkit.brokers import Broker, NatsServer
from cascade.testkit.waiting import busyness
from testing_tools.engines import CASCADE, Done, Plant, eventually
from testing_tools.retained_reports import report

pytestmark = [pytest.mark.broker, pytest.mark.process]

JOBS = '''
import time
from typing import Annotated
import cascade as cs
import msgspec

@cs.task
def inspect(number: int) -> int:
    if number == 13:
        raise ValueError("unlucky")
    while number == 60:
        time.sleep(0.05)
        cs.checkpoint()
    return 2 * number

@cs.workflow(answer=True)
def audit(number: Annotated[int, msgspec.Meta(ge=1)] = 20, *, strict: bool = False) -> cs.LazyResult[int]:
    """Inspect parts.

    :param number: how many
    """
    return inspect(number)

@cs.workflow(overlap="queue")
def calibrate() -> cs.LazyResult[int]:
    return inspect(1)

def plain(number: int) -> cs.LazyResult[int]:
    return inspect(number)

fixed = inspect(3)
'''


@pytest.fixture(scope="module")
def plant(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A broker with the services ``press`` and ``oven``, and the command beside them."""
    folder: Path = tmp_path_factory.mktemp("jobs")
    (folder / "jobs.py").write_text(JOBS)
    with Plant(broker) as made:
        services = [
            served(made, folder, "--name", "press", "--state", "runs", "jobs.py"),
            served(made, folder, "--name", "oven", "jobs.py:audit", "jobs.py:plain", "jobs.py:fixed"),
        ]
        eventually(
            lambda: {row["source"] for row in made.json("workflows")} >= {"press", "oven"}, "both offer"
        )
        yield made
        for process in services:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60 * busyness()) for process in services] == [143, 143]


def served(plant: Plant, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*CASCADE, "serve", *arguments, "--drain", "0.1s"],
        cwd=folder,
        env=plant.environment(),
        stderr=subprocess.DEVNULL,
    )
    plant._engines.append(process)
    return process


def test_workflows_lists_what_is_offered(plant: Plant) -> None:
    """With parameters and last run; a file without a name offers all that it declares."""
    rows = plant.json("workflows")
    assert [(row["source"], row["name"]) for row in rows] == [
        ("oven", "audit"),
        ("oven", "plain"),
        ("oven", "fixed"),
        ("press", "audit"),
        ("press", "calibrate"),
    ]
    assert rows[3].keys() >= {
        "doc",
        "params",
        "schedule",
        "next",
        "last",
        "overlap",
        "missed",
        "lease",
        "accepting",
    }
    assert rows[3]["params"]["properties"]["number"]["minimum"] == 1
    assert all(row["accepting"] for row in rows)
    done = plant.cascade("workflows", "press")
    assert [line.split("\t")[:3] for line in done.stdout.splitlines()] == [
        ["audit", "press", "[number] [strict]"],
        ["calibrate", "press", ""],
    ]
    assert plant.cascade("workflows", "pres").returncode == 1


def ask(plant: Plant, *arguments: str) -> tuple[int, Any]:
    done: Done = plant.cascade("start", *arguments, "--json")
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_start_says_what_became_of_the_request(plant: Plant) -> None:
    """Accepted, ended with its value, failed, the same id again, and refused."""
    code, (row,) = ask(plant, "calibrate", "--wait", "--id", "c1")
    assert (code, row["run_id"], row["status"], row["outcome"]) == (0, "calibrate~c1", "ended", "Succeeded")
    audit = ("audit", "--on", "press", "--id")
    code, (row,) = ask(plant, *audit, "a1", "-p", "number=5", "-p", "strict=yes", "--wait")
    assert (code, row["value"]) == (0, 10)
    assert row.keys() == {
        *("source", "id", "run_id", "status", "code", "reason", "outcome", "error", "duration_ms", "value")
    }
    code, (row,) = ask(plant, *audit, "a2", "-p", "number=13", "--wait")
    assert (code, row["outcome"], row["error"]) == (1, "Failed", "inspect:0: ValueError: unlucky")
    assert ask(plant, *audit, "a2", "-p", "number=13")[0] == 1, "from its record"
    shown = plant.cascade("start", *audit, "a2", "-p", "number=13", "--wait").stderr
    assert shown.endswith("the id a2 was used before: its run is shown, and nothing new ran\n")
    code, (row,) = ask(plant, *audit, "a2", "-p", "number=14")
    assert (code, row["status"], row["code"]) == (1, "refused", "invalid")
    code, (row,) = ask(plant, *audit, "a3", "-p", "number=60")
    assert (code, row["status"]) == (0, "accepted")
    code, (row,) = ask(plant, *audit, "a4")
    assert (code, row["code"]) == (1, "busy")
    shown = plant.cascade("start", *audit, "a4").stderr
    assert (
        "(busy); cascade runs shows the run, and with cascade serve --overlap queue a request waits" in shown
    )
    assert plant.cascade("cancel", "run:audit~a3", "--wait").returncode == 0
    assert ask(plant, *audit, "a3", "-p", "number=60", "--wait")[0] == 4


def put(plant: Plant, topic: str, payload: str) -> None:
    publish.single(topic, payload, 1, retain=True, hostname=plant.broker.host, port=plant.broker.port)


@pytest.mark.wrong_messages("an engine of the test", "cascade/status/lathe", "cascade/state/lathe/workflows")
def test_start_says_what_to_do_where_no_answer_comes(plant: Plant) -> None:
    """A broker drops a request that its rules forbid without a word, and a frozen engine is still online."""
    offer = {"name": "mute", "doc": "", "params": {}, "overlap": "skip", "accepting": True}
    held = {
        status_topic("lathe"): {"status": "online", "session": "lathe"},
        state_topic("lathe", "workflows"): report("lathe", workflows=[offer]),
    }
    try:
        for topic, content in held.items():
            put(plant, topic, json.dumps(content))
        done = plant.cascade("start", "mute", "--timeout", "0.2s")
    finally:
        for topic in held:
            put(plant, topic, "")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "lathe has not answered: it is away, or the broker's rules do not let this user ask it; "
        "cascade doctor --probe-write says which\n"
    )


@pytest.mark.full
def test_a_wait_says_why_no_answer_comes_and_what_becomes_of_the_run(plant: Plant, tmp_path: Path) -> None:
    """The service is killed; then Ctrl-C ends the wait, which has no limit."""
    (tmp_path / "jobs.py").write_text(JOBS)
    service = served(plant, tmp_path, "--name", "lathe", "jobs.py:audit")
    eventually(lambda: plant.cascade("workflows", "lathe").returncode == 0, "it offers")
    asked = ["start", "audit", "--on", "lathe", "--id", "k1", "-p", "number=60", "--wait"]
    with subprocess.Popen(
        [*CASCADE, *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=plant.environment()
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        assert waiting.stdout.readline() == "lathe: audit~k1 accepted\n"
        service.kill()
        assert waiting.stderr.readline() == (
            "lathe is not connected; Ctrl-C ends the wait, and the same command with --id k1 asks again\n"
        )
        waiting.send_signal(signal.SIGINT)
        assert waiting.stderr.read() == "only the wait has ended; cascade cancel run:audit~k1 ends the run\n"
        assert waiting.wait(60 * busyness()) == 130


def test_start_on_all_asks_everyone_who_offers_it(plant: Plant) -> None:
    """A row for each of them."""
    code, rows = ask(plant, "audit", "--on", "@all", "--wait", "-p", "number=2")
    assert code == 0
    assert {row["source"]: row["value"] for row in rows} == {"oven": 4, "press": 4}


class OverNats(Plant):
    """Engines and the command on a NATS server."""

    def environment(self, further: Mapping[str, str] | None = None) -> dict[str, str]:
        assert isinstance(self.broker, NatsServer)
        return {**super().environment(further), "CASCADE_BROKER": self.broker.nats_url}


def test_a_workflow_is_paused_wherever_it_runs(plant: Plant, tmp_path: Path) -> None:
    """A service refuses requests, a run of the command waits, and an engine that does not have it answers that."""
    (tmp_path / "jobs.py").write_text(JOBS)
    done = plant.cascade("pause", "workflow:fixed", "--wait", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["applied"], found["no_match"]) == (0, ["oven"], ["press"])
    code, (row,) = ask(plant, "fixed")
    assert (code, row["code"], row["reason"]) == (1, "paused", "a pause of workflow:fixed is in force")
    assert (
        "(paused); cascade constraints shows the pause, cascade resume lifts it"
        in plant.cascade("start", "fixed").stderr
    )
    assert ask(plant, "audit", "--on", "oven", "--wait", "-p", "number=2")[0] == 0
    by_hand = subprocess.Popen(
        [*CASCADE, "run", "jobs.py:fixed", "--name", "hand", "-q"], cwd=tmp_path, env=plant.environment()
    )
    plant._engines.append(by_hand)
    blocked = {"BLOCKED": 1}
    eventually(lambda: blocked in [row["counts"] for row in plant.json("runs")], "the run by hand waits")
    assert plant.cascade("resume", "workflow:fixed", "--wait").returncode == 0
    assert by_hand.wait(60 * busyness()) == 0
    assert ask(plant, "fixed", "--wait")[0] == 0


@pytest.mark.full
def test_a_workflow_is_paused_over_nats_in_the_same_way(tmp_path: Path) -> None:
    """The register is a key of a bucket there."""
    (tmp_path / "jobs.py").write_text(JOBS)
    with NatsServer() as server, OverNats(server) as plant:
        for name, workflows in (("press", ["audit"]), ("oven", ["audit", "fixed"])):
            served(plant, tmp_path, "--name", name, *(f"jobs.py:{each}" for each in workflows))
        eventually(lambda: len(plant.json("workflows")) == 3, "both offer")
        test_a_workflow_is_paused_wherever_it_runs(plant, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["audit"], "audit is offered by oven, press; name one with --on, or --on @all"),
        (["audt"], "no engine offers 'audt'; did you mean 'audit'?"),
        (["calibrate", "--on", "oven"], "oven does not offer 'calibrate'; cascade workflows lists"),
        (["audit", "--on", "oven", "-p", "number=x"], "number: needs a whole number, not 'x'"),
        (["audit", "--on", "oven", "-p", "number=0"], "number: expected int >= 1"),
        (["audit", "--on", "oven", "-p", "numbr=1"], "no parameter 'numbr'; did you mean 'number'?"),
        (["plain"], "number is missing"),
        (["plain", "--id", "a/b"], "Invalid value for '--id': needs 1 to 64 of the characters"),
    ],
)
def test_what_cannot_be_asked_for_is_2_and_nothing_is_sent(
    plant: Plant, arguments: list[str], problem: str
) -> None:
    """The offered schema decides, before a message leaves."""
    done = plant.cascade("start", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["jobs.py", "--broker", "mqtt://127.0.0.1:1"],
            "--name: needs a name, by which others ask it; pass --name press-line-3",
        ),
        (["jobs.py", "--name", "a"], "no broker is named"),
        (
            ["jobs.py"],
            "no broker is named, and no workflow has a schedule; pass --broker mqtt://broker and --name press-line-3",
        ),
        (
            ["jobs.py:fixed", "--every", "5s", "--lease", "hall"],
            "no broker is named, and fixed has --lease hall; pass --broker mqtt://broker and --name press-line-3",
        ),
        (
            ["jobs.py:fixed", "--cron", "0 3 * * * *"],
            "has 6; for seconds, use --every 10s, not '0 3 * * * *'",
        ),
        (["jobs.py:fixed", "--cron", "0 3 30 2 *"], "--cron: never fires, not '0 3 30 2 *'"),
        (
            ["jobs.py:fixed", "--every", "5s", "--cron", "* * * * *"],
            "--every: cannot be given with --cron; leave one out",
        ),
        (
            ["jobs.py:fixed", "--every", "5s", "--tz", "UTC"],
            "--tz: is the time zone of --cron, which is missing",
        ),
        (
            ["jobs.py:fixed", "--cron", "* * * * *", "--tz", "Australia/Lord_Howe"],
            "give minute and hour without a star, or use --every, not 'Australia/Lord_Howe'",
        ),
        (["jobs.py:number", "--name", "a"], "jobs.py has no 'number'"),
        (["nope.py", "--name", "a"], "the file nope.py does not exist"),
        (
            ["jobs.py:audit", "jobs.py:audit", "--name", "a", "--broker", "mqtt://127.0.0.1:1"],
            "two workflows have the name",
        ),
    ],
)
def test_what_cannot_be_served_is_one_line(tmp_path: Path, arguments: list[str], problem: str) -> None:
    """With the code 2, before anything is offered."""
    (tmp_path / "jobs.py").write_text(JOBS)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cascade.cli", "serve", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60 * busyness(),
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert problem in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["jobs.py:fixed", "--cron", "0 25 * * *"],
            "--cron: '0 25 * * *', column 3: hour: needs 0 to 23, not '25'",
        ),
        (
            ["jobs.py:fixed", "--cron", "0 3 * * *", "--tz", "Berlin"],
            "such as Europe/Berlin, not 'Berlin'",
        ),
        (["jobs.py:fixed", "--every", "0s"], "--every: needs 1s to less than a year, not '0s'"),
        (
            ["jobs.py:plain", "--every", "1s", "--name", "a"],
            "plain needs number, and a clock gives none; give a default",
        ),
        (["jobs.py", "--every", "1s"], "--every cannot be for audit, calibrate"),
        (["jobs.py:fixed", "jobs.py:fixed", "--name", "a"], "two workflows have the name 'fixed'"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused_before_anything_is_offered(
    arguments: list[str], problem: str, plant: Plant, tmp_path: Path
) -> None:
    """With 2, and what would be right."""
    (tmp_path / "jobs.py").write_text(JOBS)
    done = subprocess.run(
        [*CASCADE, "serve", *arguments],
        cwd=tmp_path,
        env=plant.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * busyness(),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr


def test_a_service_starts_by_the_clock_and_workflows_says_when_next(plant: Plant, tmp_path: Path) -> None:
    """The options of the command line are for the workflow that it names; times have the zone's offset."""
    (tmp_path / "jobs.py").write_text(JOBS)
    services = [
        served(plant, tmp_path, "--name", "ticker", "jobs.py:fixed", "--every", "1s"),
        served(
            plant, tmp_path, "--name", "leap", "jobs.py:fixed", "--cron", "0 3 29 2 *", "--tz", "Asia/Tokyo"
        ),
    ]

    def rows() -> dict[str, Any]:
        return {row["source"]: row for row in plant.json("workflows") if row["source"] in ("ticker", "leap")}

    eventually(lambda: len(rows()) == 2 and rows()["ticker"]["last"], "both offer, and one has started")
    found = rows()
    assert found["ticker"]["last"]["run_id"].startswith("fixed~20")
    assert (found["ticker"]["schedule"]["text"], found["ticker"]["missed"]) == ("Every 1s", "one")
    assert found["ticker"]["last_success"], found
    ahead = plant.json("workflows", "leap", "--next", "3")
    assert [row["at"] for row in ahead] == [f"{year}-02-29T03:00:00+09:00" for year in (2028, 2032, 2036)]
    # where nothing sets the system's clock, the report says so behind it
    assert all(row["schedule"].startswith("At 03:00 on February 29 (Asia/Tokyo)") for row in ahead)
    first, second = plant.json("workflows", "ticker", "--next", "2")
    assert datetime.fromisoformat(second["at"]) - datetime.fromisoformat(first["at"]) == timedelta(seconds=1)
    for process in services:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(60 * busyness()) for process in services] == [143, 143]


@pytest.mark.full
def test_one_of_two_machines_holds_the_lease_and_the_other_takes_it_over(
    plant: Plant, tmp_path: Path
) -> None:
    """ps and workflows say who holds it; after a kill the other machine starts the ticks."""
    (tmp_path / "jobs.py").write_text(JOBS)
    lease = ("--every", "1s", "--lease", "hall-2", "--lease-ttl", "1s")
    boxes = {
        name: served(plant, tmp_path, "--name", name, "jobs.py:fixed", *lease) for name in ("left", "right")
    }

    def holders() -> list[str]:
        rows = [row for row in plant.json("ps") if row["source"] in boxes]
        return [row["source"] for row in rows for held in row["leases"] if held["name"] == "hall-2"]

    def rows() -> dict[str, Any]:
        return {row["source"]: row for row in plant.json("workflows") if row["source"] in boxes}

    def is_shown() -> bool:
        return {row["lease"].get("holder") for row in rows().values()} == {*holders()} != set()

    eventually(is_shown, "both know the holder")
    (holder,) = holders()
    lease_of = rows()[holder]["lease"]
    assert (lease_of["name"], lease_of["ttl"], lease_of["held"], lease_of["term"]) == ("hall-2", 1.0, True, 1)
    eventually(lambda: rows()[holder]["last"], "the holder has started a tick")
    other = next(name for name in boxes if name != holder)
    assert f"name=hall-2 ttl=1.0 holder={holder} " in plant.cascade("workflows", other).stdout
    assert rows()[other]["last"] is None
    boxes[holder].kill()
    eventually(lambda: holders() == [other], "the other machine has taken it over")
    gone = rows()[holder]
    assert (gone["accepting"], gone["next"], gone["lease"]) == (False, None, None)
    eventually(lambda: rows()[other]["last"], "and starts the ticks")
    boxes[other].send_signal(signal.SIGTERM)
    assert boxes[other].wait(60 * busyness()) == 143
