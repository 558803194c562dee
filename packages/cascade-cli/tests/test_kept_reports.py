"""A run loses its broker and ends without it: what sends its events later also tells every screen how it ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade.cli.main import main
from cascade.runtime import Outbox
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.engines import PASSWORD, eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.full,
    pytest.mark.usefixtures("patient", "patient_with_nats"),
]

ENGINE = """
import asyncio, sys
import cascade as cs

@cs.task
def wait():
    sys.stdin.readline()

url, run_id, *outbox = sys.argv[1:]
link = cs.connector(url, source_id="press", drain_timeout=0.2)
settings = {"connector": link, "run_id": run_id, "outbox": outbox[0] if outbox else None}

async def stay():
    async with link:
        await cs.arun(wait(), **settings)
        print("ended", flush=True)
        await asyncio.sleep(600)

asyncio.run(stay()) if outbox[1:] else cs.run(wait(), **settings)
"""


class Plant:
    """A broker that can be killed, an outbox, and processes of one name."""

    def __init__(self, broker: Broker, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.broker, self.folder, self._capsys = broker, folder, capsys
        self.url = broker.nats_url if isinstance(broker, NatsServer) else broker.url

    @contextlib.contextmanager
    def engine(self, run_id: str, *, outbox: bool = True, killed: bool = False) -> Iterator[None]:
        """Have a process run inside the context; then its run ends, and the process, or it stays connected until it is killed."""
        arguments = [self.url, run_id, *([str(self.folder)] if outbox else []), *(["stay"] if killed else [])]
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", ENGINE, *arguments], stdin=pipe, stdout=pipe) as process:
            if self.broker.running:
                eventually(lambda: self.statuses().get(run_id) == "Running", f"the report of {run_id}")
            yield
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            if killed:
                assert process.stdout.readline() == b"ended\n"
                process.kill()
        assert (process.returncode == 0) is not killed

    def lose_broker(self) -> None:
        """Kill the broker, which has stored what came before."""
        if isinstance(self.broker, Mosquitto):
            self.broker.save()
        self.broker.kill()

    def rows(self, *command: str) -> list[dict[str, Any]]:
        """Return what a command prints."""
        self._capsys.readouterr()
        assert main([*command, "--broker", self.url, "--json"]) == 0
        return list(json.loads(self._capsys.readouterr().out))

    def statuses(self) -> dict[str, str]:
        """Return what ``cascade runs`` shows now, the latest run first."""
        return {row["run_id"]: row["status"] for row in self.rows("runs")}

    def send(self, url: str = "", *, code: int = 0) -> str:
        """Send what the folder has; return what the command says."""
        self._capsys.readouterr()
        assert main(["outbox", "send", str(self.folder), "--broker", url or self.url]) == code
        return "".join(self._capsys.readouterr())


@pytest.fixture(params=[Mosquitto, NatsServer])
def plant(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Plant]:
    with request.param() as broker:
        yield Plant(broker, tmp_path / "events", capsys)


def test_who_sends_the_events_closes_the_row(plant: Plant) -> None:
    """Afterwards each command says that both runs succeeded and their engine ended; nothing is left in the folder."""
    with plant.engine("night-7"):
        plant.lose_broker()
    with plant.engine("night-8"):
        pass
    plant.broker.restart()
    assert plant.statuses().get("night-7") != "Succeeded"
    assert plant.send() == "all messages are sent\n"
    for row in (rows := plant.rows("runs")):
        assert (row["status"], row["counts"], row["ended"] is not None) == (
            "Succeeded",
            {"COMPLETED": 1},
            True,
        )
    assert [row["run_id"] for row in rows] == ["night-8", "night-7"]
    assert [(row["status"], row["runs"]) for row in plant.rows("ps")] == [("ended", 0)]
    assert not [*plant.folder.glob("*.db")]


def test_the_next_process_of_the_name_knows_how_the_runs_of_the_last_one_ended(plant: Plant) -> None:
    """It sends their events, and does not report as lost what its outbox has seen end; one without a broker passes it on."""
    with plant.engine("night-7"):
        plant.lose_broker()
    with plant.engine("night-8"):
        pass
    plant.broker.restart()
    with plant.engine("night-9"):
        pass
    assert plant.statuses() == {"night-9": "Succeeded", "night-8": "Succeeded", "night-7": "Succeeded"}
    assert not [*plant.folder.glob("*.db")]


def test_a_later_process_of_the_name_keeps_its_own_word(plant: Plant) -> None:
    """While it is online nothing is reported for it; after its end the earlier run is closed, and its own row stays."""
    with plant.engine("night-7"):
        plant.lose_broker()
    plant.broker.restart()
    with plant.engine("day-8", outbox=False):
        assert "send again when the process that is online as press has ended" in plant.send()
        assert plant.statuses()["day-8"] == "Running"
        assert plant.statuses().get("night-7") != "Succeeded"
    assert plant.send() == "all messages are sent\n"
    assert plant.statuses() == {"day-8": "Succeeded", "night-7": "Succeeded"}


def test_a_process_that_was_killed_after_its_run_is_lost_and_the_run_is_not(plant: Plant) -> None:
    """What it kept at the end of the run does not say that the process has ended, too."""
    with plant.engine("night-7", killed=True):
        plant.lose_broker()
    plant.broker.restart()
    assert plant.send() == "all messages are sent\n"
    assert plant.statuses() == {"night-7": "Succeeded"}
    assert [(row["status"], row["runs"]) for row in plant.rows("ps")] == [("lost", 0)]


def test_a_broker_that_has_lost_its_store_learns_of_a_run_that_never_had_a_link(plant: Plant) -> None:
    """The sender brings the whole report."""
    plant.broker.kill()
    with plant.engine("night-7"):
        pass
    plant.broker.restart(keep_store=False)
    assert plant.send() == "all messages are sent\n"
    assert plant.statuses() == {"night-7": "Succeeded"}


def porters(kind: type[Broker]) -> Broker:
    """Make a broker whose user ``porter`` may send the events of an engine, and no report; ``eye`` may only read."""
    if kind is Mosquitto:
        require_mosquitto()
        acl = ["user press", "topic readwrite #", "user porter", "topic readwrite cascade/sync/porter/+"]
        users = dict.fromkeys(("press", "porter", "eye"), PASSWORD)
        return Mosquitto(
            users=users,
            acl=[
                *acl,
                "topic readwrite cascade/telemetry/#",
                "topic read cascade/#",
                "user eye",
                "topic readwrite cascade/sync/eye/+",
                "topic read cascade/#",
            ],
            max_queued_messages=65_000,
        )
    denied = (
        'permissions: { publish: { deny: ["$KV.cascade.cascade.state.>", "$KV.cascade.cascade.status.>"] } }'
    )
    nothing = 'permissions: { publish: { deny: ["$KV.cascade.cascade.s*.>", "cascade.telemetry.>"] } }'
    lines = ["authorization {", "  users = [", f'    {{ user: "press", password: "{PASSWORD}" }}']
    return NatsServer(
        lines=[
            *lines,
            f'    {{ user: "porter", password: "{PASSWORD}", {denied} }}',
            f'    {{ user: "eye", password: "{PASSWORD}", {nothing} }}',
            "  ]",
            "}",
        ]
    )


@pytest.fixture(params=[Mosquitto, NatsServer])
def guarded(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Plant]:
    """Yield a plant whose broker has access rules, after a run of the user ``press`` that had no broker."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
    monkeypatch.setenv("CASCADE_NATS_PASSWORD", PASSWORD)
    with porters(request.param) as broker:
        plant = Plant(broker, tmp_path / "events", capsys)
        plant.url = plant.url.replace("://", "://press@")
        broker.kill()
        with plant.engine("night-7"):
            pass
        broker.restart()
        yield plant


def test_events_that_the_broker_refuses_wait_for_a_user_who_may_send_them(guarded: Plant) -> None:
    """A broker acknowledges with MQTT 3.1.1 what it drops, so the command uses MQTT 5, and loses no event of an engine."""
    waiting = Outbox(guarded.folder).senders()[0].waiting
    assert waiting
    said = guarded.send(guarded.url.replace("press@", "eye@"), code=1)
    assert f"{waiting} messages are left\n" in said
    assert "send as the user of the engine that wrote them" in said
    assert guarded.send() == "all messages are sent\n"
    assert guarded.statuses() == {"night-7": "Succeeded"}


def test_reports_that_the_broker_does_not_keep_stay_in_the_folder(guarded: Plant) -> None:
    """A user who may send events and no reports learns it, and does not take the reports away from one who may."""
    said = guarded.send(guarded.url.replace("press@", "porter@"), code=1)
    assert "`cascade runs` does not show how earlier runs of press ended: the broker does not let" in said
    assert guarded.statuses() == {}
    assert guarded.send() == "all messages are sent\n"
    assert guarded.statuses() == {"night-7": "Succeeded"}
