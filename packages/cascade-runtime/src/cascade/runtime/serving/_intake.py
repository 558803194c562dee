"""Which requests a service accepts, what it starts and what waits, decided from what it knows. No I/O."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from cascade.interfaces import UsageError
from cascade.interfaces.text import nearest
from cascade.runtime.starting import Startable
from cascade.spec import Overlap
from cascade.spec.schedules import DEFAULT_LEASE_TTL, Missed
from cascade.wire.requests import StartRequest

MAX_WAITING = 10
"""Requests of one workflow that wait beside those that run."""
MAX_RUNNING = 100
"""Runs of one workflow at the same time, with ``overlap="allow"``."""
MAX_VALUES = 100
"""Values that are remembered, of the runs that ended last."""
REMEMBERED = 1_000
"""Ids that are remembered without a state folder, for :data:`REMEMBERED_SECONDS`."""
REMEMBERED_SECONDS = 86_400.0


class Code(StrEnum):
    """Why a request is refused."""

    BUSY = "busy"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    EXPIRED = "expired"
    PAUSED = "paused"
    RETAINED = "retained"
    FULL = "full"
    STOPPING = "stopping"


class State(StrEnum):
    """How far the run of a request is."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


class Outcome(NamedTuple):
    """How a run ended."""

    status: str
    """``Succeeded``, ``Failed`` or ``Cancelled``."""
    ended: float
    """In seconds since the epoch."""
    error: str = ""
    duration_ms: float | None = None
    value: Any = msgspec.UNSET


@dataclass(slots=True, eq=False)
class RequestedRun:
    """A request that was accepted, and its run."""

    workflow: str
    id: str
    params: Mapping[str, Any]
    """As they were sent."""
    digest: bytes
    """Of the converted values, with the defaults."""
    received: float
    """In seconds since the epoch."""
    by: str = ""
    state: State = State.WAITING
    outcome: Outcome | None = None
    waits: bool = False
    """Whether a request wants to hear of the end."""
    answered: bool = False
    """Whether the end was sent."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The converted values."""
    traceparent: str = ""
    """Of the request: the trace of its run."""

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return f"{self.workflow}~{self.id}"

    @property
    def is_tick(self) -> bool:
        """Whether the clock has started it: the id of a request has no colon."""
        return ":" in self.id


class Refused(NamedTuple):
    """The request starts nothing."""

    code: Code
    reason: str


class Accepted(NamedTuple):
    """The request has a run."""

    run: RequestedRun
    is_new: bool
    """False: an earlier request of this id has it."""


@dataclass(slots=True, eq=False)
class Offer:
    """A workflow that a service starts."""

    name: str
    startable: Startable
    overlap: Overlap = "skip"
    answer: bool = False
    digest: str = ""
    running: int = 0
    waiting: deque[RequestedRun] = field(default_factory=deque)
    last: RequestedRun | None = None
    """The run that ended last."""
    last_success: float | None = None
    """When the last run that succeeded ended, in seconds since the epoch."""
    cron: str | None = None
    every: str | None = None
    tz: str | None = None
    missed: Missed = "one"
    lease: str | None = None
    lease_ttl: str = DEFAULT_LEASE_TTL
    skipped: tuple[float, str, str] | None = None
    """The latest tick that did not start: its time, the code and the reason."""

    def note_last(self, run: RequestedRun) -> None:
        """Take a run that has ended."""
        self.last = run
        if run.outcome is not None and run.outcome.status == "Succeeded":
            self.last_success = run.outcome.ended


