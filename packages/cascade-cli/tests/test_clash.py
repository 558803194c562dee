"""Two processes have one name: each takes the connection of the other, and each report is of one of them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cascade.cli.main import main
from cascade.testkit.brokers import Broker
from testing_tools.engines import eventually

pytestmark = [pytest.mark.broker, pytest.mark.process, pytest.mark.full, pytest.mark.usefixtures("patient")]

ENGINE = """
import sys
import cascade as cs

@cs.task
def wait():
    sys.stdin.readline()

link = cs.connector(sys.argv[1], source_id="press", drain_timeout=0.2)
cs.run(wait(), connector=link, run_id=sys.argv[2])
"""


@contextlib.contextmanager
def engine(url: str, run_id: str) -> Iterator[None]:
    """Have a process run inside the context."""
    arguments = [sys.executable, "-c", ENGINE, url, run_id]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        yield
        process.communicate(b"\n")


def test_a_run_that_goes_on_is_not_said_to_be_lost(
    fresh_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that names the clash shows the run of one process; what that one says of the other's is not known."""
    found: dict[str, str] = {}

    def read() -> bool:
        """Read the list once; return whether it names the clash."""
        capsys.readouterr()
        assert main(["runs", "--broker", fresh_broker.url, "--json"]) == 0
        out, err = capsys.readouterr()
        found.clear()
        found.update((row["run_id"], row["status"]) for row in json.loads(out))
        return "two processes use the name press, and only one of them answers" in err

    with engine(fresh_broker.url, "a"):
        eventually(lambda: not read() and found == {"a": "Running"}, "the first process")
        with engine(fresh_broker.url, "b"):
            seen: set[tuple[str, str]] = set()

            def both() -> bool:
                """Read once more; return whether lists that name the clash have had each of the runs."""
                # a process that does not know of the clash yet says nothing of it
                seen.update(found.items() if read() else ())
                return seen >= {("a", "Running"), ("b", "Running")}

            eventually(both, "both runs")
            assert seen - {("a", "unknown"), ("b", "unknown")} == {("a", "Running"), ("b", "Running")}
