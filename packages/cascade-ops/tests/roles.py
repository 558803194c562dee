"""Who may do what under the rules of ``cascade acl``: a table, and a client that finds it out at a broker."""

import contextlib
import io
import json
import re
import threading
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cascade.cli import main
from cascade.interfaces.access import Roles
from cascade.testkit.brokers import Broker
from cascade.testkit.waiting import busyness
from testing_tools.engines import eventually

PASSWORD = "s3cret"
ROLES = Roles(
    engines={"press-3": "default"},
    operators=("ann",),
    leads={"bob": "etl"},
    observers=("wall",),
    collectors=("c1",),
    requesters={"hmi": ("audit",)},
    gates=("site/power", "/site//plug.1/"),
)
USERS = ("press-3", "ann", "bob", "wall", "c1", "hmi", "stranger")
VIEWERS = {"ann", "bob", "wall", "c1"}

# By topic: who may write, and who may read it.
MATRIX: dict[str, tuple[set[str], set[str]]] = {
    "cascade/status/press-3": ({"press-3"}, {"press-3", "hmi"} | VIEWERS),
    "cascade/status/press-4": (set(), {"hmi"} | VIEWERS),
    "cascade/state/press-3/runs": ({"press-3"}, {"press-3"} | VIEWERS),
    "cascade/state/press-4/runs": (set(), VIEWERS),
    "cascade/sync/press-3/nonce": ({"press-3"}, {"press-3", "ann"}),
    "cascade/sync/press-4/@canary": (set(), {"ann"}),
    "cascade/sync/wall/nonce": ({"wall"}, {"wall", "ann"}),
    "cascade/telemetry/local/default/9a81/events": ({"press-3"}, {"ann", "wall", "c1"}),
    "cascade/telemetry/local/default/9a81/progress": ({"press-3"}, {"ann", "wall", "c1"}),
    "cascade/telemetry/local/etl/9a81/events": (set(), VIEWERS),
    "cascade/constraints/global/@pause": ({"ann"}, {"press-3"} | VIEWERS),
    "cascade/constraints/global": ({"ann"}, {"press-3"} | VIEWERS),
    "cascade/constraints/project/etl/@pause": ({"ann", "bob"}, {"press-3"} | VIEWERS),
    "cascade/constraints/project/default/@pause": ({"ann"}, {"press-3"} | VIEWERS),
    "cascade/constraints/run/9a81/@cancel": ({"ann"}, {"press-3"} | VIEWERS),
    "cascade/constraints/task/a*/@concurrency": ({"ann"}, {"press-3"} | VIEWERS),
    "cascade/constraints/source/press-3/@pause": ({"ann"}, {"press-3"} | VIEWERS),
    "cascade/constraints/workflow/audit/@pause": ({"ann"}, {"press-3"} | VIEWERS),
    "cascade/constraints/@store": ({"ann"}, {"press-3"} | VIEWERS),
    "cascade/ack/press-3": ({"c1"}, {"press-3"} | VIEWERS),
    "cascade/ack/press-4": ({"c1"}, VIEWERS),
    "cascade/state/press-3/workflows": ({"press-3"}, {"press-3", "hmi"} | VIEWERS),
    "cascade/requests/press-3/audit": ({"hmi"}, {"press-3", "ann"}),
    "cascade/requests/press-3/other": (set(), {"press-3", "ann"}),
    "cascade/requests/press-4/audit": ({"hmi"}, {"ann"}),
    "cascade/requests/@all/audit": ({"hmi"}, {"press-3", "ann"}),
    "cascade/responses/press-3/7": ({"press-3"}, {"hmi", "ann"}),
    "cascade/responses/press-4/7": (set(), {"hmi", "ann"}),
    "cascade/leases/hall-2": ({"press-3"}, {"press-3", "ann"}),
    "site/power": (set(), {"press-3"}),
    "/site//plug.1/": (set(), {"press-3"}),
    "site/level": (set(), set()),
    "elsewhere": (set(), set()),
}


