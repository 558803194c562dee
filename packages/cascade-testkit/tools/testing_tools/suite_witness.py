"""The tests' side of their witness: the process that hears the brokers that they start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from cascade.testkit.brokers import Broker
from testing_tools import heard_brokers
from testing_tools.mqtt_packets import Publication
from testing_tools.wire_links import Heard
from testing_tools.wire_rules import Deliveries

PROGRAM = "testing_tools.wire_witness"
TOOLS = str(Path(__file__).parents[1])
UNHEARD = "(no topic)"
"""The topic of a problem that concerns no message: a broker that the witness cannot hear."""
Problem = tuple[str, str]
"""A topic, and what is wrong with a message there."""


class SuiteWitness:
    """Has every broker heard that this process starts; ``stop()`` ends the process that does it."""

    def __init__(self) -> None:
        self.test = ""
        """The latest test that has ended."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._numbers: dict[int, tuple[int, Broker]] = {}
        self._last = 0
        self._unheard: list[Problem] = []
        self._odd: WeakKeyDictionary[object, Deliveries] = WeakKeyDictionary()
        self._routed: deque[tuple[object, Heard]] = deque()

    def start(self) -> None:
        """Begin to see brokers; the process starts with the first of them."""
        heard_brokers.set_witness(self)

    def stop(self) -> None:
        """Stop hearing brokers, and end the process."""
        heard_brokers.set_witness(None)
        process, self._process = self._process, None
        if process is not None:
            process.communicate()

    def prepare(self) -> None:
        """Start the process, so that no test is the one that opens its pipes."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, [TOOLS, os.environ.get("PYTHONPATH")])),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is not for it: its pipe ends with the tests
            )

    def configuration(self, broker: Broker, text: str) -> str:
        return heard_brokers.configuration(broker, text)

    def started(self, broker: Broker) -> None:
        if (wanted := heard_brokers.heard_at(broker)) is not None:
            with self._lock:
                number, _ = self._numbers.get(id(broker), (self._last + 1, None))
                self._last = max(self._last, number)
                self._numbers[id(broker)] = (number, broker)
            if not self.listen(number, wanted, broker):
                self._numbers.pop(id(broker), None)

    def ended(self, broker: Broker) -> None:
        with self._lock:
            known = self._numbers.pop(id(broker), None)
        if known is not None:
            self._ask({"leave": known[0]})

    def routed(self, broker: object, message: Publication) -> None:
        self._routed.append((broker, Heard(message.topic, message.payload, message.qos, message.retain)))

    def listen(self, number: int, wanted: dict[str, Any], broker: object) -> bool:
        """Have a broker heard; that this cannot be is a problem, and tried once."""
        answer = self._ask({"listen": wanted, "number": number})
        if "problem" in answer:
            self._unheard.append((UNHEARD, f"{broker!r} is not heard: {answer['problem']}"))
        return "problem" not in answer

    def listen_at(self, port: int, *, host: str = "127.0.0.1") -> None:
        """Have an MQTT broker heard that the kit has not started; nothing needs to be done when it ends."""
        with self._lock:
            self._last += 1
        wanted = {"network": "mqtt", "host": host, "port": port}
        if "problem" in self._ask({"listen": wanted, "number": self._last}):
            self.listen(self._last, wanted | {"version": 4}, f"the broker on port {port}")

    def collect(self) -> list[Problem]:
        """Return what was wrong since the last call, of all that brokers had delivered before this one."""
        found, self._unheard = self._unheard, []
        found += self._odd_problems()
        if self._process is not None:
            with self._lock:
                known = list(self._numbers.values())
            awake = {number: broker for number, broker in known if _awake(broker)}
            answer = self._ask({"awake": list(awake)})
            found += [(topic, problem) for topic, problem in answer["found"]]
            for number in awake.keys() - set(answer["heard"]):
                self.listen(number, heard_brokers.heard_at(awake[number]) or {}, awake[number])
        return found

    def _odd_problems(self) -> list[Problem]:
        found: dict[Problem, None] = {}
        while self._routed:
            broker, heard = self._routed.popleft()
            if heard.topic.startswith("cascade/"):
                rules = self._odd.setdefault(broker, Deliveries())
                found.update({(heard.topic, problem): None for problem in rules.problems(heard)})
        return list(found)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.prepare()
            process = self._process
            assert process is not None
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if not answer:
            raise RuntimeError("the witness of the suite has ended")
        found: dict[str, Any] = json.loads(answer)
        return found


def _awake(broker: Broker) -> bool:
    """Whether a broker can answer: a frozen one does not."""
    try:
        status = Path(f"/proc/{broker.pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return broker.running
    return status.rpartition(")")[2].split()[0] != "T"
