"""``cascade watch`` and ``cascade collect`` as users of the generated rules: what their role permits is enough."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from roles import PASSWORD, ROLES, RUN, Client
from test_acl import guarded

from cascade.interfaces.access import Rule, permits, rules
from cascade.testkit.brokers import Mosquitto
from testing_tools.engines import eventually
from testing_tools.patient import PATIENT

PROBE = json.dumps(
    {"v": "1.0", "ts": "2026-11-21T03:00:20+00:00", "run_id": "probe", "org_id": "local", "project_id": "default",
     "source": "probe", "seq": 0, "token": "c41e07d2", "event_id": "probe-c41e07d2-0", "body": {"type": "LifecycleEvent", "event": "ENGINE_STARTED"}}
)  # fmt: skip
__all__ = ["guarded"]  # the fixture: a mosquitto with the rules


def test_watch_and_collect_need_no_other_rule() -> None:
    """Pure: an observer may read what ``watch`` subscribes to; a collector may acknowledge, and write nothing else."""
    found: list[Rule] = rules(ROLES)
    for topic in (
        "cascade/telemetry/local/default/r/events",
        "cascade/state/press-3/runs",
        "cascade/constraints/global",
    ):
        assert permits(found, "wall", "read", topic)
        assert permits(found, "c1", "read", topic)
    assert [each.topic_filter for each in found if (each.user, each.verb) == ("c1", "write")] == [
        "cascade/sync/c1/+",
        "cascade/ack/+",
    ]


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_an_observer_watches_and_a_collector_stores_and_acknowledges(
    guarded: Mosquitto, tmp_path: Path
) -> None:
    """A whole run of an engine; the collector's file has each of its events, and its acknowledgement is accepted."""
    environment = {**os.environ, "CASCADE_MQTT_PASSWORD": PASSWORD}

    def url(user: str) -> str:
        return guarded.url.replace("://", f"://{user}@")

    path = tmp_path / "events.sqlite"
    collect = subprocess.Popen(
        [*PATIENT, "collect", "--to", str(path), "--ack", "--name", "c1", "--broker", url("c1")],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:

        def types() -> list[str]:
            if not path.exists():
                return []
            with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
                rows = connection.execute("SELECT payload FROM event WHERE kind = 'events' ORDER BY seq")
                return [json.loads(row[0])["body"].get("event", "") for row in rows]
            return []  # the file has no table yet

        with Client(guarded, "witness", MQTTProtocolVersion.MQTTv311) as witness:

            def probed() -> bool:
                witness.publish("cascade/telemetry/local/default/probe/events", PROBE, 1, retain=False)
                return types() != []

            eventually(probed, "the collector has subscribed")
        done = subprocess.run(
            [sys.executable, "-c", RUN, url("press-3")],
            capture_output=True, text=True, check=True, timeout=120, env=environment,
        )  # fmt: skip
        assert json.loads(done.stdout) == {"value": [1, 2, 3], "dropped": {}}

        eventually(lambda: "ENGINE_STOPPED" in types(), "the run's last event is stored")
        watched = subprocess.run(
            [*PATIENT, "runs", "--json", "--broker", url("wall")],
            env=environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        (run,) = json.loads(watched.stdout)
        until = [*PATIENT, "watch", "--until-done", run["run_id"], "--json", "--broker", url("wall")]
        ended = subprocess.run(
            until, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert (ended.returncode, ended.stderr) == (0, f"run {run['run_id']} succeeded\n")
    finally:
        collect.send_signal(signal.SIGTERM)
        _, err = collect.communicate(timeout=60)
    assert (collect.returncode, err) == (143, "")
