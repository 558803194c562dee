"""Tasks that are cached by a file: when they run, and that a partly written file does not count."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.interfaces import CacheFileError
from cascade.runtime.cache import MemoryCache
from cascade.runtime.cache._call_cache import Answer, CallCache, Compute, Prepare
from cascade.runtime.cache._file_target import FileTarget
from cascade.spec import task
from cascade.spec.caching import CachePolicy
from cascade.testkit.leaks import no_leaks


@task
def export(name: str, size: int = 3) -> Path:
    raise AssertionError("the tests compute")


class Writer:
    """Writes a file and counts how often."""

    def __init__(self, path: Path, result: object = None, error: Exception | None = None) -> None:
        self.path, self.result, self.error = path, result, error
        self.runs = 0

    async def __call__(self, prepare: Prepare) -> object:
        await prepare()
        self.runs += 1
        self.path.write_text("written")
        if self.error:
            raise self.error
        return self.result


class Careful(Writer):
    """Writes a file only if it is missing."""

    async def __call__(self, prepare: Prepare) -> object:
        await prepare()
        if not self.path.exists():
            self.path.write_text("written")
        return None


async def ask(policy: CachePolicy, compute: Compute, *args: object, **kwargs: object) -> Answer:
    calls = CallCache(MemoryCache())
    try:
        return await calls.call(
            policy, export._definition, args or (() if kwargs else ("a",)), kwargs, compute
        )
    finally:
        await calls.close()


def age(path: Path, seconds: float) -> None:
    """Make a file look older than it is."""
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


async def test_a_task_does_not_run_while_its_file_exists(tmp_path: Path) -> None:
    """The value is the path, whether it ran or not; no other file is left, and none open."""
    path = tmp_path / "out" / "a.txt"
    policy, writer = CachePolicy(file=path), Writer(path)
    async with no_leaks():
        assert await ask(policy, writer) == Answer(path, "")
        assert await ask(policy, writer) == Answer(path, "its file exists")
    assert writer.runs == 1
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


async def test_a_template_takes_arguments_and_defaults(tmp_path: Path) -> None:
    """Fields are the task's parameters, also those with defaults; doubled braces are braces."""
    path = tmp_path / "{b}-003.txt"
    policy = CachePolicy(file=f"{tmp_path}/{{{{{{name}}}}}}-{{size:03}}.txt")
    assert (await ask(policy, Writer(path), name="b")).value == path


async def test_a_function_may_name_the_file(tmp_path: Path) -> None:
    """It is called like the task."""
    path = tmp_path / "a7"
    policy = CachePolicy(file=lambda name, size: tmp_path / f"{name}{size}")
    assert (await ask(policy, Writer(path), "a", size=7)).value == path


@pytest.mark.parametrize("result", [None, "path", "text"])
async def test_the_task_may_return_its_path_or_none(result: object, tmp_path: Path) -> None:
    """The value is the same Path in any case."""
    path = tmp_path / "a"
    returned = {"path": path, "text": str(path)}.get(str(result))
    assert (await ask(CachePolicy(file=path), Writer(path, returned))).value == path


@pytest.mark.parametrize(("result", "words"), [([1], "a list"), ("other", "other"), (0, "an? int")])
async def test_a_task_that_returns_something_else_fails(result: object, words: str, tmp_path: Path) -> None:
    """The next run could not return that value; the file does not count, so the next run fails again."""
    path = tmp_path / "a"
    for _ in range(2):
        with pytest.raises(
            CacheFileError, match=f"'export' is cached by the file .*, but it returned {words}"
        ):
            await ask(CachePolicy(file=path), Writer(path, result))


async def test_a_task_that_writes_no_file_fails(tmp_path: Path) -> None:
    """The message names the task."""
    with pytest.raises(CacheFileError, match="ended without writing that file"):
        await ask(CachePolicy(file=tmp_path / "a"), Writer(tmp_path / "b"))


async def test_a_file_left_by_a_failed_task_is_written_again(tmp_path: Path) -> None:
    """An unfinished file does not count."""
    path = tmp_path / "a"
    with pytest.raises(ValueError, match="half"):
        await ask(CachePolicy(file=path), Writer(path, error=ValueError("half")))
    assert path.exists()
    assert (await ask(CachePolicy(file=path), Writer(path))).reason == ""
    assert (await ask(CachePolicy(file=path), Writer(path))).reason != ""


KILLED = """
import asyncio, os, pathlib, signal, sys
from cascade.runtime.cache import MemoryCache
from cascade.runtime.cache._call_cache import CallCache
from cascade.spec import task
from cascade.spec.caching import CachePolicy

path = pathlib.Path(sys.argv[1])

@task
def export(): ...

async def compute(prepare):
    await prepare()
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(CallCache(MemoryCache()).call(CachePolicy(file=path), export._definition, (), {}, compute))
"""


