"""Publish a change and wait for the engines: the I/O of the steering commands."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cascade.cli._scopes import instead_of
from cascade.cli._steering.compliance import REFUSED, Answer, ComplianceTracker, outcome
from cascade.cli._steering.notes import note_on_nothing_held, note_on_scope
from cascade.cli._steering.request import Change
from cascade.cli.columns import listed
from cascade.cli.durations import show_duration
from cascade.cli.errors import FAILED, NO_BROKER, OK, USAGE, CommandError
from cascade.cli.link import Link, unanswered
from cascade.cli.output import Output
from cascade.cli.snapshot import CONSTRAINTS, RUNS, STATUS, fill, unreadable
from cascade.interfaces.abilities import WatchStream
from cascade.interfaces.control_messages import store_message
from cascade.interfaces.text import nearest
from cascade.interfaces.topics import STORE_TOPIC, constraint_topic, state_topic, status_topic
from cascade.interfaces.watch import Complete, Lost, Message
from cascade.wire import Register, View, with_reported_gates

ACKNOWLEDGE_SECONDS = 2.0
"""In which the broker has to take a message and to return it."""
UNNAMED_SECONDS = 0.6
"""In which an engine without a name is heard, which retains nothing: while its tasks start or end it reports its runs
every 0.5 s. The command then waits for its answer as for that of any other engine."""
STOP_SECONDS = 1.0
"""In which tasks that were cancelled stop, if they can be stopped."""
CHECK_SECONDS = 0.02
"""Between two checks of all answers: not one for each message of a busy broker."""
_UNHEARD = "engines without a name may not have answered"
NOT_WAITED_FOR = "not connected, so not waited for"
STANDSTILL = 1.0
"""Seconds by which a deadline is late where this process stood still: then what has come meanwhile is read first."""
READ_SECONDS = 1.0
"""For how long."""


class Wait(NamedTuple):
    """How long to wait for the engines, and for what."""

    seconds: float = 15.0
    drained: bool = False
    """Wait until no task in the scope runs, too."""


async def steer(
    link: Link,
    filters: Iterable[str],
    plan: Callable[[Mapping[str, Register]], Change],
    output: Output,
    *,
    wait: Wait | None,
    bare_name: str = "",
    user: str = "",
) -> int:
    """Write what ``plan`` makes of the present registers; return the exit code.

    :param filters: of the registers that the plan needs.
    :param wait: None does not wait for engines.
    :param bare_name: an engine of this name must exist.
    :param user: who is logged in.
    :raises CommandError: if no engine has the bare name; nothing is written then.
    """
    reports = (CONSTRAINTS, RUNS) if wait else ()
    # a broker may send no retained message for a wildcard
    own = (status_topic(bare_name), state_topic(bare_name, "constraints")) if bare_name else ()
    stream = link.watch(STORE_TOPIC, *filters, *own, STATUS, *reports)
    try:
        return await _ChangePublisher(link, stream, output, user).steer(plan, wait, bare_name=bare_name)
    finally:
        await stream.aclose()


class _ChangePublisher:
    """One change, from the present registers to the answers of the engines."""

    def __init__(self, link: Link, stream: WatchStream, output: Output, user: str = "") -> None:
        self._user = user
        self._link = link
        self._stream = stream
        self._output = output
        self._view = View()
        self._answers: ComplianceTracker | None = None

    async def steer(
        self, plan: Callable[[Mapping[str, Register]], Change], wait: Wait | None, *, bare_name: str
    ) -> int:
        complete = await fill(self._view, self._stream)
        if bare_name and bare_name not in self._view.engines:
            await self._check_name(bare_name, complete)
        shows_engines = any(engine.presence is not None for engine in self._view.engines.values())
        change = plan(with_reported_gates(self._view))
        kept = self._kept(change)
        answers = self._answers = ComplianceTracker(change, self._view, now=time.monotonic())
        await self._write(change, complete)
        self._show_written(change, kept)
        if wait is None:
            if self._output.json:
                self._output.document({"topic": change.topic})
            return OK
        await self._read(asyncio.get_running_loop().time() + min(UNNAMED_SECONDS, wait.seconds))
        if await self._wait_for(answers, wait) and change.type == "cancel":
            await self._wait_for(answers, Wait(min(STOP_SECONDS, wait.seconds), drained=True))
        code = self._show(change, answers, wait)
        if not shows_engines and complete is not None:
            # engines that are connected may not have shown themselves meanwhile
            hidden = await unreadable(self._link, complete._replace(topics=frozenset()), self._user)
            self._output.note(hidden) if hidden else None
        return code

    async def _check_name(self, name: str, complete: Complete | None) -> None:
        """Refuse a name that no engine has, where the broker shows which engines there are."""
        engines = self._view.engines
        if not engines and (problem := await unreadable(self._link, complete, self._user)):
            self._output.note(problem)
            return
        is_set = any(register.scope == f"source:{name}" for register in self._view.registers.values())
        meant = instead_of(name, engines, is_set=is_set)
        raise CommandError(f"no engine {name}", f"did you mean {meant}?", code=USAGE)

    async def _write(self, change: Change, complete: Complete | None) -> None:
        """Publish, and wait until the broker has returned each message: it drops what it does not permit.

        Where it has shown what it holds, a topic without a message need not be cleared: a user may have the right to
        steer a scope by type only.
        """
        if complete is not None and change.topics and not change.clears and not self._view.store:
            await self._link.publish(STORE_TOPIC, store_message(), 1, retain=True)
        for topic in change.topics:
            await self._link.publish(topic, change.message, 1, retain=True)
        is_known = change.clears and complete is not None
        missing = set(change.shown if is_known and change.shown else change.topics)
        deadline = asyncio.get_running_loop().time() + ACKNOWLEDGE_SECONDS
        if not await self._link.flush(ACKNOWLEDGE_SECONDS):
            raise unanswered("acknowledge the message", "is it overloaded?")
        while missing:
            item = await self._next(deadline)
            if item is None and is_known and not change.shown and len(missing) < len(change.topics):
                return
            if item is None:
                refused = f"the broker has dropped the message on {min(missing)}"
                rule = f"this user needs the rule: topic readwrite {constraint_topic(change.scope)}/#"
                raise CommandError(refused, rule, code=NO_BROKER)
            if (
                isinstance(item, Message)
                and item.topic in missing
                and _content(item.payload) == change.message
            ):
                missing.remove(item.topic)

    async def _next(self, deadline: float) -> Message | Lost | None:
        """Return the next message, folded into the view, or that the link is lost; None after the deadline."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    item = await anext(self._stream)
            except TimeoutError:
                if loop.time() - deadline < STANDSTILL:
                    return None
                deadline = loop.time() + READ_SECONDS
                continue
            if loop.time() > deadline + READ_SECONDS:
                # a broker on which messages are always waiting: no time limit interrupts that
                return None
            if isinstance(item, Message):
                message = self._view.fold(
                    item.topic, item.payload, now=time.monotonic(), retained=item.retain
                )
                if self._answers is not None:
                    self._answers.note(message)
            if isinstance(item, Message | Lost):
                return item

    async def _wait_for(self, answers: ComplianceTracker, wait: Wait) -> bool:
        """Return whether every engine has answered in time, and, if asked, no task in the scope runs."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.seconds
        while True:
            began = loop.time()
            if answers.complete(time.monotonic(), drained=wait.drained):
                return True
            if answers.overtaken():
                # an engine that has not answered never will
                return False
            # a check of very many engines takes a while
            pause = max(CHECK_SECONDS, 4 * (loop.time() - began))
            if not await self._heard(deadline):
                return False
            await self._read(min(loop.time() + pause, deadline))

    async def _read(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            await self._heard(until)

    async def _heard(self, deadline: float) -> bool:
        """Wait for the next message; return False after the deadline."""
        item = await self._next(deadline)
        if isinstance(item, Lost):
            self._output.note(f"the broker does not deliver: {item.reason}; waiting for it")
        return item is not None

    def _kept(self, change: Change) -> list[str]:
        """Return the engines that obey what a change clears, as far as their reports were read."""
        reports = ((source, engine.constraints) for source, engine in sorted(self._view.engines.items()))
        return [
            source
            for source, report in reports
            if report is not None and any(row.topic in change.topics for row in report.effective)
        ]

    def _show_written(self, change: Change, kept: Sequence[str]) -> None:
        for topic in change.shown:
            self._output.line(topic)
        if change.clears and not change.held:
            self._output.note(note_on_nothing_held(change, kept))
        if note := note_on_scope(change, self._view):
            self._output.note(note)
        kind, _, value = change.scope.partition(":")
        if kind == "source" and value not in self._view.engines:
            near = nearest(value, self._view.engines)
            hint = f"; did you mean {near}?" if near else ""
            self._output.note(f"no engine named {value} is known to the broker{hint}")

    def _show(self, change: Change, answers: ComplianceTracker, wait: Wait) -> int:
        given = answers.get(time.monotonic(), final=True)
        found = outcome(change, given)
        self._note_doubts(change, answers, given, found)
        if self._output.json:
            self._output.document(found)
        else:
            _print(found, self._output, with_running=change.type in ("pause", "cancel") or wait.drained)
        running = bool(found["running"]) and wait.drained
        failed = (
            not found["applied"] or found["refused"] or found["unknown"] or "contested" in found or running
        )
        if failed:
            return FAILED
        if change.scope.partition(":")[0] in ("global", "project", "workflow", "task"):
            self._output.note(_UNHEARD)
        return OK

    def _note_doubts(
        self, change: Change, answers: ComplianceTracker, given: Mapping[str, Answer], found: dict[str, Any]
    ) -> None:
        """Print what the answers do not show, and put into ``found`` what a program has to know of it."""
        if overtaken := answers.overtaken():
            self._output.note(f"{overtaken} meanwhile; cascade constraints shows what is in force")
        if unproved := answers.unproved(given):
            found["unproved"] = unproved
            named = ", ".join(unproved)
            self._output.note(
                f"the session of {named} has no birth on the broker: any client may have answered"
            )
        for source, running in answers.unstopped(given):
            still = "1 task still runs" if running == 1 else f"{running} tasks still run"
            self._output.note(f"{source}: {still}; a call in a thread cannot be stopped")
        if cut := answers.cut(given):
            self._output.note(
                f"the report of {', '.join(cut)} lists only a part of the constraints: whether it still obeys is not known"
            )
        if change.message is not None and change.message["expires_at"] is not None:
            for source, ahead in answers.skewed(given, time.monotonic(), time.time()):
                effect = f"expires {show_duration(abs(ahead))} {'early' if ahead > 0 else 'late'} there"
                if given[source].kind == REFUSED:
                    effect = "had expired there when it came: set the clock, or write a longer --ttl"
                self._output.note(
                    f"the clock of {source} differs from this machine's by {ahead:+.0f} s, so the constraint {effect}"
                )
        self._note_engines(change, answers, given, found)

    def _note_engines(
        self, change: Change, answers: ComplianceTracker, given: Mapping[str, Answer], found: dict[str, Any]
    ) -> None:
        """Print why a change has no effect on an engine, or why that is not known."""
        if not any(found[key] for key in ("applied", "refused", "unknown", "no_match")):
            kept = "" if change.clears or change.type == "cancel" else "; the constraint stays for the next"
            self._output.note(
                f"no live engine is in the scope {change.scope}{kept}; cascade ps lists the engines"
            )
        if held := answers.held(given):
            found["held"] = held
            for each in held:
                self._output.note(f"{each['source']}: still held by {', '.join(each['by'])}")
        if lost := answers.not_waited_for(given, time.monotonic()):
            self._output.note(
                f"{NOT_WAITED_FOR}: {listed(lost)}; a process of that name that still runs obeys when it is connected again"
            )
        if contested := answers.contested(time.monotonic()):
            found["contested"] = contested
            self._output.note(contested_names(contested))


def contested_names(sources: Iterable[str]) -> str:
    """Return the note on names that two processes use."""
    return (
        f"two processes use the name {', '.join(sources)}, and only one of them answers: "
        "give every process a name of its own"
    )


def _content(payload: bytes) -> Any:
    """Return what a message holds; None if it clears its topic."""
    if not payload:
        return None
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def _print(found: Mapping[str, Any], output: Output, *, with_running: bool) -> None:
    """Print the answers: a line for each kind, or in a pipe a line for each engine."""
    rows = [
        *(("applied", source) for source in found["applied"]),
        *(("refused", each["source"], each["reason"]) for each in found["refused"]),
        *(("unknown", each["source"], each["why"]) for each in found["unknown"]),
        *(("no_match", source) for source in found["no_match"]),
    ]
    if not output.terminal:
        for row in rows:
            output.fields(*row)
        if found["running"] and with_running:
            output.fields("running", str(found["running"]))
        return
    for kind in dict.fromkeys(row[0] for row in rows):
        named = [" ".join((row[1], *(f"({text})" for text in row[2:]))) for row in rows if row[0] == kind]
        output.line(f"{kind.replace('_', ' '):8}{len(named):5}  {', '.join(named)}")
    if found["running"] and with_running:
        output.line(f"running {found['running']:5}  tasks in the scope have not ended yet")