class Intake:
    """Decides about requests and remembers those that it has accepted.

    :param pause_of: returns the scope of a pause that covers a workflow; empty if none does.
    :param remembered: how many runs that have ended are remembered, and for how many seconds.
    """

    def __init__(
        self,
        offers: Iterable[Offer],
        *,
        pause_of: Callable[[str], str] = lambda workflow: "",
        remembered: tuple[int, float] = (REMEMBERED, REMEMBERED_SECONDS),
    ) -> None:
        self.offers = {offer.name: offer for offer in offers}
        self.stopping = False
        """Whether nothing new is accepted."""
        self._pause_of = pause_of
        self._most, self._seconds = remembered
        self._runs: dict[str, RequestedRun] = {}
        """By run id."""
        self._ended: deque[RequestedRun] = deque()
        """In the order of their ends."""

    def decide(
        self, workflow: str, request: StartRequest, *, now: float, retained: bool = False
    ) -> Refused | Accepted:
        """Return what becomes of a request; a new run that is to start now is ``RUNNING``, one that waits ``WAITING``.

        :param now: seconds since the epoch.
        :param retained: whether the broker keeps the message, and would deliver it again.
        """
        if (refused := self._unfit(workflow, request, now, retained=retained)) is not None:
            return refused
        offer = self.offers[workflow]
        self._forget(now)
        try:
            values = offer.startable.converted(request.params)
        except UsageError as error:
            return Refused(Code.INVALID, str(error))
        digest = digest_of(offer.startable, values, request.params)
        known = self._runs.get(f"{workflow}~{request.id}") if request.id else None
        if known is not None and known.digest != digest:
            return Refused(Code.INVALID, f"the id {request.id} was used with other parameters")
        if known is not None:
            known.waits |= request.wait
            return Accepted(known, False)
        if (refused := self._obstacle(offer)) is not None:
            return refused
        run = RequestedRun(
            workflow,
            request.id or secrets.token_hex(8),
            request.params,
            digest,
            now,
            by=request.by,
            waits=request.wait,
            values=values,
            traceparent=request.traceparent,
        )
        self._take(offer, run)
        return Accepted(run, True)

    def tick(self, workflow: str, id_: str, *, now: float, missed: bool) -> Refused | Accepted:
        """Return what becomes of a tick of the clock; a run of that id is never begun again.

        :param missed: whether it came due earlier: then it waits for what goes on, beyond the limits.
        """
        offer = self.offers[workflow]
        self._forget(now)
        if (known := self._runs.get(f"{workflow}~{id_}")) is not None:
            return Accepted(known, False)
        if self.stopping:
            return Refused(Code.STOPPING, "the service is stopping")
        if not missed and (refused := self._obstacle(offer)) is not None:
            return refused
        values = offer.startable.converted({})
        digest = digest_of(offer.startable, values, {})
        run = RequestedRun(workflow, id_, {}, digest, now, by="clock", values=values)
        self._take(offer, run)
        return Accepted(run, True)

    def recall(self, run: RequestedRun) -> bool:
        """Take a run that an earlier process had accepted; return whether it can go on or has ended.

        One that waits again may exceed the limits: it was accepted.
        """
        offer = self.offers.get(run.workflow)
        self._runs[run.run_id] = run
        if run.state is State.ENDED:
            self._remember(run)
            if offer is not None:
                offer.note_last(run)
            return True
        if offer is None:
            return False
        try:
            run.values = offer.startable.converted(run.params)
        except UsageError:
            return False
        self._take(offer, run)
        return True

    def ended(self, run: RequestedRun, outcome: Outcome) -> RequestedRun | None:
        """Take the end of a run; return the one that starts in its place."""
        offer = self.offers[run.workflow]
        run.state, run.outcome = State.ENDED, outcome
        self._remember(run)
        offer.note_last(run)
        return self._next(offer)

    def withdrawn(self, run: RequestedRun) -> RequestedRun | None:
        """Forget a run that could not begin; return the one that starts in its place."""
        del self._runs[run.run_id]
        offer = self.offers[run.workflow]
        if run.state is State.WAITING:
            offer.waiting.remove(run)
            return None
        return self._next(offer)

    def get(self, run_id: str) -> RequestedRun | None:
        """Return the run of a request that is remembered."""
        return self._runs.get(run_id)

    def active(self) -> list[RequestedRun]:
        """Return the runs that have not ended."""
        return [run for run in self._runs.values() if run.state is not State.ENDED]

    def _take(self, offer: Offer, run: RequestedRun) -> None:
        self._runs[run.run_id] = run
        if offer.overlap != "allow" and offer.running:
            run.state = State.WAITING
            offer.waiting.append(run)
        else:
            run.state = State.RUNNING
            offer.running += 1

    def _next(self, offer: Offer) -> RequestedRun | None:
        offer.running -= 1
        if not offer.waiting or self.stopping:
            return None
        run = offer.waiting.popleft()
        run.state = State.RUNNING
        offer.running += 1
        return run

    def _unfit(self, workflow: str, request: StartRequest, now: float, *, retained: bool) -> Refused | None:
        """Return why a request is refused whatever goes on here."""
        if retained:
            return Refused(Code.RETAINED, "a retained message would come again; publish it without retain")
        if workflow not in self.offers:
            return Refused(Code.UNKNOWN, self._unknown(workflow))
        if request.expires_at is not None and request.expires_at <= now:
            return Refused(Code.EXPIRED, f"it expired {now - request.expires_at:.0f} s ago")
        return None

    def _obstacle(self, offer: Offer) -> Refused | None:
        """Return why nothing new of a workflow is accepted now."""
        if self.stopping:
            return Refused(Code.STOPPING, "the service is stopping")
        if offer.overlap != "queue" and (scope := self._pause_of(offer.name)):
            return Refused(Code.PAUSED, f"a pause of {scope} is in force")
        if offer.overlap == "skip" and offer.running:
            return Refused(Code.BUSY, "a run of this workflow goes on")
        if offer.overlap == "queue" and len(offer.waiting) >= MAX_WAITING:
            return Refused(Code.FULL, f"{MAX_WAITING} requests wait already")
        if offer.running >= MAX_RUNNING:
            return Refused(Code.FULL, f"{MAX_RUNNING} runs of this workflow go on")
        return None

    def _unknown(self, workflow: str) -> str:
        near = nearest(workflow[:100], self.offers)
        hint = f"did you mean {near!r}?" if near else f"it offers {', '.join(self.offers)}"
        return f"no workflow {workflow[:100]!r}; {hint}"

    def _remember(self, run: RequestedRun) -> None:
        """Keep how a run has ended; the digest is enough to know its parameters again."""
        run.params = run.values = {}
        self._ended.append(run)
        if len(self._ended) > MAX_VALUES and (outcome := (old := self._ended[-MAX_VALUES - 1]).outcome):
            old.outcome = outcome._replace(value=msgspec.UNSET)

    def _forget(self, now: float) -> None:
        """Forget the runs that ended first, beyond the limits."""
        ended = self._ended
        while ended and (len(ended) > self._most or _age(ended[0], now) > self._seconds):
            del self._runs[ended.popleft().run_id]


def digest_of(startable: Startable, values: Mapping[str, Any], params: Mapping[str, Any]) -> bytes:
    """Return a digest of converted values with the defaults: by it, two requests ask for the same."""
    from hashlib import blake2b

    filled = {each.name: each.default for each in startable.parameters if not each.required} | dict(values)
    found = blake2b(digest_size=16)
    for name in sorted(filled):
        try:
            text = msgspec.json.encode(filled[name], order="deterministic")
        except (TypeError, ValueError, RecursionError):
            # a value of another type than JSON has: what was sent decides
            text = msgspec.json.encode(params.get(name), order="deterministic")
        found.update(b"%d:%s%d:%s" % (len(name), name.encode("utf-8", "replace"), len(text), text))
    return found.digest()


def _age(run: RequestedRun, now: float) -> float:
    return now - run.outcome.ended if run.outcome is not None else 0.0