async def test_a_file_left_by_a_failed_attempt_is_deleted_before_the_next(tmp_path: Path) -> None:
    """Otherwise a task that checks whether its file exists would take half a file for finished."""
    path, first = tmp_path / "a", Writer(tmp_path / "a", error=ValueError("half"))

    async def two_attempts(prepare: Prepare) -> object:
        with pytest.raises(ValueError, match="half"):
            await first(prepare)
        return await Careful(path)(prepare)

    path.write_text("older")
    os.utime(path, (0, 0))
    assert (await ask(CachePolicy(file=path, ttl=60), two_attempts)).reason == ""
    assert path.read_text() == "written"


@pytest.mark.process
async def test_a_file_left_by_a_killed_process_is_written_again(tmp_path: Path) -> None:
    """Even kill -9 while writing leaves no file that counts."""
    path = tmp_path / "a"
    ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", KILLED, str(path)])
    assert ended.returncode == -9
    assert path.read_text() == "half"
    assert (await ask(CachePolicy(file=path), Careful(path))).reason == ""
    assert path.read_text() == "written"


async def test_a_file_from_another_program_counts(tmp_path: Path) -> None:
    """Only the mark beside it makes a file unfinished."""
    path = tmp_path / "a"
    path.write_text("given")
    assert (await ask(CachePolicy(file=path), Writer(path))).reason
    assert path.read_text() == "given"


async def test_a_file_older_than_its_sources_is_written_again(tmp_path: Path) -> None:
    """Sources may be templates and several; a missing one is not newer."""
    path, source = tmp_path / "a.out", tmp_path / "a.in"
    policy = CachePolicy(file=path, newer_than=[f"{tmp_path}/{{name}}.in", tmp_path / "missing"])  # type: ignore[arg-type]
    writer = Writer(path)
    await ask(policy, writer)
    source.write_text("x")
    age(source, 10_000)
    assert (await ask(policy, writer)).reason
    age(path, 20_000)
    assert not (await ask(policy, writer)).reason
    assert (await ask(policy, writer)).reason
    assert writer.runs == 2


async def test_a_file_older_than_its_ttl_is_written_again(tmp_path: Path) -> None:
    """Its age is the time since it was last changed."""
    path = tmp_path / "a"
    writer = Writer(path)
    policy = CachePolicy(file=path, ttl=60_000)  # long, so that the test's own time does not count
    await ask(policy, writer)
    age(path, 30_000)
    assert (await ask(policy, writer)).reason
    age(path, 31_000)
    assert not (await ask(policy, writer)).reason


async def test_a_file_that_cannot_be_marked_is_written_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; only the protection against partly written files is missing."""
    path = tmp_path / "a"
    (tmp_path / ".a.unfinished").symlink_to(tmp_path / "missing" / "mark")
    assert await ask(CachePolicy(file=path), Writer(path)) == Answer(path, "")
    assert "a partly written file counts as finished" in caplog.text


async def test_two_calls_for_one_file_write_it_once(tmp_path: Path) -> None:
    """Whatever their arguments, calls for the same file are equal."""
    path = tmp_path / "a"
    calls, writer = CallCache(MemoryCache()), Writer(path)
    both = [calls.call(CachePolicy(file=path), export._definition, (name,), {}, writer) for name in "ab"]
    assert [answer.value for answer in await asyncio.gather(*both)] == [path, path]
    await calls.close()
    assert writer.runs == 1


async def test_an_attempt_that_wrote_nothing_leaves_nothing_to_warn_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mark is there and the file is not: the next attempt has nothing to delete."""
    path = tmp_path / "a.out"

    async def twice(prepare: Prepare) -> None:
        for _ in range(2):
            await prepare()
        path.write_text("written")

    await ask(CachePolicy(file=path), twice)
    assert [*tmp_path.iterdir()] == [path]
    assert caplog.messages == []


async def test_a_mark_that_another_process_has_removed_is_not_missed(tmp_path: Path) -> None:
    """Two processes that write one file at the same time both succeed."""
    path = tmp_path / "a.out"

    async def compute(prepare: Prepare) -> None:
        await prepare()
        path.write_text("written")
        (tmp_path / ".a.out.unfinished").unlink()

    assert (await ask(CachePolicy(file=path), compute)).value == path


def test_a_file_counts_until_its_ttl_is_over_and_its_sources_are_newer(tmp_path: Path) -> None:
    """A source of the same time is not newer: file systems with coarse times would never hit."""
    path, source = tmp_path / "a.out", tmp_path / "a.in"
    for each in (path, source):
        each.write_text("written")
        os.utime(each, (1_000, 1_000))
    target = FileTarget(path, (source,), 60.0)
    assert target.skip_reason(1_059.5)
    assert not target.skip_reason(1_060.0)
    os.utime(source, (1_001, 1_001))
    assert not target.skip_reason(1_059.5)
