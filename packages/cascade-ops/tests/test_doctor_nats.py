"""``cascade doctor`` over the protocol of NATS, on real servers: it names each problem with its remedy, and invents none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import nats
import pytest
from paho.mqtt import publish

from cascade.cli import main
from cascade.testkit.brokers import NatsServer
from testing_tools.engines import PASSWORD

pytestmark = [
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.usefixtures("quick_doctor", "patient_with_nats"),
]

Doctor = Callable[..., tuple[int, set[str], set[str]]]
OPEN = {"no_rules"}


def users(*each: str) -> str:
    """The line with the users of a server."""
    return f"authorization {{ users: [ {', '.join(each)} ] }}"


def ask(server: NatsServer, what: str, request: dict[str, Any]) -> None:
    """Have another program call JetStream's API."""

    async def call() -> None:
        client = await nats.connect(server.nats_url)
        answer = await client.request(f"$JS.API.{what}", json.dumps(request).encode(), timeout=60)
        await client.close()
        assert "error" not in json.loads(answer.data)

    asyncio.run(call())


def make_bucket(server: NatsServer, **settings: Any) -> None:
    """Make the bucket as another program, or an older server, does."""
    config = {"name": "KV_cascade", "subjects": ["$KV.cascade.>"], "max_msgs_per_subject": 1}
    ask(server, "STREAM.CREATE.KV_cascade", {**config, "allow_rollup_hdrs": True, **settings})


@pytest.mark.full
def test_nothing_is_wrong_with_a_good_server(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing stays behind; the lines name what NATS has."""
    with NatsServer() as server:
        assert doctor(server.nats_url) == (0, set(), OPEN)
        assert doctor(server.nats_url, "--probe-write") == (0, set(), OPEN)
        assert main(["doctor", "--broker", server.nats_url]) == 0
        out = capsys.readouterr().out
        assert "linked: NATS" in out
        assert "retained messages: 30 of 30, in order" in out
        assert main(["constraints", "--broker", server.nats_url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == []


def remedy_of(capsys: pytest.CaptureFixture[str], url: str, name: str) -> str:
    """Run the command; return what to do about a finding."""
    main(["doctor", "--broker", url, "--json"])
    found = json.loads(capsys.readouterr().out)
    (remedy,) = [
        each["remedy"] for key in ("problems", "warnings") for each in found[key] if each["name"] == name
    ]
    return str(remedy)


@pytest.mark.full
def test_a_server_without_jetstream_is_named(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, and not by what follows from it: that nothing is retained, and that a constraint is refused."""
    with NatsServer(jetstream=False) as server:
        assert doctor(server.nats_url, "--probe-write") == (1, {"no_jetstream"}, OPEN)
        assert "start it with -js" in remedy_of(capsys, server.nats_url, "no_jetstream")


@pytest.mark.full
def test_missing_rights_are_named(
    doctor: Doctor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For JetStream, for its answers, for the telemetry of the project, and for subscriptions, as subjects."""
    rights = {
        "a": '{ publish: ["cascade.>"], subscribe: ["cascade.>", "_INBOX.>"] }',
        "b": '{ publish: [">"], subscribe: ["cascade.>"] }',
        "c": '{ publish: { deny: ["cascade.telemetry.>"] } }',
        "d": '{ subscribe: { deny: ["cascade.status.*"] } }',
    }
    lines = users(
        *(
            f'{{ user: "{user}", password: "{PASSWORD}", permissions: {each} }}'
            for user, each in rights.items()
        )
    )
    monkeypatch.setenv("CASCADE_NATS_PASSWORD", PASSWORD)
    with NatsServer(lines=[lines]) as server:
        urls = {user: server.nats_url.replace("://", f"://{user}@") for user in rights}
        for user in "ab":
            assert doctor(urls[user]) == (1, {"jetstream_denied"}, OPEN), user
            remedy = remedy_of(capsys, urls[user], "jetstream_denied")
            assert (
                "allow it to publish to $JS.API.> and $KV.cascade.>, and to subscribe to _INBOX.>" in remedy
            )
        assert doctor(f"{urls['c']}?source_id=c") == (0, set(), OPEN)
        code, problems, warnings = doctor(urls["d"])
        assert (code, problems, warnings & {"read_denied"}) == (0, set(), {"read_denied"})
        assert remedy_of(capsys, urls["d"], "read_denied") == 'add the rule: subscribe: "cascade.status.*"'


@pytest.mark.full
@pytest.mark.parametrize(
    "settings", [{"max_age": 60_000_000_000}, {"subjects": ["$KV.cascade.>", "x.y"]}], ids=["age", "subjects"]
)
def test_a_bucket_of_another_program_is_named(
    settings: dict[str, Any], doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the settings, and how to delete it."""
    with NatsServer() as server:
        make_bucket(server, **settings)
        assert doctor(server.nats_url) == (1, {"foreign_bucket"}, OPEN)
        assert "nats kv del cascade" in remedy_of(capsys, server.nats_url, "foreign_bucket")


@pytest.mark.full
def test_credentials_that_are_refused_are_named(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token is never shown, also not one that a URL of the environment holds; with the right one nothing is wrong."""
    with NatsServer(lines=[f'authorization {{ token: "{PASSWORD}" }}']) as server:
        assert doctor(server.nats_url) == (3, {"login"}, set())
        assert "CASCADE_NATS_PASSWORD" in remedy_of(capsys, server.nats_url, "login")
        monkeypatch.setenv("CASCADE_NATS_TOKEN", "wrong")
        assert doctor(server.nats_url) == (3, {"login"}, set())
        monkeypatch.delenv("CASCADE_NATS_TOKEN")
        monkeypatch.setenv("CASCADE_BROKER", server.nats_url.replace("://", f"://{PASSWORD}@"))
        assert main(["doctor"]) == 0
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        assert "linked: NATS" in out


@pytest.mark.full
@pytest.mark.parametrize(
    ("topic", "text", "expected"),
    [
        ("cascade/constraints/global/@pause", '{"type": "pause"}', {"two_networks"}),
        ("cascade/status/press-3", '{"status": "online", "session": "s"}', {"two_networks"}),
        ("plant/1/temperature", "21.5", set()),
    ],
)
@pytest.mark.wrong_messages("a presence that no engine has", "cascade/status/+")
def test_engines_of_mqtt_in_the_same_account_are_named(
    topic: str, text: str, expected: set[str], doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their retained messages are not in the bucket; those of other programs do not concern Cascade."""
    with NatsServer() as server:
        publish.single(topic, text, 1, retain=True, hostname=server.host, port=server.port)
        assert doctor(server.nats_url) == (0, set(), OPEN | expected)
        if expected:
            assert "the same protocol" in remedy_of(capsys, server.nats_url, "two_networks")
