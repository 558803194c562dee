"""A machine that loses its power at any moment: the run goes on from what the disk has.

A library that is loaded into the process halts it before and after each fsync. Two copies of the folder are taken at each:
with all that was written until then, and with each file as it was when it was synced last, if its name was synced, too.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dying import ENVIRONMENT
from recovery import night, synced

from cascade.testkit.waiting import busyness

PROGRAM = Path(__file__).with_name("synced.py")
LIBRARY = Path(__file__).with_name("halt_at_sync.c")
KEPT = "SELECT key FROM step WHERE state IN (3, 4)"
REPEATED = "collatz:0"
"""A turn of a loop is deleted with the commit of the next one, and its continuation target is recorded again."""
LAST = 16
"""Copies at the end of the run, where SQLite moves its log into the database."""
LONG = [pytest.mark.nightly, pytest.mark.timeout(1800)]

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD"),
]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Compile what halts a process."""
    compiler = shutil.which("cc") or ""
    if not compiler:
        message = "no C compiler cc on the PATH"
        pytest.fail(message, pytrace=False) if os.environ.get("CI") else pytest.skip(message)
    made = tmp_path / "halt_at_sync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(LIBRARY), "-ldl"], check=True)
    return made


@dataclass
class Disk:
    """What is in a folder, and what a power cut would leave of it: each file as it was when it was synced last.

    A file is there once the folder was synced after it had got its name.
    """

    folder: Path
    copies: Path
    synced: dict[int, bytes] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    places: list[tuple[Path, set[str]]] = field(default_factory=list)
    """The copies, and the steps whose values had left the engine by then."""
    syncs: int = 0

    def paths(self) -> list[Path]:
        """Return the files that a power cut may leave; SQLite makes the others anew."""
        return [path for path in self.folder.iterdir() if not path.name.endswith("-shm")]

    def take(self, moment: str, inode: int, done: set[str]) -> None:
        """Take a copy at a sync of one file or of the folder."""
        names = {path.stat().st_ino: path for path in self.paths()}
        if moment == "after" and inode in names:
            self.synced[inode] = names[inode].read_bytes()
        if moment == "after" and inode == self.folder.stat().st_ino:
            self.named = {path.name for path in names.values()}
        written = {path.name: path.read_bytes() for path in names.values()}
        left = {
            path.name: self.synced.get(each, b"") for each, path in names.items() if path.name in self.named
        }
        self.syncs += moment == "before"
        for kind, content in (("written", written), ("synced", left)):
            self.store(f"{self.syncs:04}-{moment}-{kind}", content, done)

    def store(self, name: str, content: dict[str, bytes], done: set[str]) -> None:
        """Write one copy."""
        place = self.copies / name / "runs"
        place.mkdir(parents=True)
        place.chmod(0o700)
        for each, raw in content.items():
            (place / each).write_bytes(raw)
            (place / each).chmod(0o600)
        self.places.append((place, set(done)))


def record(folder: Path, copies: Path, library: Path) -> Disk:
    """Run the workflow; return copies of its folder at each sync."""
    disk, done = Disk(folder, copies), set[str]()
    (heard, tell), (hear, answer), (lines, out) = os.pipe(), os.pipe(), os.pipe()
    settings = {"LD_PRELOAD": str(library), "HALT_TELL": str(tell), "HALT_HEAR": str(hear)}
    command = [sys.executable, str(PROGRAM), str(folder)]
    process = subprocess.Popen(command, stdout=out, pass_fds=(tell, hear), env={**ENVIRONMENT, **settings})
    for each in (tell, hear, out):
        os.close(each)
    os.set_blocking(lines, False)
    with os.fdopen(heard) as moments, os.fdopen(lines) as printed, os.fdopen(answer, "wb", buffering=0) as go:
        for line in moments:
            moment, inode = line.split()
            done.update(each.split()[1] for each in printed)  # all that it has printed until now
            disk.take(moment, int(inode), done)
            go.write(b"g")
    assert process.wait(30 * busyness()) == 0
    return disk


@contextlib.contextmanager
def continuing() -> Iterator[subprocess.Popen[str]]:
    """Start the program that continues a run in each folder that it is given."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        yield process
    finally:
        process.communicate(timeout=30 * busyness())


def resume(process: subprocess.Popen[str], place: Path) -> tuple[list[str], str]:
    """Continue the run in a copy; return the steps that ran, and the value."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{place}\n")
    process.stdin.flush()
    ran, value = list[str](), ""
    for line in process.stdout:
        verb, *words = line.split()
        if verb == "exit":
            assert words == ["0"], place
            break
        if verb == "value":
            (value,) = words
        else:
            ran.append(words[0])
    return ran, value


def kept(place: Path) -> set[str]:
    """Read what a second copy holds, so that the first one stays as the power cut has left it."""
    if not (place / "night.db").exists():
        return set()
    copy = place.with_name("read")
    shutil.copytree(place, copy)
    with contextlib.closing(sqlite3.connect(copy / "night.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], place
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            return set()
        return {key for (key,) in connection.execute(KEPT)}


@pytest.mark.full
@pytest.mark.parametrize("most", [12, pytest.param(10_000, marks=LONG)])
def test_a_run_goes_on_from_what_the_disk_has_at_each_sync(most: int, tmp_path: Path, library: Path) -> None:
    """No value that had left the engine is missing, no recorded step runs again, and the value is right."""
    disk = record(tmp_path / "runs", tmp_path / "copies", library)
    assert disk.syncs >= 30
    assert len(disk.places[-1][1]) > 60
    stride = len(disk.places) // most | 1  # odd: copies of all kinds are among them
    some = [*disk.places[:-LAST:stride], *disk.places[-LAST:]]
    with continuing() as process:
        for place, done in some:
            recorded = kept(place)
            lost = {key for key in done - recorded if not key.startswith(REPEATED)}
            assert lost == set(), place
            ran, value = resume(process, place)
            again = {key for key in ran if key in recorded and key != REPEATED}
            assert again == set(), place
            assert value == str(night.expected(synced.START)), place
            shutil.rmtree(place.parent)
