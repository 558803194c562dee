"""Messages of any kind on any topic of the wire, and a client that publishes them."""

import copy
import itertools
import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from cascade.testkit.brokers import Broker

WALL = 1_800_000_000.0
RUN = "fuzzed"
CONTROL = [
    f"cascade/constraints/{scope}{kind}"
    for scope in ("global", "project/default", "source/press", "source/other", "task/*", "run/other")
    for kind in ("", "/@pause", "/@concurrency", "/@rate_limit", "/@quota", "/@", "/x/y")
] + ["cascade/constraints/@store", "cascade/constraints/", "cascade/constraints/global//@pause"]
OTHERS = [
    "cascade/status/press",
    "cascade/status/\u2603",
    "cascade/state/press/runs",
    "cascade/state/press/constraints",
    "cascade/state/ghost/graph",
    "cascade/state/ghost/host",
    "cascade/state/ghost/summary",
    "cascade/sync/press/@canary",
    "cascade/sync/press/nonce",
    "cascade/ack/press",
    f"cascade/telemetry/local/default/{RUN}/events",
    "cascade/telemetry/local/default/other/events",
    "cascade/telemetry/local/default/other/data",
    "cascade/telemetry/local/default/other/logs",
    "cascade/telemetry/local/default/other/progress",
]
# Valid messages; each mutation changes a part of one. None cancels: that would end the run by right.
SEEDS: list[dict[str, Any]] = [
    {"id": "x", "scope": "global", "type": "pause", "params": {}, "expires_at": None},
    {"id": "x", "scope": "task:*", "type": "concurrency", "params": {"limit": 1}, "expires_at": WALL},
    {"type": "rate_limit", "params": {"rate": "10/m", "capacity": 2}},
    {"status": "online", "session": "s", "ts": "2026-11-21T03:00:20+00:00", "pid": 7, "host": "h", "version": "1"},
    {"v": "1.0", "source": "press", "session": "s", "presence": "s", "sync": "synced", "effective": [],
     "applied": {"cascade/constraints/global/@pause": {"id": "x", "status": "applied"}}, "in_scope_running": 1},
    {"v": "1.0", "source": "press", "session": "s", "org_id": "local", "project_id": "default", "paused": False,
     "runs": [{"run_id": "r", "target": "t", "started": "2026-11-21T03:00:20+00:00", "counts": {"RUNNING": 2},
               "known": 3, "open": True, "eta_s": 4.5, "waiting": [{"why": "slot", "n": 1}],
               "running": [{"task_id": "a", "task_name": "a", "since": "2026-11-21T03:00:20+00:00", "done": 1}]}],
     "recent": [{"run_id": "q", "target": "t", "status": "Failed", "error": "E", "counts": {"FAILED": 1}}]},
    {"v": "1.0", "ts": "2026-11-21T03:00:20+00:00", "run_id": "other", "org_id": "local", "project_id": "default",
     "source": "press", "seq": 1, "token": "c41e07d2", "event_id": "other-c41e07d2-1",
     "body": {"type": "TaskStateEvent", "task_id": "t", "task_name": "t", "state": "RUNNING", "duration_ms": 0.0}},
    {"up": 1, "runs": 1, "running": 4, "waiting": 6, "paused": False, "last_status": "Succeeded"},
    {"source": "press", "collector": "c", "runs": {"r": {"c41e07d2": 5}}},
]  # fmt: skip
ODD: list[Any] = [
    None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**400, "", "x" * 300, "[red]\x1b]0;y", "\ud800", "\u202e",
    [], {}, [[[]]], {"": {}}, "NaN", "1/0", "10/m", "9999999/s", 2**63, "0001-01-01", "9999-12-31T23:59:59.999999",
]  # fmt: skip
BYTES = [b"", b"{", b"{}", b"[]", b"null", b"NaN", b"\xff\xfe", b'{"type":', b"[" * 60_000, b"9" * 5_000,
         b'{"type":"pause","type":"pause"}', b'{"type":"pause"}\0', b" " * 70_000]  # fmt: skip


def messages(seed: int, count: int, topics: list[str]) -> Iterator[tuple[str, bytes]]:
    """Messages on topics: valid ones in which a part was changed, and bytes of any kind; the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        topic, kind = chance.choice(topics), chance.random()
        if kind < 0.1:
            yield topic, chance.choice(BYTES)
        elif kind < 0.2:
            yield topic, chance.randbytes(chance.randrange(40))
        else:
            made = copy.deepcopy(chance.choice(SEEDS))
            for _ in range(chance.randrange(3)):
                _mutate(made, chance)
            text = json.dumps(made).encode("utf-8", "surrogatepass")
            yield topic, text[: chance.randrange(len(text))] if kind > 0.9 else text


def _mutate(part: Any, chance: random.Random) -> None:
    """Change one value, somewhere in nested objects and lists."""
    while True:
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        if not keys:
            return
        key = chance.choice(keys)
        inner = part[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            part = inner
            continue
        if isinstance(part, dict) and chance.random() < 0.2:
            part[str(chance.choice(ODD))[:20]] = inner
        else:
            part[key] = copy.deepcopy(chance.choice(ODD))
        return


def send(broker: Broker, seed: int, control: int, others: int) -> None:
    """Publish hostile messages, then clear every topic that holds one; return when the broker has acknowledged it."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.max_inflight_messages_set(200)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        assert connected.wait(40)
        last = None
        topics = [each for each in CONTROL if "//" not in each]
        hostile = itertools.chain(messages(seed, control, topics), messages(seed + 1, others, OTHERS))
        for number, (topic, payload) in enumerate(hostile):
            last = client.publish(topic, payload, 1)
            if number % 1_000 == 999:  # paho queues a limited number
                last.wait_for_publish(300)
        for topic in (*CONTROL, *OTHERS):
            last = client.publish(topic, b"", 1, retain=True)
        assert last is not None
        last.wait_for_publish(300)
        assert last.is_published()
    finally:
        client.disconnect()
        client.loop_stop()
