"""``cascade collect --prometheus``: totals from reports, series of live engines only, and what Prometheus reads."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from exported import Exported, end, row
from ops_modules import MOST_NAMES, MOST_SOURCES, OTHER

from cascade.cli import main
from cascade.interfaces.topics import status_topic, telemetry_topic
from cascade.wire import parse_event
from testing_tools.engines import Plant, eventually
from testing_tools.patient import PATIENT

DASHBOARD = Path(__file__).parents[1] / "dashboards" / "grafana.json"


def test_totals_come_from_reports() -> None:
    """Repeated reports add nothing; what a run's end counts beyond them has no name; a new attempt begins anew."""
    exported = Exported()
    exported.birth()
    exported.report("runs", {"runs": [], "recent": [end({"COMPLETED": 50}, "old")]}, retained=True)
    for _ in range(3):
        counts = {"RUNNING": 1, "COMPLETED": 4, "FAILED": 1}
        exported.report(
            "runs", {"runs": [row(counts, {"audit": {"COMPLETED": 4, "FAILED": 1, "RUNNING": 1}})]}
        )
    assert exported.samples("cascade_tasks_total") == {("COMPLETED", "audit"): 4, ("FAILED", "audit"): 1}
    assert exported.samples("cascade_runs_total") == {}
    exported.report("runs", {"runs": [], "recent": [end({"COMPLETED": 7, "FAILED": 1}, status="Failed")]})
    assert exported.samples("cascade_tasks_total") == {
        ("COMPLETED", "audit"): 4,
        ("FAILED", "audit"): 1,
        ("COMPLETED", OTHER): 3,
    }
    assert exported.samples("cascade_runs_total") == {("Failed", "t"): 1}
    exported.report("runs", {"runs": [row({"COMPLETED": 2}, {"audit": {"COMPLETED": 2}})]})
    exported.report("runs", {"runs": [row({"COMPLETED": 1}, {"audit": {"COMPLETED": 1}})]})
    assert exported.samples("cascade_tasks_total")["COMPLETED", "audit"] == 4 + 2 + 1


def test_gauges_show_what_is_true_now() -> None:
    """States and reasons of all runs, constraints by scope and type; the id of a run is not a label."""
    exported = Exported()
    exported.birth()
    waiting = [{"why": "constraint", "n": 3}, {"why": "constraint", "n": 2}, {"why": "retry", "n": 1}]
    rows = [row({"RUNNING": 2, "BLOCKED": 5}) | {"waiting": waiting}, row({"RUNNING": 1}, run_id="r2")]
    exported.report("runs", {"runs": rows})
    effective = [
        {"scope": "global", "type": "pause", "params": {}},
        {"scope": "run:r1", "type": "cancel", "params": {}},
        {"scope": "run:r2", "type": "cancel", "params": {}},
    ]
    exported.report("constraints", {"sync": "synced", "applied": {}, "effective": effective})
    assert exported.samples("cascade_engine_up") == {(): 1}
    assert exported.samples("cascade_tasks_now") == {("RUNNING",): 3, ("BLOCKED",): 5}
    assert exported.samples("cascade_waiting") == {("constraint",): 5, ("retry",): 1}
    assert exported.samples("cascade_constraint_in_force") == {("global", "pause"): 1, ("run", "cancel"): 2}
    assert exported.samples("cascade_broker_up") == {(): 0}


def test_the_last_success_of_a_workflow_stays_while_later_runs_fail() -> None:
    """In seconds since the epoch; a workflow that never succeeded has none, and no client's text breaks the scrape."""
    exported = Exported()
    exported.birth()
    offer = {"doc": "", "params": {}, "overlap": "skip", "accepting": True}
    last = {"run_id": "audit~8", "status": "Failed", "ended": "2027-01-15T09:00:00+00:00"}
    times = {
        "audit": "2027-01-15T08:00:00+00:00",
        "wash": "",
        "odd": "yesterday",
        "\ud800": "2027-01-15T08:00:01Z",
    }
    offers = [{"name": name, "last": last, "last_success": at, **offer} for name, at in times.items()]
    exported.report("workflows", {"workflows": offers, "ts": ""})
    assert exported.samples("cascade_workflow_last_success_timestamp") == {
        ("audit",): 1_800_000_000,
        ("?",): 1_800_000_001,
    }


@pytest.mark.parametrize("reason", [{}, {"reason": "ended"}])
def test_series_of_an_engine_that_is_gone_vanish(reason: dict[str, str]) -> None:
    """With its will or its farewell; what another engine has stays, and a new process counts from zero."""
    exported = Exported()
    for source in ("press", "gate"):
        exported.birth(source)
        exported.report("runs", {"runs": [row({"COMPLETED": 4}, {"audit": {"COMPLETED": 4}})]}, source)
    exported.fold(status_topic("press"), {"status": "offline", "session": "b", **reason})
    assert exported.samples("cascade_engine_up") == {(): 1}
    assert exported.samples("cascade_tasks_total") == {("COMPLETED", "audit"): 4}
    exported.birth()
    exported.report("runs", {"runs": [row({"COMPLETED": 1}, {"clean": {"COMPLETED": 1}})]})
    assert exported.samples("cascade_tasks_total") == {("COMPLETED", "audit"): 4, ("COMPLETED", "clean"): 1}


