"""The files of ``cascade collect``: what stays after a fault, a restart, and many runs."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from collectors import COLLECTOR, NOW, opened, received
from hypothesis import given
from hypothesis import strategies as st
from ops_modules import (
    Change,
    Known,
    LinesFile,
    Received,
    Recent,
    Series,
    Spans,
    SqliteFile,
    sqlite_file,
)

from cascade.cli import main
from cascade.cli.collected import CollectedFile
from cascade.cli.errors import CommandError
from testing_tools.memory_broker import MemoryBroker, Person


@pytest.fixture(params=["sqlite", "jsonl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of either kind."""
    return tmp_path / f"all.{request.param}"


def rows(path: Path) -> list[tuple[str, ...]]:
    """The columns of each event, or its line."""
    if path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute(
                "SELECT event_id, source, run_id, token, seq, kind, topic, received, payload FROM event ORDER BY rowid"
            ).fetchall()
    return [(line,) for line in path.read_text().splitlines()]


def test_a_row_has_everything_that_a_query_needs(tmp_path: Path) -> None:
    """Each column of the table, and the envelope as it came."""
    file = SqliteFile(tmp_path / "all.sqlite")
    message = received(3, NOW + 0.5, kind="data")
    file.store([message])
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    file.close()
    ((*columns, payload),) = rows(tmp_path / "all.sqlite")
    assert columns == [
        "press-run-data-3",
        "press",
        "run",
        "t",
        3,
        "data",
        "cascade/telemetry/local/default/run/data",
        NOW + 0.5,
    ]
    assert json.loads(payload) == message.payload


def test_a_line_is_the_envelope_with_topic_and_time_for_its_owner_only(tmp_path: Path) -> None:
    """Events may hold what other users of the machine must not read."""
    path = tmp_path / "all.jsonl"
    file = LinesFile(path)
    message = received(0)
    file.store([message])
    file.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    line = json.loads(path.read_text())
    assert line == {**message.payload, "topic": message.topic, "received": "2027-01-15T08:00:00+00:00"}


def test_holes_are_those_of_each_attempt_the_oldest_first(path: Path) -> None:
    """A further hole does not make the first one younger; what fills the last one ends it, after a restart too."""
    file = opened(path)
    file.store([received(0, run="b"), received(2, NOW + 5, run="b")])
    file.store([received(1, NOW + 1, run="a"), received(0, NOW + 2, run="c"), received(4, NOW + 9, run="b")])
    file.close()
    file = opened(path)
    found = [(hole.series.run_id, [*map(tuple, hole.missing)], hole.since) for hole in file.holes()]
    assert found == [("a", [(0, 0)], NOW + 1), ("b", [(1, 1), (3, 3)], NOW + 5)]
    file.store([received(1, NOW + 20, run="b"), received(0, NOW + 20, run="a")])
    assert [(hole.series.run_id, hole.since) for hole in file.holes()] == [("b", NOW + 5)]
    file.store([received(3, NOW + 21, run="b")])
    file.store([received(6, NOW + 30, run="b")])
    assert [hole.since for hole in file.holes()] == [NOW + 30]
    file.close()


def test_what_has_no_number_or_id_is_kept_as_it_comes(path: Path) -> None:
    """A message of another program cannot be told from a copy; with an id it can."""
    file = opened(path)
    nameless = received(0, kind="logs", event_id="", seq=None)
    named = received(0, kind="logs", seq=None)
    assert file.store([nameless, nameless, named, named]) == {}
    assert file.holes() == []
    file.close()
    file = opened(path)
    file.store([named, nameless])
    file.close()
    assert len(rows(path)) == 4


