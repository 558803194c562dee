"""What a gate says after it was written, and whether engines that connect later will know it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cascade.cli._steering.request import Change
from cascade.cli.errors import FAILED, OK
from cascade.cli.link import Link
from cascade.cli.output import Output
from cascade.cli.snapshot import CONSTRAINTS, REGISTERS, fill
from cascade.wire import View, gate_rows

Answers = Callable[[Link, Output], Awaitable[int]]
"""Prints what the engines say behind a change; returns an exit code."""


def gate_answers(change: Change) -> Answers:
    """Return how to print what each engine says of a gate that was just written."""

    async def show(link: Link, output: Output) -> int:
        view = View()
        stream = link.watch(REGISTERS, CONSTRAINTS)
        try:
            complete = await fill(view, stream)
        finally:
            await stream.aclose()
        for source, row in gate_rows(view):
            if row.topic == change.topic and row.gate:
                output.note(f"{source}: {row.gate.text}")
        if complete is None or change.topic in view.registers:
            return OK
        output.note(
            "this broker sends no retained messages for filters with wildcards: engines that connect later, or again, "
            "do not know this gate; declare it in the program with cs.gate(...), or use another broker"
        )
        return FAILED

    return show
