"""A second process that steers a running engine with the command ``cascade``; it needs paho-mqtt and cascade-cli.

    python controller.py mqtt://localhost:1883 press-line-3 --rate 10/s --pause-at 50 --free-at 100

It prints each command that it runs, then what the engine reports. It ends with its standard input (Ctrl-D) or
Ctrl-C, clears what it has left on the broker, and prints its counts, as JSON, last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from view import Engine, ReportLines, Topics
from watcher import Broker, Listener, Watcher, broker_of, print_line

from cascade.interfaces.wire.read import ConstraintsReport, EventMessage, RunsReport

PUBLISH_TIMEOUT = 5.0
COMMAND_TIMEOUT = 30.0
REPORT_TIMEOUT = 10.0
SILENT = float("inf")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do to the engine, and when."""

    rate: str
    pause_at: int
    """Tasks that have been started."""
    pause: float
    """Seconds."""
    free_at: int
    """Tasks that have been started."""


class Ended(Exception):
    """The run has ended, or this program is stopped: there is nothing more to steer."""


class Controller(Listener):
    """Steers with the command, prints what the engine reports, clears up."""

    def __init__(self, broker: Broker, topics: Topics, *, forget: bool) -> None:
        watcher = Watcher(every=SILENT)
        super().__init__(broker, watcher, filters=topics.filters)
        self.engine = Engine(topics, watcher.view)
        self.changed = threading.Condition()
        self.stopped = False
        self._topics = topics
        self._report_lines = ReportLines()
        self.broker = broker
        self._forget = forget
        self._set: list[str] = []
        self._linked = False

    def ready(self) -> None:
        """Begin to steer."""
        with self.changed:
            self._linked = True
            self.changed.notify_all()

    def receive(self, topic: str, payload: bytes | bytearray) -> None:
        """Take an event or a report, and print its line, if it deserves one."""
        now = time.monotonic()
        with self.changed:
            match message := self._watcher.view.fold(topic, payload, now=now):
                case EventMessage():
                    self.engine.event(message)
                    line = self._watcher.line(message, now)
                case ConstraintsReport() | RunsReport():
                    line = self._report_lines.line(message, now)
                    line = line and f"< {line}"
                case _:
                    line = None
            if line:
                print_line(line)  # before the thread that waits prints what follows from it
            self.changed.notify_all()

    def steer(self, kind: str, *words: str) -> None:
        """Print a command that sets or lifts a constraint of this kind, and run it.

        :raises RuntimeError: if it fails.
        """
        print_line(typed(*words))
        self.run(kind, *words)

    def run(self, kind: str, *words: str) -> None:
        """Run a command that sets or lifts a constraint of this kind.

        :raises RuntimeError: if it fails.
        """
        topic = self._topics.register(kind)
        if topic not in self._set:
            self._set.append(topic)
        done = subprocess.run(
            [sys.executable, "-m", "cascade.cli", *words],
            env={**os.environ, **environment(self.broker)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
            start_new_session=True,  # Ctrl-C is for this program, which then clears what the command has set
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")

    def wait_for(self, condition: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until the condition is true; return its value, which is false after ``timeout`` seconds.

        :raises Ended: if the run ends first, or this program is stopped.
        """
        with self.changed:
            self.changed.wait_for(lambda: condition() or self.stopped or self.engine.over, timeout)
            value = condition()
            if not value and (self.stopped or self.engine.over):
                raise Ended
            return value

    def wait_for_link(self) -> None:
        """Wait until the broker has accepted the subscription."""
        self.wait_for(lambda: self._linked)

    def stop(self) -> None:
        """Stop steering."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def finish(self) -> dict[str, Any]:
        """Clear what is left, then end as any listener does."""
        left = [*self._set, *(self._topics.left_behind if self._forget and self._linked else ())]
        try:
            for topic in left:
                self._publish(topic, "")
        except (RuntimeError, ValueError) as error:
            print_line(f"could not be cleared ({error}): {' '.join(left)}")
        else:
            if left:
                print_line(f"cleared, so that nothing stays at the broker: {' '.join(left)}")
        return super().finish()

    def _publish(self, topic: str, text: str) -> None:
        """Publish a retained message and wait until the broker has it.

        :raises RuntimeError: if it has not taken it in time.
        """
        sent = self._client.publish(topic, text.encode(), qos=1, retain=True)
        sent.wait_for_publish(PUBLISH_TIMEOUT)
        if not sent.is_published():
            raise RuntimeError("the broker does not answer")


def typed(*words: str) -> str:
    """Return a command as a person types it."""
    return f"$ {shlex.join(['cascade', *words])}"


def environment(broker: Broker) -> dict[str, str]:
    """Return the variables in which the command finds a broker."""
    scheme = "mqtts" if broker.tls else "mqtt"
    user = f"{quote(broker.user, safe='')}@" if broker.user else ""
    host = f"[{broker.host}]" if ":" in broker.host else broker.host
    password = {"CASCADE_MQTT_PASSWORD": broker.password} if broker.password else {}
    return {"CASCADE_BROKER": f"{scheme}://{user}{host}:{broker.port}", **password}


class Scenario:
    """Do what a person at a terminal might do to a long run, step by step."""

    def __init__(self, controller: Controller, plan: Plan, topics: Topics) -> None:
        self.remarks: list[str] = []
        self._controller = controller
        self._engine = controller.engine
        self._plan = plan
        self._scope = topics.scope
        self._address = environment(controller.broker)["CASCADE_BROKER"]
        self._pause = topics.register("pause")
        self._window: tuple[float, float] | None = None
        self._thread = threading.Thread(target=self._run, name="scenario")

    def __enter__(self) -> Scenario:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._controller.stop()
        self._thread.join()

    def verdict(self) -> str:
        """Return whether the pause held, by all that has arrived."""
        if self._window is None:
            return "The run was not paused to the end: it ended before."
        count = self._engine.starts_between(*self._window)
        begin, end = self._window
        which = "No task was" if count == 0 else f"{count:,} tasks were, which must not be,"
        return (
            f"{which} started in the {end - begin:.1f} s between the engine's report of the pause and its lifting: "
            f"{count} of {len(self._engine.started):,} RUNNING events."
        )

    def _run(self) -> None:
        try:
            self._steer()
        except Ended:
            return
        except RuntimeError as error:
            print_line(f"steering ends here: {error}")

    def _steer(self) -> None:
        controller, engine, plan = self._controller, self._engine, self._plan
        controller.wait_for_link()
        slow = ("limit", self._scope, "--rate", plan.rate)
        controller.run("rate_limit", *slow)  # before the first line, for which the demo waits
        print_line(
            f"Slow down before it starts: {plan.rate}. The broker retains it for every engine of this name."
        )
        print_line(f"$ export CASCADE_BROKER={self._address}")
        print_line(typed(*slow))
        controller.wait_for(lambda: len(engine.started) >= plan.pause_at)
        self._pause_for_a_time()
        controller.wait_for(lambda: engine.applied_since(self._pause) is None)
        controller.wait_for(lambda: len(engine.started) >= plan.free_at)
        print_line(f"{len(engine.started):,} tasks were started. Now as fast as it can.")
        controller.steer("rate_limit", "clear", self._scope, "rate_limit")

    def _pause_for_a_time(self) -> None:
        """Pause, wait for the report, and lift it after a time, unless another client does."""
        controller, engine = self._controller, self._engine
        print_line(
            f"{len(engine.started):,} tasks were started. Pause: what runs goes on, nothing else may start."
        )
        controller.steer("pause", "pause", self._scope)
        since = controller.wait_for(lambda: engine.applied_since(self._pause), REPORT_TIMEOUT)
        if since is None:
            raise RuntimeError("the engine does not report the pause; may this user publish to that topic?")
        print_line(f"The engine reports that the pause is applied. Wait {self._plan.pause:g} s.")
        if controller.wait_for(lambda: engine.applied_since(self._pause) is None, self._plan.pause):
            print_line("Another client has lifted it.")
            return
        self._window = (since, time.time())
        count = engine.starts_between(*self._window)
        print_line(f"{count} RUNNING events since that report. Lift the pause.")
        controller.steer("pause", "resume", self._scope)


def main() -> int:
    """Steer until standard input ends or Ctrl-C, clear up, then print the counts."""
    given = _parser().parse_args()
    topics = Topics(given.source)
    plan = Plan(given.rate, given.pause_at, given.pause, given.free_at)
    controller = Controller(given.broker, topics, forget=given.forget)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    controller.start()
    scenario = Scenario(controller, plan, topics)
    with contextlib.suppress(KeyboardInterrupt), scenario:  # means the same as the end of standard input
        sys.stdin.read()
    print_line(json.dumps(controller.finish() | {"remarks": [scenario.verdict()]}))
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
        raise argparse.ArgumentTypeError(f"{url!r} is not a broker's URL: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