def test_a_commit_that_fails_stores_nothing_and_forgets_nothing(path: Path) -> None:
    """The next attempt with the same messages stores all of them: they were not acknowledged."""
    file = opened(path)
    file.store([received(0)])
    broken = received(2)._replace(payload={"odd": object()})
    with pytest.raises(TypeError):
        file.store([received(1), received(0, kind="logs"), broken])
    assert len(rows(path)) == 1
    found = file.store([received(1), received(2), received(0, kind="logs")])
    assert [known.spans.ranges for known in found.values()] == [[(0, 2)]]
    assert len(rows(path)) == 4
    file.close()


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be removed")
def test_a_file_that_was_removed_takes_no_more(path: Path, replaced: bool) -> None:
    """Whatever it stored would be gone with the process, and was acknowledged."""
    file = opened(path)
    file.store([received(0)])
    path.rename(path.with_name("old"))
    if replaced:
        opened(path).close()
    with pytest.raises(OSError, match="it was removed, or another file has taken its place"):
        file.store([received(1)])
    file.close()


def test_a_run_that_was_not_heard_of_for_long_is_still_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory has a bound; what it has dropped is read from the file."""
    monkeypatch.setattr(sqlite_file, "_RECENT", 2)
    path = tmp_path / "all.sqlite"
    file = SqliteFile(path)
    for run in ("a", "b", "c", "d"):
        file.store([received(0, run=run), received(2, NOW + 1, run=run)])
    found = file.store([received(2, run="a"), received(1, run="a")])
    assert [known.spans.ranges for known in found.values()] == [[(0, 2)]]
    assert [hole.series.run_id for hole in file.holes()] == ["b", "c", "d"]
    file.close()
    assert len(rows(path)) == 9


def test_an_envelope_that_takes_the_id_of_another_hides_nothing(path: Path) -> None:
    """What identifies a message is the project, engine, run, attempt and number that it came with."""
    file = opened(path)
    forged = received(7, project="evil", event_id="press-run-events-1")
    file.store([received(0), forged, received(0, project="evil", event_id="press-run-logs-0")])
    found = file.store([received(1), received(0, kind="logs"), received(1)])
    assert [(series.project_id, known.spans.ranges) for series, known in found.items()] == [
        ("default", [(0, 1)])
    ]
    assert [(hole.series.project_id, hole.missing) for hole in file.holes()] == [("evil", [(1, 6)])]
    file.close()
    assert len(rows(path)) == 5


def test_the_session_is_random_and_stays_with_the_file(path: Path) -> None:
    """Nobody can guess it; only the owner of the file can read it."""
    sessions = []
    for _ in range(2):
        file = opened(path)
        sessions.append(file.session)
        file.close()
    other = opened(path.with_name(f"other{path.suffix}"))
    assert sessions[0] == sessions[1] != other.session
    assert len(sessions[0]) == 32
    other.close()
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_one_collector_uses_a_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one is a line; what is missing can be listed meanwhile, and nothing is cut off by that."""
    kind = SqliteFile if path.suffix == ".sqlite" else LinesFile
    file = kind(path, alone=True)
    file.store([received(0)])
    if path.suffix == ".jsonl":
        with path.open("ab") as unfinished:
            unfinished.write(b'{"half')
    size = path.stat().st_size
    assert main(["collect", "--to", str(path), "--broker", "mqtt://127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == (
        f"cascade: another collector uses {path}; end it, or name another file\n"
    )
    assert main(["collect", "--to", str(path), "--holes"]) == 0
    assert path.stat().st_size == size
    file.close()


def test_what_is_retained_is_kept_as_it_changes(tmp_path: Path) -> None:
    """A new link brings it again; the last progress of each task replaces the one before."""
    path = tmp_path / "all.sqlite"
    file = SqliteFile(path)
    pause, lifted = "cascade/constraints/global/pause", {"by": "ann", "id": "c1"}
    for at, payload in enumerate(({}, lifted, lifted, {}, {}, {"by": "bob", "id": "c2"})):
        file.store([], [Change(pause, payload, NOW + at)])
    body = {"type": "ProgressEvent", "task_id": "a:0", "total": 2}
    file.store([received(n, kind="progress", body={**body, "done": n}) for n in range(3)])
    file.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT received - ?, payload FROM change", (NOW,)).fetchall()
        assert [(at, json.loads(payload).get("by")) for at, payload in found] == [
            (1.0, "ann"),
            (3.0, None),
            (5.0, "bob"),
        ]
        ((payload,),) = connection.execute("SELECT payload FROM progress")
        assert json.loads(payload)["body"]["done"] == 2
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (0,)


def _life(seq: int, event: str, second: int, *, token: str = "t", **body: Any) -> Received:
    """The start or the end of an attempt of a run."""
    times: dict[str, Any] = {
        "ts": f"2027-01-15T08:00:{second:02}+00:00",
        "token": token,
        "attempt": 1 + (token > "t"),
    }
    body = {"type": "LifecycleEvent", "event": event, **body}
    return received(seq, NOW + second, body=body, **times)


def test_a_run_is_one_row_whatever_the_order_of_its_events(
    tmp_path: Path, seeded_random: random.Random
) -> None:
    """Of its last attempt; the beginning is that of the first one. Its steps are a view, too."""
    ran = {"type": "TaskStateEvent", "task_id": "a:0", "task_name": "a", "state": "RUNNING"}
    ended = {**ran, "state": "FAILED", "error": "E: x"}
    again: dict[str, Any] = {"token": "u", "attempt": 2}
    messages = [
        _life(0, "ENGINE_STARTED", 1, name="nightly"),
        received(1, NOW + 2, body=ran),
        received(2, NOW + 4, body=ended),
        _life(3, "ENGINE_STOPPED", 5, status="Failed", error="E: x"),
        _life(0, "ENGINE_STARTED", 7, token="u", name="nightly"),
        received(1, NOW + 8, body=ran, **again),
        received(2, NOW + 9, body={**ran, "state": "COMPLETED"}, **again),
        _life(3, "ENGINE_STOPPED", 11, token="u", status="Succeeded"),
    ]
    seeded_random.shuffle(messages)
    path = tmp_path / "all.sqlite"
    file = SqliteFile(path)
    for message in messages:
        file.store([message])
    file.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (run,) = connection.execute("SELECT * FROM run").fetchall()
        (step,) = connection.execute("SELECT step, name, state, starts, error FROM step").fetchall()
    assert run == (
        *("run", "press", "local", "default", "nightly", "Succeeded", 2, ""),
        *("2027-01-15T08:00:01.000Z", "2027-01-15T08:00:11.000Z", 10.0),
    )
    assert step == ("a:0", "a", "COMPLETED", 2, None)


_VERSION_1 = """
CREATE TABLE event (
    event_id TEXT PRIMARY KEY, source TEXT, run_id TEXT, token TEXT, seq INT, kind TEXT, topic TEXT, received REAL,
    payload TEXT
);
CREATE INDEX event_received ON event (received);
CREATE INDEX event_run ON event (run_id);
CREATE TABLE series (
    source TEXT, run_id TEXT, token TEXT, spans TEXT, since REAL, PRIMARY KEY (source, run_id, token)
) WITHOUT ROWID;
PRAGMA application_id = 1129530191;
PRAGMA user_version = 1;
"""


def test_a_file_of_version_1_goes_on_in_place(tmp_path: Path) -> None:
    """Nothing of it is lost, holes are known, its runs are listed, and a copy of what it has is one."""
    path = tmp_path / "all.sqlite"
    messages = [_life(0, "ENGINE_STARTED", 1, name="nightly"), received(2, NOW + 2), received(0, kind="logs")]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(_VERSION_1)
        for each in messages:
            event = each.event
            row = (event.event_id, *each.series[:3], event.seq, event.kind, each.topic, each.at)
            connection.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, json.dumps(each.payload))
            )
        connection.execute("INSERT INTO series VALUES ('press', 'run', 't', '[[0, 0], [2, 2]]', ?)", (NOW,))
        connection.commit()
    with pytest.raises(CommandError, match=r"is of version 1; cascade collect --to .* --holes makes it 2"):
        CollectedFile(path)
    before = rows(path)
    file = SqliteFile(path)
    assert [(hole.series, hole.missing) for hole in file.holes()] == [(messages[0].series, [(1, 1)])]
    file.store(messages)
    assert rows(path) == before
    file.store([received(1), _life(3, "ENGINE_STOPPED", 9, status="Succeeded")])
    assert file.holes() == []
    file.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name, status, seconds FROM run").fetchall()
    assert found == [("nightly", "Succeeded", 8.0)]


