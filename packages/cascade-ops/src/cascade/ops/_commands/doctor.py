"""``cascade doctor``."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import click

from cascade.cli import link
from cascade.cli.command import command as make
from cascade.cli.command import settings
from cascade.cli.errors import FAILED, NO_BROKER, OK, USAGE, CommandError
from cascade.cli.link import Address
from cascade.ops._doctor.broker_checks import broker_findings
from cascade.ops._doctor.engine_checks import engine_findings
from cascade.ops._doctor.examination import Examination
from cascade.ops._doctor.facts import Facts
from cascade.ops._doctor.finding import Finding, parted
from cascade.ops._doctor.gate_checks import gate_findings
from cascade.ops._doctor.link_checks import link_findings
from cascade.ops._doctor.report import lines_of, plan_of
from cascade.ops._doctor.retained_checks import retained_findings
from cascade.ops._doctor.rights_checks import rights_findings
from cascade.ops._doctor.schedule_checks import schedule_findings
from cascade.ops._doctor.service_checks import service_findings
from cascade.ops._doctor.store_checks import store_findings
from cascade.runtime.serving import missed_ticks

_PIPE_WIDTH = 100


@make(name="doctor")
@click.option("--fix-plan", is_flag=True, help="Print only what to do, step by step.")
@click.option(
    "--probe-write",
    is_flag=True,
    help="Also try to write a constraint, and to start what services offer; both have expired already.",
)
@click.option(
    "--state",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="The state folder of a service on this machine: name its ticks that were due and did not run.",
)
@link.with_broker
def command(address: Address, *, fix_plan: bool, probe_write: bool, state: str | None) -> int:
    """Find out what is wrong with a broker, and what to do about it.

    What it publishes bears the name doctor-RANDOM, is ignored by engines, and is cleared at the end. Exit code: 0
    nothing is wrong, there may be warnings; 1 problems; 3 no link.
    """
    found = settings()
    if fix_plan and found.output.json:
        remedy = "leave one of them out: the JSON has the remedy of each finding"
        raise CommandError("--fix-plan is text and cannot be printed with --json", remedy, code=USAGE)
    missed = () if state is None else tuple(missed_ticks(Path(state), time.time()))
    facts = link.run(Examination(address, probe_write=probe_write).run(), debug=found.debug)
    facts.missed = missed
    problems, warnings = parted(findings(facts, now=time.time()))
    output, width = found.output, _width()
    if output.json:
        output.document(
            {
                "broker": address.place,
                "problems": [each.row for each in problems],
                "warnings": [each.row for each in warnings],
            }
        )
    elif fix_plan:
        output.text("\n".join(plan_of([*problems, *warnings], width)))
    else:
        output.text("\n".join(lines_of(facts, problems, warnings, width)))
    if facts.login is None or not facts.login.linked:
        return NO_BROKER
    return FAILED if problems else OK


def findings(facts: Facts, *, now: float) -> list[Finding]:
    """Return everything that is wrong; of a broker that was not reached, no more is said."""
    found = [*link_findings(facts, now=now)]
    if facts.login is not None and facts.login.linked:
        found += [
            *rights_findings(facts),
            *retained_findings(facts),
            *engine_findings(facts, now=now, monotonic=time.monotonic()),
            *gate_findings(facts, now=now, monotonic=time.monotonic()),
        ]
        found += [*store_findings(facts), *broker_findings(facts)]
        found += service_findings(facts)
    return [*found, *schedule_findings(facts, now=now, monotonic=time.monotonic())]


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH
