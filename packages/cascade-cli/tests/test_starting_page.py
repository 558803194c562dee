"""The page about other programs that start a workflow is true: its messages are sent, and answered as it shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from cascade.interfaces.topics import parse_request_topic, parse_response_topic
from cascade.testkit import eventually as until
from cascade.testkit.brokers import Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import busyness
from cascade.wire.requests import parse_request
from testing_tools.engines import CASCADE, Plant, eventually
from testing_tools.page_examples import examples

FOLDER = Path(__file__).parents[1]
PAGE = (FOLDER / "STARTING.md").read_text("utf-8")
JOB = re.findall(
    r"^```python\n(.*?)^```", (FOLDER / "SERVICE.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)[-1]
TOPIC = "cascade/requests/press-line-3/audit"
Ask = Callable[[str], str]


def block(kind: str) -> str:
    """The one block of a kind on the page."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def serve(folder: Path, url: str, *options: str) -> subprocess.Popen[bytes]:
    """Start the service of the page before, with steps that take no time."""
    (folder / "audit.py").write_text(JOB.replace("time.sleep(0.05)", "time.sleep(0)"))
    return subprocess.Popen(
        [*CASCADE, "serve", "audit.py", "--name", "press-line-3", "--broker", url, *options],
        cwd=folder,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Run a line of the page beside the service; the settings of mosquitto's tools name the broker, and queued runs end."""
    require_mosquitto()
    if shutil.which("mosquitto_rr") is None:
        message = "mosquitto_rr is not installed: apt-get install mosquitto-clients"
        pytest.fail(message, pytrace=False) if os.environ.get("CI") else pytest.skip(message)
    folder = tmp_path_factory.mktemp("service")
    with Mosquitto() as broker, Plant(broker) as plant:
        (folder / "mosquitto_rr").write_text(f"-h {broker.host}\n-p {broker.port}\n-W 60\n")
        service = serve(folder, broker.url, "--state", "runs", "--overlap", "queue")
        eventually(
            lambda: [row for row in plant.json("workflows") if row["accepting"]],
            "the service offers its workflow",
        )

        def run(line: str) -> str:
            done = subprocess.run(
                shlex.split(line),
                env=os.environ | {"XDG_CONFIG_HOME": str(folder)},
                timeout=100 * busyness(),
                check=True,
                capture_output=True,
                text=True,
            )
            return done.stdout

        yield run
        service.send_signal(signal.SIGTERM)
        service.wait(100 * busyness())


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_each_example_is_answered_as_the_page_shows(ask: Ask) -> None:
    """In their order; ``...`` stands for anything."""
    for line, shown in examples(PAGE):
        pattern = re.escape("\n".join(shown).strip()).replace(r"\.\.\.", ".*")
        assert re.fullmatch(pattern, (printed := ask(line).strip())), (line, printed)


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize("payload", re.findall(r"^\| `(\{.*?\})` \|", PAGE, re.MULTILINE))
def test_each_payload_of_the_table_is_taken(payload: str, ask: Ask) -> None:
    """One with a time that has passed by now is refused as expired."""
    assert parse_request(payload.encode())
    id_ = json.loads(payload).get("id")
    expected = f"cascade/responses/press-line-3/{id_ or 'desk'}"
    answer = json.loads(ask(f"mosquitto_rr -q 1 -t {TOPIC} -e {expected} -m {shlex.quote(payload)}"))
    assert answer.get("code") in ("expired" if "expires_at" in payload else None, None), answer


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_the_flow_of_node_red_asks_and_sorts_the_answers(ask: Ask) -> None:
    """Its wires lead to nodes; what it publishes is accepted, and its rules find what the service says."""
    nodes = {node["id"]: node for node in json.loads(block("json"))}
    for node in nodes.values():
        assert {target for wire in node.get("wires", ()) for target in wire} <= nodes.keys()
        assert node.get("z", "cascade.start") == "cascade.start"
    kinds = {node["type"]: node for node in nodes.values()}
    out, heard, switch = kinds["mqtt out"], kinds["mqtt in"], kinds["switch"]
    assert (out["qos"], out["retain"]) == ("1", "false")
    assert parse_request_topic(out["topic"]) == ("press-line-3", "audit")
    assert parse_response_topic(heard["topic"].replace("+", "x")) == ("press-line-3", "x")
    request = json.loads(kinds["inject"]["payload"])
    assert kinds["inject"]["props"][1]["p"] == "payload.id"
    for params, status in ((request["params"], "ended"), ({"number": "many"}, "refused")):
        content = {**request, "id": f"node-red-{status}", "params": params}
        answer = json.loads(
            ask(
                f"mosquitto_rr -q 1 -t {out['topic']} -e cascade/responses/press-line-3/{content['id']} "
                f"-m {shlex.quote(json.dumps(content))}"
            )
        )
        (output,) = [
            wire
            for rule, wire in zip(switch["rules"], switch["wires"], strict=True)
            if rule["v"] == answer["status"]
        ]
        assert nodes[output[0]]["name"].lower() == status
    assert switch["property"] == "payload.status"


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_home_assistants_action_starts_the_workflow(ask: Ask) -> None:
    """With what its template makes of the date."""
    text = block("yaml")
    (topic,), (payload,) = re.findall(r"topic: (\S+)", text), re.findall(r"payload: '(.*)'", text)
    payload = payload.replace("{{ now().date() }}", "2026-11-25")
    assert "{{" not in payload
    answer = json.loads(
        ask(
            f"mosquitto_rr -q 1 -t {topic} -e cascade/responses/press-line-3/{json.loads(payload)['id']} -m {shlex.quote(payload)}"
        )
    )
    assert (answer["status"], answer["run_id"]) == ("accepted", "audit~shift-2026-11-25")


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
async def test_a_request_of_nats_gets_its_answer(tmp_path: Path) -> None:
    """The arguments of the page's line, sent by NATS's own library."""
    *_, subject, payload = shlex.split(block("sh"))
    with NatsServer() as server:
        service = serve(tmp_path, server.nats_url)
        client = await nats.connect(server.nats_url)
        try:

            async def asked() -> Any:
                try:
                    return await client.request(subject, payload.encode(), timeout=2)
                except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                    # it does not listen yet; the same id asks again without harm
                    return None

            answer = json.loads((await until(asked)).data)
            assert (answer["id"], answer["value"]) == ("part-4714", "52 of 60 parts are good")
        finally:
            await client.close()
            service.kill()
            service.wait()