def test_old_runs_are_deleted_as_a_whole_once_an_hour(tmp_path: Path) -> None:
    """Of a run that goes on nothing is missing; a copy of what was deleted does not come back.

    For an hour after the wall clock was set, nothing is deleted: it may be wrong.
    """
    path, ticks = tmp_path / "all.sqlite", 0.0
    file = SqliteFile(path, keep=60.0, monotonic=lambda: ticks)

    def kept(*messages: Received, clock_is_set: float = 0.0) -> list[str]:
        nonlocal ticks
        ticks = max(each.at for each in messages) - NOW - clock_is_set
        file.store(messages)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT run_id || seq FROM event ORDER BY run_id, seq")
            return [text for (text,) in found]

    assert kept(received(0, NOW, run="old"), received(1, NOW + 100, run="old")) == ["old0", "old1"]
    assert kept(received(0, NOW + 90, run="new")) == ["new0", "old0", "old1"]
    assert kept(received(1, NOW + 3_690, run="new")) == ["new0", "new1", "old0", "old1"]
    assert kept(received(0, NOW + 3_701, run="other")) == ["new0", "new1", "other0"]
    assert kept(received(0, NOW + 3_702, run="old")) == ["new0", "new1", "other0"], "a copy"
    year = 365 * 86_400.0
    now = NOW + 3_710 + year
    assert kept(received(0, now, run="wrong"), clock_is_set=year) == ["new0", "new1", "other0", "wrong0"]
    assert kept(received(1, now + 3_500, run="wrong"), clock_is_set=year)[:2] == ["new0", "new1"]
    assert kept(received(2, now + 3_601, run="wrong"), clock_is_set=year) == ["wrong0", "wrong1", "wrong2"]
    file.close()


