"""Answer a page's questions about the past from a collector's file. Nothing here writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from cascade.cli import CommandError
from cascade.cli.collected import CollectedFile
from cascade.cli.collected.file import Interrupted
from cascade.cli.collected.listing import RunFilter, find_run, runs_page
from cascade.cli.collected.night import last_night
from cascade.cli.collected.past import past_run
from cascade.cli.collected.reading import DAMAGED, Steps

MOST_READERS = 2
"""Steps of queries that run at the same time."""
LONGEST_SECONDS = 7 * 86_400.0
"""Of a time line."""
_SLOW = "the disk of the history is too slow to answer; try again, or choose a shorter time"
T = TypeVar("T")


class ListRuns(msgspec.Struct, frozen=True, tag_field="what", tag="runs"):
    """A page of the list."""

    id: int
    name: str = ""
    engine: str = ""
    status: str = ""
    since: float = 0.0
    until: float | None = None
    behind: tuple[float, str, str, str, str, str, str] | None = None


class OpenRun(msgspec.Struct, frozen=True, tag_field="what", tag="run"):
    """One run; without its engine, the latest with this id."""

    id: int
    run_id: str
    source: str | None = None
    org_id: str | None = None
    project_id: str | None = None


class LastNight(msgspec.Struct, frozen=True, tag_field="what", tag="night"):
    """All engines on one time line."""

    id: int
    start: float
    end: float


Question = ListRuns | OpenRun | LastNight


class History:
    """Answers the questions that come through a WebSocket, each by its ``id``. A newer question of a kind ends the one before.

    :param path: a collector's file. It is opened for each question, so that a new file may take its place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(MOST_READERS, thread_name_prefix="cascade-history")

    def check(self) -> str:
        """Return why what can be read is not all.

        :raises CommandError: if the file cannot be read.
        """
        with CollectedFile(self._path) as file:
            return file.problem

    def close(self) -> None:
        """End the threads; no page is served any more."""
        self._pool.shutdown()

    async def serve(self, websocket: ServerConnection) -> None:
        """Answer until the page goes; what is not answered then is not read any further."""
        asked: dict[type[Question], asyncio.Task[None]] = {}
        decoder = msgspec.json.Decoder(Question)
        try:
            async for message in websocket:
                try:
                    question = decoder.decode(message)
                except msgspec.DecodeError as error:
                    await websocket.send(json.dumps({"id": None, "error": f"not a question: {error}"}))
                    continue
                if (before := asked.pop(type(question), None)) is not None:
                    await _end(before)
                answering = self._answer(websocket, question)
                asked[type(question)] = asyncio.create_task(answering, name="cascade history")
        except ConnectionClosed:
            return
        finally:
            for task in asked.values():
                await _end(task)

    async def _answer(self, websocket: ServerConnection, question: Question) -> None:
        try:
            found = await self._found(question)
        except CommandError as error:
            found = {"error": str(error)}
        except Interrupted:
            found = {"error": _SLOW}
        text = await self._run(lambda: json.dumps({"id": question.id, **found}))
        with suppress(ConnectionClosed):
            await websocket.send(text)

    async def _found(self, question: Question) -> dict[str, Any]:
        file = await self._run(lambda: CollectedFile(self._path))
        try:
            try:
                return await self._taken(_steps(file, question))
            except DAMAGED as exc:
                error = exc
            await self._run(lambda: file.salvage(error))
            return await self._taken(_steps(file, question))
        finally:
            # a step that runs now ends, before the file is closed
            file.cancel()
            await asyncio.shield(self._run(file.close))

    async def _taken(self, steps: Steps[dict[str, Any]]) -> dict[str, Any]:
        while True:
            taken = await self._run(lambda: _take(steps))
            if taken is not None:
                return taken

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _take(steps: Steps[dict[str, Any]]) -> dict[str, Any] | None:
    """Take one step; return what was found, None if there are more steps."""
    try:
        next(steps)
    except StopIteration as end:
        found: dict[str, Any] = end.value
        return found
    return None


def _steps(file: CollectedFile, question: Question) -> Steps[dict[str, Any]]:
    match question:
        case ListRuns():
            chosen = RunFilter(
                question.name, question.engine, question.status, question.since, question.until
            )
            page = yield from runs_page(file, chosen, question.behind)
            return {"rows": page.rows, "behind": page.behind, "problem": file.problem}
        case OpenRun():
            return (yield from _open(file, question))
        case LastNight():
            start = max(question.start, question.end - LONGEST_SECONDS)
            return (yield from last_night(file, start, question.end))


def _open(file: CollectedFile, question: OpenRun) -> Steps[dict[str, Any]]:
    key = find_run(file, question.run_id, question.source, question.org_id, question.project_id)
    yield
    found = None if key is None else (yield from past_run(file, key))
    if found is None:
        on = f" on {question.source}" if question.source else ""
        raise CommandError(
            f"no run {question.run_id!r}{on} is in {file.path}",
            "it was never collected, or --keep has deleted it: look for it in the list",
        )
    return found