def test_an_engine_without_a_name_vanishes_when_it_is_silent() -> None:
    """It has no will: it counts as connected for 12 s after its last report."""
    exported = Exported()
    exported.report("runs", {"runs": [row({"RUNNING": 1})]})
    assert exported.samples("cascade_tasks_now") == {("RUNNING",): 1}
    exported.now += 13
    assert exported.samples("cascade_tasks_now") == {}
    assert exported.samples("cascade_events_lost_total") == {}


def test_names_have_a_bound() -> None:
    """The thousand first names are labels, and the others one."""
    exported = Exported()
    exported.birth()
    for number in range(MOST_NAMES + 50):
        exported.report("runs", {"runs": [row({}, {f"n{number}": {"COMPLETED": 1}}, run_id=f"r{number}")]})
    found = exported.samples("cascade_tasks_total")
    assert len(found) == MOST_NAMES + 1
    assert found["COMPLETED", OTHER] == 50


def test_no_message_of_a_client_breaks_the_scrape() -> None:
    """Half a character in every place that becomes a label; events without an id count each."""
    exported = Exported()
    half = "\ud800"
    exported.metrics.fold("cascade/status/%ED%A0%80", b'{"status": "online"}', now=100.0, retained=True)
    odd = {**row({half: 1}, {half: {"COMPLETED": 1}}), "target": half, "waiting": [{"why": half, "n": 1}]}
    for source in (half, "press"):
        exported.birth(source)
        exported.report("runs", {"runs": [odd], "recent": []}, source)
        exported.report("runs", {"runs": [], "recent": [end({"COMPLETED": 2}) | {"target": half}]}, source)
        exported.report("constraints", {"effective": [{"scope": half, "type": half, "params": {}}]}, source)
    body = {"type": "TaskStateEvent", "state": "COMPLETED", "task_name": half, "duration_ms": 1.0}
    for _ in range(2):
        event = parse_event(
            telemetry_topic("o", "p", "r"),
            json.dumps({"run_id": "r", "source": "press", "body": body}).encode(),
        )
        assert event is not None
        exported.metrics.observe(event)
    assert exported.samples("cascade_task_seconds_count") == {("?",): 2}
    assert ("COMPLETED", "?") in exported.samples("cascade_tasks_total")
    assert exported.samples("cascade_constraint_in_force") == {("?", "?"): 1}


def test_what_is_kept_of_engines_has_a_bound() -> None:
    """Also while nothing scrapes: programs without a name come and go."""
    exported = Exported()
    for number in range(MOST_SOURCES + 20):
        exported.report("runs", {"runs": [row({"RUNNING": 1})]}, f"s{number}")
    assert len(exported.metrics._totals) == MOST_SOURCES


def test_the_dashboard_asks_only_for_metrics_that_exist() -> None:
    """Every query of the Grafana dashboard; each metric is on it."""
    exported = Exported()
    exported.birth()
    exported.report("runs", {"runs": [row({"RUNNING": 1}, {"audit": {"COMPLETED": 1}})]})
    exported.report("runs", {"runs": [], "recent": [end({"COMPLETED": 1})]})
    text = DASHBOARD.read_text("utf-8")
    asked = set(re.findall(r"cascade_[a-z_]+", text))
    names = {metric.name for metric in exported.metrics.families(exported.now)}
    suffixes = ("", "_total", "_bucket", "_sum", "_count")
    assert asked <= {name + suffix for name in names for suffix in suffixes}
    assert {name for name in names if not any(name + suffix in asked for suffix in suffixes)} == set()
    for panel in json.loads(text)["panels"]:
        assert all(target["expr"] for target in panel["targets"])


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_a_scrape_shows_a_live_engine(plant: Plant, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Over HTTP, beside the file; an engine that is killed vanishes with its will."""
    command = [*PATIENT, "collect", "--to", str(tmp_path / "runs.sqlite"), "--prometheus", "127.0.0.1:0"]
    collector = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=plant.environment())
    request.addfinalizer(collector.communicate)
    request.addfinalizer(collector.kill)
    assert collector.stderr is not None
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+/metrics", collector.stderr.readline())

    def scraped() -> str:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    eventually(lambda: "cascade_broker_up 1.0" in scraped(), "the broker is up")
    engine = plant.start("press-line-3", seconds=0.02)
    who = 'project="default",source="press-line-3"'
    eventually(lambda: f"cascade_engine_up{{{who}}} 1.0" in scraped(), "the engine is up")
    eventually(
        lambda: f'cascade_task_seconds_count{{{who},task="audit"}}' in scraped(), "durations are there"
    )
    eventually(
        lambda: f'cascade_tasks_total{{{who},state="COMPLETED",task="audit"}}' in scraped(),
        "totals are there",
    )
    engine.kill()
    eventually(
        lambda: "cascade_broker_up 1.0" in scraped() and who not in scraped(), "its series have vanished"
    )


def test_a_wrong_address_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No port, or one that is taken: one line says what to write, before the broker is asked."""
    command = ["collect", "--to", str(tmp_path / "runs.sqlite"), "--broker", "mqtt://127.0.0.1:9"]
    assert main([*command, "--prometheus", "9464"]) == 2
    assert "'9464' is not an address and a port, such as 127.0.0.1:9464" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main([*command, "--prometheus", f"127.0.0.1:{taken.getsockname()[1]}"]) == 2
    problem = "cannot be opened: Address already in use; choose another for --prometheus"
    assert problem in capsys.readouterr().err