def test_an_acknowledgement_names_the_series_that_were_heard_of_last() -> None:
    """One that is heard of again does not leave."""
    recent = Recent()
    for number in range(Recent.MOST):
        recent.note(Series("press", f"r{number}", "t"), Known())
    recent.note(Series("press", "r0", "t"), Known())
    recent.note(Series("press", "new", "t"), Known())
    assert len(recent) == Recent.MOST
    assert [*recent.by_name()][-2:] == ["r0-t", "new-t"]
    assert "r1-t" not in recent.by_name()
    recent.note(Series("press", "r5", "t", "local", "evil"), Known())
    assert "r5-t" not in recent.by_name(), "another project claims it"


def test_a_person_reads_what_is_missing_and_since_when(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No broker is needed; a file without holes is a sentence."""
    monkeypatch.setattr(time, "time", lambda: NOW + 600)
    person = Person(MemoryBroker({}), monkeypatch)
    monkeypatch.delenv("CASCADE_BROKER")
    file = opened(path)
    file.store([received(0), received(2), received(6)])
    file.close()
    code, lines, err = person.types("collect", "--to", str(path), "--holes")
    assert (code, err) == (0, "")
    assert [line.split() for line in (lines[0], lines[2])] == [
        ["engine", "run", "token", "missing", "since"],
        ["press", "run", "t", "1-1,", "3-5", "10m"],
    ]
    assert main(["collect", "--to", str(path), "--holes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "source": "press",
            "run_id": "run",
            "token": "t",
            "missing": [[1, 1], [3, 5]],
            "since": "2027-01-15T08:00:00+00:00",
        }
    ]
    file = opened(path)
    file.store([received(number) for number in (1, 3, 4, 5)])
    file.close()
    assert person.types("collect", "--to", str(path), "--holes")[1] == ["no event is missing"]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (
            ("--to", "all.sqlite"),
            2,
            "no broker is named; pass --broker mqtt://localhost, or set CASCADE_BROKER",
        ),
        (("--to", "all.jsonl", "--keep", "1d"), 2, "--keep needs an SQLite file; name it .sqlite"),
        (("--to", "none/all.jsonl"), 1, "the folder none does not exist; create it, or name another file"),
        (("--to", "all.csv"), 2, "all.csv: the kind of file is unknown; name it .sqlite or .jsonl"),
        (
            ("--to", "all.jsonl", "--holes"),
            1,
            "the file all.jsonl does not exist; cascade collect --to creates it",
        ),
    ],
)
def test_a_file_that_cannot_be_is_not_created(
    options: tuple[str, ...],
    code: int,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command line is checked before the broker is asked."""
    monkeypatch.chdir(tmp_path)
    broker = () if "no broker" in text else ("--broker", "mqtt://127.0.0.1:9")
    assert main(["collect", *options, *broker]) == code
    assert capsys.readouterr().err == f"cascade: {text}\n"
    assert [*tmp_path.iterdir()] == []


def test_a_line_that_a_killed_collector_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    """Its event was not acknowledged, so it comes again."""
    path = tmp_path / "all.jsonl"
    file = LinesFile(path)
    file.store([received(0), received(1)])
    file.close()
    path.write_bytes(path.read_bytes()[:-20])
    file = LinesFile(path)
    file.store([received(1)])
    file.close()
    assert [json.loads(line)["seq"] for (line,) in rows(path)] == [0, 1]


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA application_id = {0x4353434F}; PRAGMA user_version = 7; CREATE TABLE a (a)"
        )


