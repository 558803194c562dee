"""Serve workflows: they start when a message asks for it, and when their time has come."""

from __future__ import annotations

import gc
import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from cascade.interfaces.errors import ConfigurationError, UsageError
from cascade.sdk import plugins
from cascade.sdk.run import in_event_loop, open_engine, refuse_import, refuse_mistakes
from cascade.sdk.run_settings import Settings
from cascade.sdk.signals import run_guarded
from cascade.spec import Workflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cascade.interfaces import Connector
    from cascade.runtime.serving import Offer, Service
    from cascade.sdk.run import OpenedEngine

_OF_EACH_RUN = ("run_id", "name", "workflow", "traceparent")
"""Settings of a single run: a service has many."""


def serve(
    *workflows: Workflow[..., Any] | Callable[..., Any],
    connector: Connector | str | None = None,
    drain: float = 30.0,
    **settings: Unpack[Settings],
) -> None:
    """Offer workflows at the broker, and start them when they are asked for or their time has come, until SIGTERM or Ctrl-C.

    ``connector`` needs a name, by which others ask for a run: ``"mqtt://broker?source_id=press-line-3"``. With ``state="runs"``
    accepted requests and their runs outlive the process: one id never starts a second run. The settings are those of
    :func:`cascade.run`; they hold for every run. A plain function is a workflow with the defaults of :func:`cascade.workflow`.

    A workflow with ``cron`` or ``every`` starts by itself, too, and needs no connector. Each tick is a run whose id has its
    time, such as ``audit~2026-11-25T02:00:00Z``, and starts at most once.

    At the end nothing more is accepted, and active runs have ``drain`` seconds to end. A second signal ends it at once.

    :raises UsageError: inside a running event loop; use ``await cs.aserve(...)`` there. Also while a worker or the command
        ``cascade`` imports the program.
    :raises ConfigurationError: if the connector is missing and no workflow has a schedule, it has no name or cannot receive requests, or two workflows have
        one name, or a schedule cannot work.
    :raises ConnectorUnavailable: if the connector requires its link and has none.
    :raises StateUnavailable: if the state folder cannot be used.
    :raises KeyboardInterrupt: after Ctrl-C.
    :raises SystemExit: with status 143 after SIGTERM, 129 after SIGHUP.
    """
    if in_event_loop():
        raise UsageError("cs.serve(...) cannot run inside a running event loop; write: await cs.aserve(...)")
    refuse_import()
    # the process is the service: what its start has made stays, and no collection has to look at it again
    run_guarded(lambda: serve_offers(workflows, connector, settings, drain=drain, begun=gc.freeze))


async def aserve(
    *workflows: Workflow[..., Any] | Callable[..., Any],
    connector: Connector | str | None = None,
    drain: float = 30.0,
    **settings: Unpack[Settings],
) -> None:
    """Do what :func:`serve` does until the asyncio task is cancelled; signals are left alone."""
    await serve_offers(workflows, connector, settings, drain=drain)


async def serve_offers(
    workflows: Sequence[Workflow[..., Any] | Callable[..., Any]],
    connector: Connector | str | None,
    settings: Settings,
    *,
    drain: float,
    begun: Callable[[], object] = lambda: None,
) -> None:
    """Do what :func:`aserve` does.

    :param begun: called when nothing was found that keeps the service from offering its workflows.
    """
    refuse_mistakes("serve", (), settings)
    refuse_import()
    for name in _OF_EACH_RUN:
        if name in settings:
            raise ConfigurationError(
                f"serve({name}=)", "belongs to one run, and a service has many; leave it out"
            )
    offers = [offer_of(each) for each in workflows]
    if connector is None:
        connector = _nobody(offers)
        # a report that nobody hears would only wake the machine
        settings["host_report"] = False
    link = plugins.connector(connector) if isinstance(connector, str) else connector
    opened = await open_engine(settings, link)
    try:
        service = _service(opened, offers, link, settings, drain=drain)
        await service.prepare()
        begun()
        async with opened.engine.attached([each.name for each in offers]):
            await service.serve()
    finally:
        await opened.close()


def _nobody(offers: list[Offer]) -> Connector:
    """Return a connector that nobody else has: the clock alone starts runs.

    :raises ConfigurationError: if no workflow has a schedule.
    """
    from cascade.runtime import LocalConnector

    if leased := [each for each in offers if each.lease is not None]:
        problem = f"is missing, and {leased[0].name} has lease={leased[0].lease!r}; pass connector='mqtt://broker?source_id=press-line-3'"
        raise ConfigurationError("serve(connector=)", problem)
    if not any(each.cron or each.every for each in offers):
        raise ConfigurationError(
            "serve(connector=)",
            "is missing, and no workflow has a schedule; pass connector='mqtt://broker?source_id=press-line-3'",
        )
    return LocalConnector(source_id="local")


def _service(
    opened: OpenedEngine, offers: list[Offer], link: Connector, settings: Mapping[str, Any], *, drain: float
) -> Service:
    from cascade.interfaces.wire import source_of
    from cascade.runtime.serving import RequestStore, Service

    engine, of_run = opened.engine, opened.of_run
    state = engine.state_backend
    folder = getattr(state, "folder", None)
    store = RequestStore(folder, source_of(link)) if isinstance(folder, Path) else None
    return Service(
        offers,
        connector=link,
        run=lambda target, params, run: engine.run(
            target,
            params,
            run_id=run.run_id,
            workflow=run.workflow,
            traceparent=run.traceparent,
            **of_run,
        ),
        bus=engine.bus,
        clock=settings.get("clock"),
        redactor=settings.get("redactor"),
        pause_of=engine.pause_of,
        store=store,
        history=lambda run_id: [] if state is None else state.runs(run_id=run_id),
        drain=drain,
    )


def offer_of(workflow: Workflow[..., Any] | Callable[..., Any]) -> Offer:
    """Return what a service needs to know of a workflow.

    :raises UsageError: if it is none.
    """
    from cascade.runtime.serving import Offer
    from cascade.runtime.starting import startable

    made = workflow if isinstance(workflow, Workflow) else Workflow(workflow)
    return Offer(
        made.name,
        startable(made, made.name),
        made.overlap,
        made.answer,
        digest=_digest(made.function),
        cron=made.cron,
        every=made.every,
        tz=made.tz,
        missed=made.missed,
        lease=made.lease,
        lease_ttl=made.lease_ttl,
    )


def _digest(function: Callable[..., Any]) -> str:
    """Return a digest of the file that has a function; empty where there is none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
        return hashlib.sha256(Path(file or os.devnull).read_bytes()).hexdigest()[:16] if file else ""
    except (OSError, TypeError):
        return ""
