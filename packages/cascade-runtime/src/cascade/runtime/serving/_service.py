"""A service: takes requests, starts runs, answers, and reports what it offers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Connector,
    EventBus,
    Message,
    RunSummary,
    SupportsLink,
    supports,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.topics import parse_request_topic, state_topic
from cascade.interfaces.wire import default_source, source_of
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.loops import cancel
from cascade.runtime._support.publish_queue import PublishQueue
from cascade.runtime.serving._intake import (
    REMEMBERED,
    REMEMBERED_SECONDS,
    Accepted,
    Code,
    Intake,
    Offer,
    Refused,
    RequestedRun,
)
from cascade.runtime.serving._leases import Leases
from cascade.runtime.serving._refusals import RefusalLog
from cascade.runtime.serving._report import workflows_report
from cascade.runtime.serving._request_stream import RequestStream
from cascade.runtime.serving._responses import Asker, Responses
from cascade.runtime.serving._runs import STOP_SECONDS, RunTarget, ServiceRuns, log_error
from cascade.runtime.serving._store import KEPT_SECONDS, RequestStore
from cascade.runtime.serving._systemd import notify
from cascade.runtime.serving._ticking import Ticking
from cascade.wire.requests import OfferedLease, RequestError, parse_request

MAX_REMEMBERED = 10_000
"""Ended runs that are remembered with a state folder."""
_DEAF = "the broker does not let this service read its requests"
_log = get_logger("cascade.serve")


class Service:
    """Starts the workflows that it offers when it is asked over a connector, for as long as :meth:`serve` runs.

    :param run: runs a target; :class:`cascade.Engine` gives it.
    :param bus: that of the runs: a run is recorded when it has published its start.
    :param pause_of: returns the scope of a pause that covers a workflow; empty if none does.
    :param store: keeps accepted requests for the next process; without one, they are remembered in memory.
    :param history: returns the recorded run of an id, if there is one.
    :param drain: seconds that active runs have to end when the service stops.
    :raises ConfigurationError: if the connector cannot receive requests or has no name, or two workflows have one name.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        *,
        connector: Connector,
        run: RunTarget,
        bus: EventBus,
        pause_of: Callable[[str], str],
        store: RequestStore | None = None,
        history: Callable[[str], Sequence[RunSummary]] = lambda run_id: (),
        clock: Clock | None = None,
        redactor: Redactor | None = None,
        drain: float = 30.0,
    ) -> None:
        self._source = checked_source(connector)
        _check_names(offers)
        self._connector, self._store, self._drain = connector, store, drain
        self._clock = clock or SystemClock()
        self._redactor = redactor or Redactor.DEFAULT
        remembered = (REMEMBERED, REMEMBERED_SECONDS) if store is None else (MAX_REMEMBERED, KEPT_SECONDS)
        self._intake = Intake(offers, pause_of=pause_of, remembered=remembered)
        self._leases = Leases(offers, connector=connector, clock=self._clock, changed=self._lease_changed)
        self._responses = Responses(connector, self._source, self._redactor)
        self._requests = RequestStream(connector, self._source, take=self._take, changed=self._report)
        self._runs = ServiceRuns(
            self._intake, connector=connector, run=run, bus=bus, clock=self._clock,
            redactor=self._redactor, store=store, history=history, leases=self._leases,
            responses=self._responses, refuse=self._refuse, report=self._report,
        )  # fmt: skip
        self._ticking = Ticking(
            self._intake, clock=self._clock, pause_of=pause_of, store=store, leases=self._leases,
            start=self._runs.start_tick, report=self._report,
        )  # fmt: skip
        self._reports = PublishQueue(connector, content="reports of workflows", logger=_log, latest_only=True)
        self._session = secrets.token_hex(8)
        self._refusals = RefusalLog(self._clock, self._redactor)

    async def prepare(self) -> None:
        """Make the file of requests, and subscribe to them; before the connector connects, and :meth:`serve` after that.

        :raises StateUnavailable: if the file cannot be used.
        """
        if self._store is not None:
            await self._store.prepare()
        self._requests.open()

    async def serve(self) -> None:
        """Serve until the asyncio task is cancelled; then refuse what comes, and let active runs end.

        :raises StateUnavailable: if the requests of an earlier process cannot be read.
        """
        await self._runs.begin()
        await self._ticking.begin()
        reader = asyncio.create_task(self._requests.read(), name=f"cascade requests {self._source}")
        ticking = None
        if self._ticking.has_schedule:
            self._leases.start()
            ticking = asyncio.create_task(self._ticking.run(), name=f"cascade ticks {self._source}")
            ticking.add_done_callback(log_error)
        # also without a link: the broker may come later, and a service manager would not wait for it
        notify("READY=1")
        try:
            # not the reader itself: a cancel of this one would end it, and requests are refused until the end
            await asyncio.wait({reader})
        finally:
            try:
                if ticking is not None:
                    await cancel([ticking], timeout=STOP_SECONDS)
                await self._stop()
            finally:
                await self._leases.stop()
                await cancel([reader], timeout=STOP_SECONDS)
                await self._runs.close()
                if self._store is not None:
                    await self._store.close()

    def _take(self, message: Message) -> None:
        addressed = parse_request_topic(message.topic)
        if addressed is None or not message.payload:
            return
        source, workflow = addressed
        if source is None and workflow not in self._intake.offers:
            # another engine may offer it
            return
        reply_to = message.reply_to
        if reply_to is not None and not reply_to.is_permitted(message.topic):
            reply_to = None
        try:
            request = parse_request(message.payload, traceparent=message.traceparent)
        except RequestError as error:
            asker = Asker(error.id, reply_to)
            self._refuse_request([asker], workflow, Refused(Code.INVALID, str(error)), id_=error.id)
            return
        decided = self._intake.decide(workflow, request, now=self._clock.now(), retained=message.retain)
        if isinstance(decided, Accepted):
            self._runs.accept(Asker(decided.run.id, reply_to, request.wait), decided, request)
        elif decided.code is not Code.RETAINED or self._requests.is_first(message):
            asker = Asker(request.id or secrets.token_hex(8), reply_to)
            self._refuse_request([asker], workflow, decided, id_=request.id, by=request.by)

    def _refuse(self, askers: Sequence[Asker], run: RequestedRun, refused: Refused) -> None:
        """Refuse a request that was accepted, because its run cannot begin."""
        self._refuse_request(askers, run.workflow, refused, id_=run.id, by=run.by)

    def _refuse_request(
        self, askers: Sequence[Asker], workflow: str, refused: Refused, *, id_: str = "", by: str = ""
    ) -> None:
        self._refusals.refused(workflow, refused, id_=id_, by=by)
        for asker in askers:
            self._responses.refused(asker, refused)

    def _report(self) -> None:
        presence = self._connector.presence if supports(self._connector, SupportsLink) else None
        body = workflows_report(
            self._intake.offers.values(),
            source=self._source,
            session=self._session,
            presence=presence or "",
            accepting=not self._intake.stopping,
            redactor=self._redactor,
            now=self._clock.now(),
            problem=_DEAF if self._requests.is_deaf else "",
            schedule_of=self._ticking.schedule_of,
            lease_of=self._lease_of,
        )
        self._reports.publish(state_topic(self._source, "workflows"), body, qos=1, retain=True)

    def _lease_of(self, workflow: str) -> OfferedLease | None:
        lease = self._leases.of(workflow)
        return None if lease is None else lease.row()

    def _lease_changed(self) -> None:
        self._ticking.look()
        self._report()

    async def _stop(self) -> None:
        """Refuse what comes, let active runs end, and leave the others to the next process."""
        self._intake.stopping = True
        # the runs that go on keep it until they have ended
        self._leases.close()
        notify("STOPPING=1")
        self._report()
        await self._runs.stop(self._drain)
        self._refusals.close()
        await self._responses.drain(STOP_SECONDS)
        await self._reports.drain(STOP_SECONDS)


def checked_source(connector: Connector) -> str:
    """Return the name of a service.

    :raises ConfigurationError: if the connector has none.
    """
    source = source_of(connector)
    if source == default_source():
        raise ConfigurationError(
            "serve(connector=)", "needs a name, by which others ask it: mqtt://broker?source_id=press-line-3"
        )
    return source


def _check_names(offers: Sequence[Offer]) -> None:
    names = [offer.name for offer in offers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(
            "serve()", f"two workflows have the name {twice[0]!r}; give one another name"
        )
    if not names:
        raise ConfigurationError("serve()", "needs at least one workflow")