def _text(path: Path) -> None:
    path.write_text("anything\n")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("a.sqlite", _foreign, "is a database of another program; name another file"),
        ("a.sqlite", _newer, "is of version 7, and this Cascade writes 2; upgrade Cascade"),
        ("a.jsonl", _text, ":1 is not a line of cascade collect; name another file"),
        ("a.csv", _text, ": the kind of file is unknown; name it .sqlite or .jsonl"),
        ("a.sqlite", None, "does not exist"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, name: str, spoil: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is asked of a broker, and nothing in it is changed."""
    path = tmp_path / name
    if spoil is not None:
        spoil(path)
    before = path.read_bytes() if path.exists() else None
    for command in (["collect", "--to", str(path), "--holes"], ["history", "--from", str(path)]):
        if command[0] == "collect" or path.suffix == ".sqlite":
            assert main(command) in (1, 2)
            out, error = capsys.readouterr()
            assert (out, error.count("\n")) == ("", 1)
            assert message in error
            assert (path.read_bytes() if path.exists() else None) == before


def test_a_file_that_cannot_be_opened_is_one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything else is tried, with what to do: a link to nowhere stands in its place."""
    path.symlink_to(path.parent / "missing" / path.name)
    assert main(["collect", "--to", str(path), "--broker", "mqtt://127.0.0.1:1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"cascade: {path} cannot be opened: ")
    assert error.count("\n") == 1
    assert "--debug" not in error


@pytest.mark.process
def test_a_disk_that_is_full_at_the_start_is_one_line(path: Path) -> None:
    """The message names the remedy, which is not one of rights. The system lets the collector write no byte."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))"
    command = [sys.executable, "-c", f"{limit}\n{COLLECTOR}", "mqtt://127.0.0.1:1", str(path)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"cascade: {path} cannot be ")
    assert done.stderr.endswith("; make room on its disk\n")


@pytest.mark.full
@given(st.lists(st.integers(0, 30)))
def test_spans_are_a_set_and_its_holes(numbers: list[int]) -> None:
    """Whatever the order: what was added is there, once, and the holes are the rest below the highest."""
    spans, added = Spans(), set[int]()
    for number in numbers:
        assert spans.add(number) == (number not in added)
        added.add(number)
    assert {number for number in range(40) if number in spans} == added
    missing = {number for first, last in spans.missing for number in range(first, last + 1)}
    assert missing == set(range(max(added, default=0))) - added
    assert spans.upto == max(added, default=-1)
    assert Spans(spans.ranges).ranges == spans.ranges
    assert len(spans.ranges) <= len(missing) + 1
