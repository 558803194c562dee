"""The demo as a person starts it: slowed, paused, let go, and nothing left at the broker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt import publish

from cascade.interfaces.control_messages import constraint_message
from cascade.interfaces.topics import STORE_TOPIC, parse_constraint_topic
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker, start_broker
from cascade.testkit.recorder import Recorder
from cascade.testkit.waiting import busyness

pytestmark = pytest.mark.broker

FILES = 8


@pytest.fixture
def folder(write_files: Callable[[Mapping[str, str | bytes]], Path]) -> Path:
    """A folder of eight modules: one start a second while it is slowed."""
    return write_files({f"m{number}.py": "import os\n" for number in range(FILES)})


@pytest.fixture
def marked() -> Iterator[Broker]:
    """A broker that retains a message of another program."""
    with start_broker() as broker:
        publish.single("other/marker", "kept", 1, retain=True, hostname=broker.host, port=broker.port)
        yield broker


def retained(broker: Broker) -> dict[str, bytes]:
    """Return all that a broker retains, as a new subscriber gets it."""
    with Recorder(broker.host, broker.port, "#") as recorder:  # the echo comes after the retained set
        publish.single("test/echo", "", 1, hostname=broker.host, port=broker.port)
        asyncio.run(eventually(lambda: recorder.of("test/echo")))
        return {each.topic: each.payload for each in recorder.messages if each.topic != "test/echo"}


@contextmanager
def started(demo: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(demo), *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def in_order(text: str, *parts: str) -> bool:
    """Return whether the parts stand in the text one after the other."""
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


@pytest.mark.full
def test_the_audit_is_slowed_paused_and_let_go_from_a_second_process(
    demo: Path, folder: Path, marked: Broker
) -> None:
    """Each step stands as a line to type with the report that follows; no task starts in the pause; nothing is left."""
    with started(demo, folder, "--pause", "1", "--broker", marked.url) as running:
        output, errors = running.communicate(timeout=50 * busyness())
    assert (running.returncode, "Traceback" in errors) == (0, False), errors
    source = re.findall(r"\$ cascade pause source:(demo-line-\w+)", errors)[0]
    assert in_order(
        errors,
        f"$ export CASCADE_BROKER={marked.url}",
        f"$ cascade limit source:{source} --rate 1/s",
        "ENGINE_STARTED",
        "sync synced; @rate_limit applied; effective: rate_limit 1/s; in_scope_running",
        f"$ cascade pause source:{source}",
        "@pause applied",
        "The engine reports that the pause is applied",
        "0 RUNNING events since that report",
        f"$ cascade resume source:{source}",
        "sync synced; @rate_limit applied; effective: rate_limit 1/s",
        f"$ cascade clear source:{source} rate_limit",
        "ENGINE_STOPPED Succeeded",
        "cleared, so that nothing stays at the broker",
    ), errors
    assert re.search(
        r"^No task was started in the [1-9][\d.]* s .* 0 of 12 RUNNING events\.", output, re.MULTILINE
    )
    assert re.search(rf"^ *{FILES} +files *$", output, re.MULTILINE)
    assert "Every event arrived, and none twice." in output
    produced, sent, dropped, received, *faults = map(
        int, re.findall(r"^(?: +\d+){6} *$", output, re.MULTILINE)[0].split()
    )
    assert (sent, dropped, received, faults) == (produced, 0, produced, [0, 0])
    assert set(retained(marked)) == {"other/marker", STORE_TOPIC}


@pytest.mark.full
def test_ctrl_c_in_the_pause_leaves_nothing_behind(demo: Path, folder: Path, marked: Broker) -> None:
    """The registers are cleared, the second process ends, and so does the first, with 130 and no traceback."""
    with started(demo, folder, "--pause", "3600", "--broker", marked.url) as running:
        assert running.stderr is not None
        assert any("The engine reports that the pause is applied" in line for line in running.stderr)
        kept = retained(marked)
        (topic,) = [topic for topic in kept if topic.endswith("/@pause")]
        scope, _ = parse_constraint_topic(topic) or ("", "")
        assert json.loads(kept[topic]) == constraint_message(scope, "pause")
        assert list(json.loads(kept[STORE_TOPIC])) == ["store"]
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(
            timeout=30 * busyness()
        )  # both pipes end: no process has them open
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert "The run was not paused to the end" in output
    assert retained(marked) == {"other/marker": b"kept", STORE_TOPIC: kept[STORE_TOPIC]}