def printed_rules(roles: Roles, *options: str) -> list[str]:
    """The lines that ``cascade acl`` prints for these roles; each password of a nats-server is PASSWORD."""
    parted = (
        ("--engine", [f"{name}={project}" for name, project in roles.engines.items()]),
        ("--operator", roles.operators),
        ("--lead", [f"{name}={project}" for name, project in roles.leads.items()]),
        ("--observer", roles.observers),
        ("--collector", roles.collectors),
        ("--requester", [f"{name}={each}" for name, names in roles.requesters.items() for each in names]),
        ("--gate", roles.gates),
    )
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert (
            main(["acl", *options, *(word for name, users in parted if users for word in (name, *users))])
            == 0
        )
    return re.sub(r"\$PASSWORD_\w+", json.dumps(PASSWORD), out.getvalue()).splitlines()


def nats_rules(roles: Roles, *others: str) -> list[str]:
    """The printed rules of a nats-server, with further users who may do everything, and a minute to log in."""
    lines = printed_rules(roles, "--for", "nats")
    lines[2:2] = [f'    {{ user: "{user}", password: "{PASSWORD}" }}' for user in others]
    lines[-1:-1] = ["  timeout: 60"]  # a busy machine takes longer than the 2 s of the server
    return lines


NOTHING = 'permissions: { publish: { deny: ">" }, subscribe: { deny: ">" } }'
"""What a user of a nats-server without any right has."""

RUN = """
import asyncio, json, sys
import cascade as cs

@cs.task
async def one(x: int) -> int:
    await cs.checkpoint(done=x, total=3)
    cs.publish("temperature", {"celsius": 21.5})
    return x

async def main():
    connector = cs.connector(sys.argv[1], source_id="press-3", protocol="5", connect_timeout=50, required=True)
    async with connector:
        value = await cs.Engine(connector=connector, require_control=True, logs="INFO").run(one.map(x=[1, 2, 3]))
        assert await connector.flush(50)
        dropped = {why: n for why, n in connector.statistics().dropped.items() if why != "superseded"}
        print(json.dumps({"value": value, "dropped": dropped}))

asyncio.run(main())
"""
"""A program whose run uses every kind of message."""


class Client:
    """One user's connection: what it may read by the broker's answers, what arrives, and whether the link was cut."""

    def __init__(
        self, broker: Broker, user: str, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311
    ) -> None:
        self.user = user
        self.received: set[tuple[str, bytes]] = set()
        self.readable: set[str] = set()
        self.cuts = 0
        self._sent: set[int] = set()
        self._acknowledged: set[int] = set()
        self._asked: dict[int, str] = {}
        self._answered: dict[int, int] = {}
        self._ended = False
        self._connected = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"client-{user}", protocol=version)
        self._client.username_pw_set(user, PASSWORD)
        self._client.max_inflight_messages_set(1_000)
        self._client.on_connect = lambda *_: self._connected.set()
        self._client.on_message = self._take
        self._client.on_publish = lambda client, data, mid, *rest: self._acknowledged.add(mid)
        self._client.on_subscribe = lambda client, data, mid, codes, *rest: self._answered.update(
            {mid: codes[0].value}
        )
        self._client.on_disconnect = self._count_cut
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        assert self._connected.wait(40 * busyness()), user

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self, *filters: str) -> None:
        """Subscribe to each filter alone; wait for the answers."""
        for each in filters:
            _, number = self._client.subscribe(each, 1)
            assert number is not None
            self._asked[number] = each
        eventually(lambda: self._asked.keys() <= self._answered.keys(), f"{self.user}: SUBACK")
        self.readable = {each for number, each in self._asked.items() if self._answered[number] < 0x80}

    def publish(self, topic: str, payload: str, qos: int, *, retain: bool) -> None:
        """Publish, and do not wait."""
        self._sent.add(self._client.publish(topic, payload, qos, retain).mid)

    def settle(self) -> None:
        """Wait until the broker has answered everything."""
        eventually(lambda: self._sent <= self._acknowledged, f"{self.user}: everything is acknowledged")

    def _take(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        self.received.add((message.topic, bytes(message.payload)))

    def _count_cut(self, *_: object) -> None:
        self.cuts += not self._ended
