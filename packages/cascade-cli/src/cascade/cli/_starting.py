"""Ask engines to start a workflow, and wait for what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from cascade.cli._offers import offer_rows
from cascade.cli.errors import CANCELLED, FAILED, OK, USAGE, CommandError
from cascade.cli.link import Link
from cascade.cli.output import Output
from cascade.cli.snapshot import STATUS, WORKFLOWS, fill
from cascade.interfaces.abilities import WatchStream
from cascade.interfaces.text import nearest, printable
from cascade.interfaces.topics import parse_response_topic, request_topic
from cascade.interfaces.watch import Lost, Message, WatchItem
from cascade.runtime.starting import params_of_texts
from cascade.wire import Presence, StartResponse, View, parse, parse_response, to_wire

_RULES = "this user may need the rules of one who starts: cascade acl --requester NAME=WORKFLOW prints them"
EVERY = "@all"
"""In place of an engine: every one that offers the workflow."""


class Start(NamedTuple):
    """What is asked for."""

    workflow: str
    params: dict[str, str]
    """Texts of the command line."""
    source: str
    """The engine, :data:`EVERY`, or empty for the only one that offers the workflow."""
    id: str
    by: str
    wait: bool
    timeout: float
    """Seconds for the acceptance."""


async def start(link: Link, asked: Start, output: Output) -> list[dict[str, Any]]:
    """Send the request, and return a row for each engine that was asked, with its answer.

    :raises CommandError: if no engine offers the workflow, several do, or a parameter does not fit; nothing is sent then.
    """
    view = View()
    stream = link.watch(STATUS, WORKFLOWS, f"cascade/responses/+/{asked.id}")
    try:
        await fill(view, stream, rules=_RULES)
        rows = _asked(offer_rows(view, time.monotonic()), asked)
        params = params_of_texts(rows[0]["params"], asked.params)
        content = {"id": asked.id, "params": params, **({"by": asked.by} if asked.by else {})}
        topic = request_topic(None if asked.source == EVERY else rows[0]["source"], asked.workflow)
        answers: dict[str, StartResponse] = {}
        await link.publish(topic, content, 1)
        sources = [row["source"] for row in rows]
        await _collect(stream, answers, sources, asked.timeout)
        running = [source for source, answer in answers.items() if answer.status == "accepted"]
        # a new run is accepted before it ends, however short it is
        ended_before = any(answer.status == "ended" for answer in answers.values())
        if asked.wait and running:
            for source in running:
                _show(output, source, answers.pop(source))
                # a second request of the id starts nothing, and asks for the end
                await link.publish(request_topic(source, asked.workflow), {**content, "wait": True}, 1)
            with _only_the_wait_ends(f"{asked.workflow}~{asked.id}", output):
                await _collect(
                    stream, answers, sources, None, lambda item: _note_silence(item, running, asked, output)
                )
        for source in sources:
            _show(output, source, answers.get(source))
        if ended_before:
            output.note(f"the id {asked.id} was used before: its run is shown, and nothing new ran")
        return [_row(source, asked.id, answers.get(source)) for source in sources]
    finally:
        await stream.aclose()


def exit_code_of(rows: Iterable[dict[str, Any]]) -> int:
    """Return the exit code: the worst of all answers."""
    ends = {row["outcome"] or row["status"] for row in rows}
    if ends <= {"accepted", "Succeeded"}:
        return OK
    return CANCELLED if ends <= {"accepted", "Succeeded", "Cancelled"} else FAILED


def _asked(rows: list[dict[str, Any]], asked: Start) -> list[dict[str, Any]]:
    """Return the offers that are asked for."""
    found = [row for row in rows if row["name"] == asked.workflow]
    if asked.source not in ("", EVERY):
        found = [row for row in found if row["source"] == asked.source]
    online = [row for row in found if row["accepting"]]
    if not online:
        raise CommandError(*_nobody(rows, found, asked), code=FAILED if found else USAGE)
    if len(online) > 1 and asked.source != EVERY:
        names = ", ".join(row["source"] for row in online)
        raise CommandError(
            f"{asked.workflow} is offered by {names}", f"name one with --on, or --on {EVERY}", code=USAGE
        )
    return online


def _nobody(rows: list[dict[str, Any]], found: list[dict[str, Any]], asked: Start) -> tuple[str, str]:
    if found:
        return f"{found[0]['source']} offers {asked.workflow} and is not accepting", "is it running?"
    here = [row for row in rows if asked.source in ("", EVERY, row["source"])]
    near = nearest(asked.workflow, {row["name"] for row in here})
    who = "no engine offers" if asked.source in ("", EVERY) else f"{asked.source} does not offer"
    hint = f"did you mean {near!r}?" if near else "cascade workflows lists what is offered"
    return f"{who} {asked.workflow!r}", hint


async def _collect(
    stream: WatchStream,
    answers: dict[str, StartResponse],
    sources: list[str],
    timeout: float | None,
    note: Callable[[WatchItem], None] = lambda item: None,
) -> None:
    """Take answers until each source has given one, or the time is over.

    :param note: gets every item, for a wait without a limit.
    """
    missing: Callable[[], bool] = lambda: any(source not in answers for source in sources)  # noqa: E731
    try:
        async with asyncio.timeout(timeout):
            while missing():
                item = await anext(stream)
                note(item)
                addressed = parse_response_topic(item.topic) if isinstance(item, Message) else None
                if not isinstance(item, Message) or addressed is None or addressed[0] not in sources:
                    continue
                answer = parse_response(item.payload)
                if answer is not None:
                    answers[str(addressed[0])] = answer
    except TimeoutError:
        return


def _note_silence(item: WatchItem, running: Collection[str], asked: Start, output: Output) -> None:
    """Say why no answer comes: the link is down, or an engine is no longer connected."""
    if isinstance(item, Lost):
        output.note(f"the broker does not deliver: {item.reason}; waiting for it")
    found = parse(item.topic, item.payload) if isinstance(item, Message) else None
    if isinstance(found, Presence) and not found.online and found.source in running:
        output.note(
            f"{found.source} is not connected; Ctrl-C ends the wait, and the same command with --id {asked.id} asks again"
        )


@contextmanager
def _only_the_wait_ends(run_id: str, output: Output) -> Iterator[None]:
    """Say what becomes of the run when Ctrl-C ends the wait."""
    try:
        yield
    except asyncio.CancelledError:
        output.note(f"only the wait has ended; cascade cancel run:{run_id} ends the run")
        raise


def _row(source: str, id_: str, answer: StartResponse | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "source": source,
        "id": id_,
        "run_id": "",
        "status": "",
        "code": "",
        "reason": "",
    }
    found |= {"outcome": "", "error": "", "duration_ms": None, "value": None}
    if answer is None:
        return {**found, "reason": "no answer"}
    return {**found, **to_wire(answer), "source": source, "id": id_}


def _show(output: Output, source: str, answer: StartResponse | None) -> None:
    if answer is None:
        output.note(
            f"{source} has not answered: it is away, or the broker's rules do not let this user ask it; "
            "cascade doctor --probe-write says which"
        )
    elif answer.status == "refused":
        output.note(f"{source} refuses: {answer.reason} ({answer.code}){_REMEDIES.get(answer.code, '')}")
    elif answer.status == "accepted":
        output.line(f"{source}: {answer.run_id} accepted")
    else:
        error = f": {answer.error}" if answer.error else ""
        took = f" after {answer.duration_ms / 1000:.1f} s" if answer.duration_ms is not None else ""
        output.line(
            f"{source}: {answer.run_id} {_WORDS.get(answer.outcome, printable(answer.outcome))}{took}{error}"
        )
        if isinstance(answer.value, str | int | float | list | dict):
            output.line(str(answer.value))


_REMEDIES = {
    "paused": "; cascade constraints shows the pause, cascade resume lifts it",
    "busy": "; cascade runs shows the run, and with cascade serve --overlap queue a request waits for its end",
}
_WORDS = {"Succeeded": "succeeded", "Failed": "failed", "Cancelled": "was cancelled"}
