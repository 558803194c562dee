"""An ordinary MQTT client that steers a running engine; it needs paho and how Cascade spells its messages.

    python controller.py mqtt://localhost:1883 press-line-3 --rate 10/s --pause-at 50 --free-at 100

It publishes retained messages, and prints for each the line that a person would type, where
``type`` and ``params`` are enough, and what the engine reports. It ends with its standard input (Ctrl-D) or Ctrl-C, clears what it has
published, and prints its counts, as JSON, last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from view import Teller, Topics, View
from watcher import PORTS, Broker, Listener, Watcher, broker_of, say

from cascade.interfaces.steering import constraint_message, store_message
from cascade.interfaces.topics import STORE_TOPIC

PUBLISH_TIMEOUT = 5.0
REPORT_TIMEOUT = 10.0
SILENT = float("inf")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to the engine, and when."""

    rate: str
    pause_at: int
    """Tasks that have been started."""
    pause: float
    """Seconds."""
    free_at: int
    """Tasks that have been started."""


class Ended(Exception):
    """There is nothing more to steer."""


class Helm(Listener):
    """The link to the broker: publishes registers, passes on what the engine tells, clears up."""

    def __init__(self, broker: Broker, topics: Topics, *, forget: bool) -> None:
        super().__init__(broker, Watcher(every=SILENT), filters=topics.filters)
        self.view = View(topics)
        self.changed = threading.Condition()
        self.stopped = False
        self._topics = topics
        self._teller = Teller(topics)
        self._forget = forget
        self._held: list[str] = []
        self._linked = False
        self._store_named = False

    def ready(self) -> None:
        """Let the story begin."""
        with self.changed:
            self._linked = True
            self.changed.notify_all()

    def hear(self, topic: str, payload: bytes | bytearray) -> None:
        """Take an event or a report."""
        if topic == STORE_TOPIC:
            self._store_named = bool(payload)
            return
        if not topic.startswith("cascade/state/"):
            super().hear(topic, payload)
        elif line := self._teller.line(topic, payload, time.monotonic()):
            say(f"< {line}")
        with self.changed:
            if topic == self._topics.constraints:
                self.view.report(payload)
            elif not topic.startswith("cascade/state/"):
                self.view.event(payload)
            self.changed.notify_all()

    def name_store(self) -> None:
        """Give the broker's store an identity if it has none, as whoever steers first does; it stays.

        :raises RuntimeError: if the broker has not taken it in time.
        """
        self.catch_up()  # what is retained is here then
        if not self._store_named:
            self._publish(STORE_TOPIC, json.dumps(store_message()))

    def put(self, kind: str, **params: Any) -> None:
        """Set a register and wait until the broker has it.

        :raises RuntimeError: if it has not taken it in time.
        """
        topic = self._topics.register(kind)
        self._held.append(topic)
        self._publish(topic, json.dumps(constraint_message(self._topics.scope, kind, params)))

    def clear(self, kind: str) -> None:
        """Clear a register and wait until the broker has done so.

        :raises RuntimeError: if it has not in time.
        """
        topic = self._topics.register(kind)
        self._publish(topic, "")
        self._held.remove(topic)

    def typed(self, kind: str, **params: Any) -> str:
        """Return what a person types to set this register."""
        body = {"type": kind} | ({"params": params} if params else {})
        return self._typed("-t", self._topics.register(kind), "-m", json.dumps(body, separators=(",", ":")))

    def typed_to_clear(self, kind: str) -> str:
        """Return what a person types to clear this register."""
        return self._typed("-n", "-t", self._topics.register(kind))

    def wait_for(self, condition: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until it is true; return whether it is.

        :raises Ended: if the run has ended, or this program is to end, first.
        """
        with self.changed:
            self.changed.wait_for(lambda: condition() or self.stopped or self.view.over, timeout)
            if not condition() and (self.stopped or self.view.over):
                raise Ended
            return bool(condition())

    def wait_for_link(self) -> None:
        """Wait until the broker answers."""
        self.wait_for(lambda: self._linked)

    def stop(self) -> None:
        """End the story where it is."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def finish(self) -> dict[str, Any]:
        """Clear what is left, then end as every listener does."""
        left = [*self._held, *(self._topics.left_behind if self._forget and self._linked else ())]
        try:
            for topic in left:
                self._publish(topic, "")
        except (RuntimeError, ValueError) as error:
            say(f"could not be cleared ({error}): {' '.join(left)}")
        else:
            if left:
                say(f"cleared, so that nothing stays at the broker: {' '.join(left)}")
        return super().finish()

    def _publish(self, topic: str, text: str) -> None:
        """Publish a retained message and wait until the broker has it.

        :raises RuntimeError: if it has not taken it in time.
        """
        sent = self._client.publish(topic, text.encode(), qos=1, retain=True)
        sent.wait_for_publish(PUBLISH_TIMEOUT)
        if not sent.is_published():
            raise RuntimeError("the broker does not answer")

    def _typed(self, *words: str) -> str:
        return shlex.join(["mosquitto_pub", *self._options(), "-r", *words])

    def _options(self) -> list[str]:
        """Return the options with which mosquitto's clients find this broker."""
        broker = self._broker
        host = [] if broker.host == "localhost" else ["-h", broker.host]
        port = [] if broker.port == PORTS["mqtt"] else ["-p", str(broker.port)]
        tls = ["--tls-use-os-certs"] if broker.tls else []
        user = ["-u", broker.user, "-P", "..."] if broker.user else []
        return [*host, *port, *tls, *user]


class Story:
    """What a person at a terminal might do to a long run, step by step."""

    def __init__(self, helm: Helm, plan: Plan, topics: Topics) -> None:
        self.remarks: list[str] = []
        self._helm = helm
        self._view = helm.view
        self._plan = plan
        self._pause = topics.register("pause")
        self._window: tuple[float, float] | None = None
        self._thread = threading.Thread(target=self._run, name="story")

    def __enter__(self) -> Story:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._helm.stop()
        self._thread.join()

    def verdict(self) -> str:
        """Say whether the pause held, by all that has arrived."""
        if self._window is None:
            return "The run was not paused to the end: it ended before."
        count = self._view.starts_between(*self._window)
        begin, end = self._window
        which = "No task was" if count == 0 else f"{count:,} tasks were, which must not be,"
        return (
            f"{which} started in the {end - begin:.1f} s between the engine's report of the pause and its lifting: "
            f"{count} of {len(self._view.started):,} RUNNING events."
        )

    def _run(self) -> None:
        try:
            self._tell()
        except Ended:
            return
        except RuntimeError as error:
            say(f"steering ends here: {error}")

    def _tell(self) -> None:
        helm, view, plan = self._helm, self._view, self._plan
        helm.wait_for_link()
        helm.name_store()
        helm.put("rate_limit", rate=plan.rate)  # before a word is said, for whoever waits for one
        say(f"Slow down before it starts: {plan.rate}. The broker retains it for every engine of this name.")
        say(f"$ {helm.typed('rate_limit', rate=plan.rate)}")
        helm.wait_for(lambda: len(view.started) >= plan.pause_at)
        self._hold()
        helm.wait_for(lambda: view.applied_since(self._pause) is None)
        helm.wait_for(lambda: len(view.started) >= plan.free_at)
        say(f"{len(view.started):,} tasks were started. Now as fast as it can.")
        say(f"$ {helm.typed_to_clear('rate_limit')}")
        helm.clear("rate_limit")

    def _hold(self) -> None:
        """Pause, wait for the report, and lift it after a time, unless somebody else does."""
        helm, view = self._helm, self._view
        say(f"{len(view.started):,} tasks were started. Pause: what runs goes on, nothing else may start.")
        say(f"$ {helm.typed('pause')}")
        helm.put("pause")
        if not helm.wait_for(lambda: view.applied_since(self._pause), REPORT_TIMEOUT):
            raise RuntimeError("the engine does not report the pause; may this user publish to that topic?")
        since = view.applied_since(self._pause) or 0.0
        say(f"The engine says that the pause is applied. Wait {self._plan.pause:g} s.")
        if helm.wait_for(lambda: view.applied_since(self._pause) is None, self._plan.pause):
            say("Somebody else has lifted it.")
            return
        self._window = (since, time.time())
        count = view.starts_between(*self._window)
        say(f"{count} RUNNING events since that report. Lift the pause.")
        say(f"$ {helm.typed_to_clear('pause')}")
        helm.clear("pause")


def main() -> int:
    """Steer until standard input ends or Ctrl-C, clear up, then print the counts."""
    given = _parser().parse_args()
    topics = Topics(given.source)
    plan = Plan(given.rate, given.pause_at, given.pause, given.free_at)
    helm = Helm(given.broker, topics, forget=given.forget)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    helm.start()
    story = Story(helm, plan, topics)
    with contextlib.suppress(KeyboardInterrupt), story:  # the same wish as the end of standard input
        sys.stdin.read()
    say(json.dumps(helm.finish() | {"remarks": [story.verdict()]}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("broker", type=_broker, help="mqtt://host:port")
    parser.add_argument("source", help="name of the engine's process: the source_id of its connector")
    parser.add_argument("--rate", required=True, help="of starts while it is slowed, such as 10/s or 10/m")
    parser.add_argument("--pause-at", type=int, required=True, help="number of starts after which to pause")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds of pause")
    parser.add_argument("--free-at", type=int, required=True, help="starts after which there is no limit")
    parser.add_argument(
        "--forget", action="store_true", help="at the end clear the presence and reports of the engine too"
    )
    return parser


def _broker(url: str) -> Broker:
    try:
        return broker_of(url)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{url!r} is no broker's URL: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
