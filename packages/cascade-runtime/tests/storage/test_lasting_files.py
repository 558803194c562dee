"""Files that another release of Cascade has written: recorded runs, caches and values are read as they were meant."""

# ruff: noqa: DTZ001 - naive times are among the values

import contextlib
import datetime as dt
import decimal
import sqlite3
import uuid
import zoneinfo
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from fakes import FakeClock

from cascade.interfaces import (
    Hit,
    PendingEvent,
    Plan,
    RecordedStatus,
    RunInfo,
    RunInputsError,
    RunStatus,
    StepEvents,
    StepState,
)
from cascade.runtime import SqliteState
from cascade.runtime._storage.codec import Signer, decode, encode
from cascade.runtime.cache import SqliteCache

KEY = b"k" * 32

RUN = """
BEGIN TRANSACTION;
CREATE TABLE attempt (
    n INTEGER PRIMARY KEY, token BLOB, host TEXT, pid INT, boot TEXT, source TEXT, cascade TEXT, python TEXT,
    started REAL, ended REAL, how TEXT, kept INT
);
INSERT INTO "attempt" VALUES(1,X'00','box',7,'','box','0.1.0','3.11.7',1500000000.0,1500000000.0,'Interrupted',0);
CREATE TABLE event (number INTEGER PRIMARY KEY, topic TEXT, payload TEXT, qos INT);
INSERT INTO "event" VALUES(1,'t/1','{}',1);
INSERT INTO "event" VALUES(2,'t/2','{}',0);
CREATE TABLE result (key TEXT PRIMARY KEY, encoding TEXT, payload BLOB, mac BLOB, file TEXT, size INT);
INSERT INTO "result" VALUES('load:0','json',X'5B312C202261225D',X'A98FC221A74396C5154CD4A5C23008D99FBA67C9081BA45BAC1732A2AFE7C160',NULL,8);
INSERT INTO "result" VALUES('load:1','tagged',X'7B2224223A5B227475706C65222C5B312C7B2224223A5B22736574222C5B325D5D7D5D5D7D',X'39138D488B50F92AF4477E8DBCA894C50ABE0475F11866D00394E1F6CE7F9305',NULL,37);
INSERT INTO "result" VALUES('load:2','pickle',X'80059520000000000000008C086275696C74696E73948C0572616E67659493944B004B034B01879452942E',X'603E1824578E67489C197A01F5E608B43849703CB4A7D131C2D512ACF33949BC',NULL,43);
INSERT INTO "result" VALUES('grow:0','tagged',X'7B2224223A5B2264617461636C617373222C5B22636173636164652E696E74657266616365732E7374617465222C22506C616E222C7B22636F6E74656E74223A7B227475726E223A312C2263616C6C73223A5B5D7D2C2264656369646572223A66616C73657D5D5D7D',X'19BDB781921B9ED0F6308C35AC21CF47C3BD8D5D30F7C33EEA876B9940A59D0D',NULL,105);
CREATE TABLE run (
    run_id TEXT, target TEXT, status TEXT, created REAL, ended REAL, error TEXT, by TEXT, params BLOB,
    params_mac BLOB, env BLOB, shape BLOB
);
INSERT INTO "run" VALUES('night','report','Interrupted',1500000000.0,NULL,'','anna',X'6A736F6E007B22646179223A20337D',X'FB005F33C5B4C238BE1E397AD222B348B7E88A363F027AD6AB9D88A0EA95A4B3','{"TOKEN": "4648b089e8cd673ee58e2de877038e6a2f4f2fa366b72147cd322d2d406de611"}',X'73');
CREATE TABLE step (
    key TEXT PRIMARY KEY, name TEXT, state INT, inputs BLOB, code BLOB, attempt INT, starts INT, tries INT,
    began REAL, ended REAL, not_before REAL, error TEXT, seq INT, token BLOB
) WITHOUT ROWID;
INSERT INTO "step" VALUES('grow:0','grow',4,X'69',X'63',1,1,0,1500000000.0,1500000000.0,NULL,'',NULL,'');
INSERT INTO "step" VALUES('load:0','load',3,X'69',X'63',1,1,0,1500000000.0,1500000000.0,NULL,'',2,'01234567');
INSERT INTO "step" VALUES('load:1','load',3,X'69',X'63',1,1,0,1500000000.0,1500000000.0,NULL,'',NULL,'');
INSERT INTO "step" VALUES('load:2','load',3,X'69',X'63',1,1,0,1500000000.0,1500000000.0,NULL,'',NULL,'');
INSERT INTO "step" VALUES('press:0','press',2,X'69',X'63',1,1,2,1500000000.0,NULL,1500000060.0,'no steam',NULL,NULL);
CREATE INDEX result_file ON result (file) WHERE file IS NOT NULL;
COMMIT;
PRAGMA application_id = 1129534290;
PRAGMA user_version = 1;
"""

CACHE = """
BEGIN TRANSACTION;
CREATE TABLE entries (
    key TEXT NOT NULL UNIQUE, encoding TEXT NOT NULL, payload BLOB NOT NULL, mac BLOB NOT NULL,
    created REAL NOT NULL, expires REAL, used REAL NOT NULL
);
INSERT INTO "entries" VALUES('a','json',X'5B312C202278225D',X'A221EF35A43E9BED686C95F5545C9D166A3B023294E43B42ADC2FAD1F94D6343',1500000000.0,NULL,1500000000.0);
INSERT INTO "entries" VALUES('b','pickle',X'8005950B000000000000004B018F94284B029086942E',X'02751E1AA1319045184BD734BF25BD5909C50D1C4164B8F790D9209A9A2EFC6C',1500000000.0,2500000000.0,1500000000.0);
CREATE INDEX entries_used ON entries (used);
CREATE INDEX entries_expires ON entries (expires) WHERE expires IS NOT NULL;
COMMIT;
PRAGMA application_id = 1129530180;
PRAGMA user_version = 1;
"""


def written(path: Path, statements: str) -> None:
    """Write a file as the other release did."""
    path.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)


def write_key(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_bytes(KEY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one run, which was interrupted."""
    folder = tmp_path / "runs"
    folder.mkdir(mode=0o700)
    write_key(folder / "_secret")
    written(folder / "night.db", RUN)
    return folder


async def test_a_run_that_another_release_has_recorded_goes_on(folder: Path) -> None:
    """With its values, inputs, steps and events; the run does not begin again."""
    state = SqliteState(folder, power_safe=False, keep=None)
    journal = await state.open(RunInfo("night", "report", {"day": 3}, {"TOKEN": "hush"}))
    earlier = journal.earlier
    assert earlier is not None
    assert (journal.attempt, earlier.status, earlier.kept) == (2, RecordedStatus.INTERRUPTED, 4)
    assert (earlier.params, earlier.shape) == ({"day": 3}, b"s")
    assert earlier.pending == [PendingEvent(1, "t/1", "{}", 1), PendingEvent(2, "t/2", "{}", 0)]
    assert await journal.load_all(["load:0", "load:1", "load:2", "grow:0"]) == [
        [1, "a"],
        (1, {2}),
        range(3),
        Plan({"turn": 1, "calls": []}),
    ]
    record = journal.known("press:0")
    assert record is not None
    assert (record.state, record.tries, record.not_before) == (StepState.RETRYING, 2, 1.5e9 + 60)
    assert (record.name, record.inputs, record.code, record.error) == ("press", b"i", b"c", "no steam")
    await journal.end(RunStatus.SUCCEEDED)
    (run,) = state.runs()
    assert (run.run_id, run.target, run.by, run.created) == ("night", "report", "anna", 1.5e9)
    assert run.counts == {StepState.COMPLETED: 3, StepState.EXPANDED: 1, StepState.RETRYING: 1}


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (RunInfo("night", "report", {"day": 4}), ("day",)),
        (RunInfo("night", "report", secrets={"TOKEN": "other"}), ("TOKEN",)),
    ],
    ids=["an input", "a secret"],
)
async def test_other_inputs_than_another_release_has_recorded_are_refused(
    run: RunInfo, names: tuple[str, ...], folder: Path
) -> None:
    """They were kept in a form that this release compares."""
    with pytest.raises(RunInputsError) as refused:
        await SqliteState(folder, power_safe=False).open(run)
    assert refused.value.names == names


async def test_the_next_rows_stand_as_other_releases_read_them(folder: Path) -> None:
    """Signed with the key of the folder, in the columns of the version that the file names."""
    state = SqliteState(folder, power_safe=False, keep=None)
    for key in ("day", "night"):
        journal = await state.open(RunInfo(key, "report", {"day": 3}, {"TOKEN": "hush"}))
        await journal.discard(["load:0"])
        journal.started("load:0", name="load", inputs=b"i", code=b"c")
        event = StepEvents(2, "01234567", [PendingEvent(2, "t/2", "{}", 0)])
        assert await journal.completed("load:0", [1, "a"], events=lambda event=event: event)  # type: ignore[misc]
        await journal.close()
    found = []
    for name in ("day", "night"):
        with contextlib.closing(sqlite3.connect(folder / f"{name}.db")) as connection:
            found.append(
                [
                    connection.execute(f"SELECT {columns}").fetchall()
                    for columns in (
                        "* FROM result WHERE key = 'load:0'",
                        "params, params_mac, env FROM run",
                        "* FROM event WHERE number = 2",
                        "kind.name, part.* FROM sqlite_schema AS kind, pragma_table_info(kind.name) AS part ORDER BY kind.name, part.cid",
                        "* FROM pragma_application_id, pragma_user_version",
                    )
                ]
            )
    assert found[0] == found[1]


async def test_a_cache_that_another_release_has_filled_is_used(tmp_path: Path) -> None:
    """Its values are found, with their ages, and until they expire."""
    path, clock = tmp_path / "cache.db", FakeClock()
    write_key(tmp_path / "cache.db.key")
    written(path, CACHE)
    clock.put_forward = 1.5e9 + 5 - clock.now()
    cache = SqliteCache(path, clock=clock, required=True)
    assert [await cache.get(key) for key in ("a", "b", "c")] == [Hit([1, "x"], 5.0), Hit((1, {2}), 5.0), None]
    clock.put_forward += 1e9
    assert [await cache.get(key) for key in ("a", "b")] == [Hit([1, "x"], 1e9 + 5), None]
    await cache.close()


PAYLOADS: list[tuple[Any, str, bytes]] = [
    (None, "json", b"null"),
    ([1, "\u00e9"], "json", '[1, "\u00e9"]'.encode()),
    ((1, (2,)), "tagged", b'{"$":["tuple",[1,{"$":["tuple",[2]]}]]}'),
    ({1}, "tagged", b'{"$":["set",[1]]}'),
    (frozenset({1}), "tagged", b'{"$":["frozenset",[1]]}'),
    (b"ab", "tagged", b'{"$":["bytes","YWI="]}'),
    (bytearray(b"ab"), "tagged", b'{"$":["bytearray","YWI="]}'),
    (1.5 - 2j, "tagged", b'{"$":["complex",[1.5,-2.0]]}'),
    ({2: "a"}, "tagged", b'{"$":["dict",[[2,"a"]]]}'),
    ("\udc80", "tagged", b'{"$":["str","7bKA"]}'),
    (dt.date(2026, 11, 23), "tagged", b'{"$":["date","2026-11-23"]}'),
    (
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        "tagged",
        b'{"$":["datetime",["2026-10-25T02:30:00",1,"Europe/Berlin"]]}',
    ),
    (dt.datetime(2026, 1, 2, 3, 4, 5, 6), "tagged", b'{"$":["datetime",["2026-01-02T03:04:05.000006",0,null]]}'),
    (dt.time(4, 5, tzinfo=dt.UTC), "tagged", b'{"$":["time",["04:05:00",0,[0,0,0]]]}'),
    (dt.timedelta(1, 2, 3), "tagged", b'{"$":["timedelta",[1,2,3]]}'),
    (decimal.Decimal("1.50"), "tagged", b'{"$":["Decimal","1.50"]}'),
    (uuid.UUID(int=7), "tagged", b'{"$":["UUID","00000000000000000000000000000007"]}'),
    (PurePosixPath("a/b"), "tagged", b'{"$":["PurePosixPath","a/b"]}'),
    (PureWindowsPath("a/b"), "tagged", b'{"$":["PureWindowsPath","a\\\\b"]}'),
    (StepState.FAILED, "tagged", b'{"$":["enum",["cascade.interfaces.state","StepState","FAILED"]]}'),
    (Hit(1, 2.5), "tagged", b'{"$":["dataclass",["cascade.interfaces.cache","Hit",{"value":1,"age":2.5}]]}'),
]  # fmt: skip


@pytest.mark.parametrize(("value", "encoding", "payload"), PAYLOADS, ids=lambda value: type(value).__name__)
def test_a_value_is_written_and_read_as_by_other_releases(value: Any, encoding: str, payload: bytes) -> None:
    """The names of encodings and tags stay, and what stands behind them."""
    assert encode(value, tagged=True) == (encoding, payload)
    found = decode(encoding, payload)
    assert (type(found), found) == (type(value), value)
    assert getattr(found, "fold", 0) == getattr(value, "fold", 0)


def test_a_signature_is_the_same_in_every_release_however_long_the_parts_are() -> None:
    """A changed one makes every value of a cache or a run unreadable."""
    signer = Signer(KEY)
    assert (
        signer.sign(b"ab", b"c").hex() == "15db5aa90f038ece91c8371f637127de4efb0b210ac2ae38aea8c0fd9b62c32a"
    )
    many = signer.sign(b"ab" * 40_000, b"c")
    assert many.hex() == "a2577db53fd1572013161a7fb2b4ab5c2394e7fa661793080b93f2c663f7aab2"
