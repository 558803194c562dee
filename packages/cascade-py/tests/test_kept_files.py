"""What each released version has written, this one reads: ``kept/VERSION``.

``python packages/cascade-py/tests/keep_files.py`` makes the files of this version; again after a change of format, until
it is released. From then on a change of format has to read the old one, too.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from keep_files import KEPT, NAME, run_job

from cascade import Outbox
from cascade.cli import main
from cascade.interfaces.distribution import VERSION
from cascade.testkit import Broker, eventually
from cascade.wire import View, run_rows
from testing_tools.recorder import Recorder

VERSIONS = sorted(path.name for path in KEPT.iterdir())


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what a version has left, which only its owner can read: git does not keep that."""
    folder: Path = tmp_path / request.param
    shutil.copytree(KEPT / request.param, folder, copy_function=shutil.copyfile)
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return the JSON that a command prints."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_this_version_has_left_something() -> None:
    """So that the release keeps what it writes."""
    assert VERSION in VERSIONS


@pytest.mark.process
def test_a_recorded_run_goes_on_where_it_failed(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its values are read in every form, no finished step runs again, and the run can be looked at before and after."""
    state = ("--state", str(kept / "runs"))
    (before,) = printed(capsys, "history", *state)
    assert (before["run_id"], before["status"], before["counts"]) == (
        "night",
        "Failed",
        {"completed": 4, "failed": 1},
    )
    done = run_job(kept, broken=False)
    described = "{'plain': [1, 2.5, None, 'ü'], 'tagged': (b'bytes', PurePosixPath('a/b')), 'other': range(0, 3), 'n': 3}"
    last = "(2, datetime.datetime(2026, 11, 25, 2, 0, tzinfo=datetime.timezone.utc))"
    assert done.stdout == f"{described} {last}\n", "the finished steps would print, too"
    assert done.stderr.endswith("and goes on where it stopped\n")
    (after,) = printed(capsys, "history", *state)
    assert (after["status"], after["counts"]) == ("Succeeded", {"completed": 5})


@pytest.mark.broker
def test_messages_of_an_outbox_are_sent(kept: Path, fresh_broker: Broker) -> None:
    """The next process finds those of the ended one, and the broker gets each once."""
    folder = kept / "outbox"
    (sender,) = Outbox(folder).senders()
    assert (sender.sender, sender.waiting, sender.problem) == (NAME, 3, "")
    with Recorder(fresh_broker.host, fresh_broker.port, "plant/#") as recorder:
        assert main(["outbox", "send", str(folder), "--broker", fresh_broker.url]) == 0
        asyncio.run(eventually(lambda: len(recorder.messages) == 3))
    assert [message.json() for message in recorder.messages] == [{"kw": 2.5}, {"kw": 2.6}, {"kw": 2.4}]
    assert Outbox(folder).senders() == []


def test_a_collected_run_is_shown(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its end, its steps and no hole."""
    file = str(kept / "collected.sqlite")
    (run,) = printed(capsys, "history", "--from", file)
    assert (run["run_id"], run["source"], run["status"]) == ("night", NAME, "Failed")
    assert printed(capsys, "collect", "--to", file, "--holes") == []


def test_what_went_over_the_wire_is_read(kept: Path) -> None:
    """By a watcher that saw all of it: no message is unknown to it."""
    view = View()
    for line in (kept / "wire.jsonl").read_text("utf-8").splitlines():
        message = json.loads(line)
        view.fold(message["topic"], message["payload"].encode(), now=0.0)
    (row,) = run_rows(view, now=0.0)
    assert (row["source"], row["target"], row["status"]) == (NAME, "report", "Failed")
