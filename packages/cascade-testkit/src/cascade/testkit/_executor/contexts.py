"""Messages between running calls and their engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import Directive, Executor, StepInfo, SupportsCallContext, supports
from cascade.testkit._abilities import needs
from cascade.testkit._executor import calls
from cascade.testkit._executor.ability import Ability
from cascade.testkit._executor.harness import Harness, give_up


class Contexts(Harness):
    """Section 5: the context of a call. While a call waits at a checkpoint, it does nothing else."""

    @needs(Ability.STEPS)
    async def test_a_call_is_told_its_step(self) -> None:
        """Run, key, name and both attempts, so that it can make its idempotency key."""
        executor = await self.open()
        context = Recorded()
        step = context.step
        told = await self.within(begin_with(executor, context, calls.tell_step))
        assert tuple(told) == (step.run_id, step.key, step.name, step.attempt, step.start)

    @needs(Ability.CONTEXTS)
    async def test_progress_and_values_of_a_call_arrive(self) -> None:
        """Before or soon after its result."""
        executor = await self.open()
        context = Recorded()
        await self.within(begin_with(executor, context, calls.report, 3.0, "row", {"n": [1, 2]}))
        await self.until(lambda: context.said and context.published, "progress and a value")
        assert context.said == [(3.0, 10.0, "going on", "steps")]
        assert context.published == [("row", {"n": [1, 2]})]

    @needs(Ability.CONTEXTS)
    async def test_a_paused_call_waits_until_it_may_go_on(self, tmp_path: Path) -> None:
        """It confirms both; in between it does nothing."""
        executor = await self.open()
        context = Recorded()
        call = begin_with(executor, context, calls.go_on, str(tmp_path))
        await self.until((tmp_path / "passed").exists, "a call that starts")
        for _ in range(2):
            context.direct(Directive.PAUSE)
            await self.until(lambda: context.arrivals[-1:] == [True], "a call that waits")
            (tmp_path / "passed").unlink()
            for n in range(4):
                await self.call(executor, calls.echo, n)
            assert not (tmp_path / "passed").exists()
            context.direct(Directive.RUN)
            await self.until(lambda: context.arrivals[-1:] == [False], "a call that goes on")
            await self.until((tmp_path / "passed").exists, "the next step of the call")
        (tmp_path / "end").touch()
        assert await self.within(call)

    @needs(Ability.CONTEXTS)
    async def test_a_call_obeys_what_was_in_force_at_its_start(self, tmp_path: Path) -> None:
        """It waits at its first checkpoint."""
        executor = await self.open()
        context = Recorded(Directive.PAUSE)
        call = begin_with(executor, context, calls.go_on, str(tmp_path))
        await self.until(lambda: context.arrivals == [True], "a call that waits")
        assert not (tmp_path / "passed").exists()
        (tmp_path / "end").touch()
        context.direct(Directive.RUN)
        assert await self.within(call) == 1

    @needs(Ability.CONTEXTS)
    @pytest.mark.parametrize("paused", [False, True])
    async def test_a_call_ends_at_its_checkpoint_when_it_is_cancelled(
        self, tmp_path: Path, *, paused: bool
    ) -> None:
        """Also where it waits."""
        executor = await self.open()
        context = Recorded(Directive.PAUSE if paused else Directive.RUN)
        call = begin_with(executor, context, calls.go_on, str(tmp_path))
        if paused:
            await self.until(lambda: context.arrivals == [True], "a call that waits")
        else:
            await self.until((tmp_path / "passed").exists, "a call that starts")
        context.direct(Directive.CANCEL)
        with pytest.raises(asyncio.CancelledError):
            await self.within(call)
        (tmp_path / "end").touch()

    @needs(Ability.CONTEXTS)
    @pytest.mark.parametrize("paused", [False, True])
    async def test_a_call_that_was_given_up_is_cancelled_at_its_checkpoint(
        self, tmp_path: Path, *, paused: bool
    ) -> None:
        """No task awaits it, and it does not run to its end; also where it waits."""
        executor = await self.open()
        context = Recorded(Directive.PAUSE if paused else Directive.RUN)
        call = begin_with(executor, context, calls.note_cancel, str(tmp_path))
        if paused:
            await self.until(lambda: context.arrivals == [True], "a call that waits")
        else:
            await self.until((tmp_path / "passed").exists, "a call that starts")
        await self.within(give_up(call))
        await self.until((tmp_path / "cancelled").exists, "a call that is cancelled")
        assert await self.within(executor.settle(self.timeout)) == 0
        assert await self.call(executor, calls.echo, "next") == "next"

    @needs(Ability.CONTEXTS)
    async def test_a_call_that_has_ended_is_not_followed(self) -> None:
        """The executor stops listening for directives."""
        executor = await self.open()
        context = Recorded()
        await self.within(begin_with(executor, context, calls.tell_step))
        assert context.followers == []


class Recorded:
    """A context of the engine that keeps what it hears."""

    step = StepInfo("run-7", "resize:0[17]", "resize", 2, 3, 7)

    def __init__(self, directive: Directive = Directive.RUN) -> None:
        self.said: list[tuple[float, float | None, str, str]] = []
        self.published: list[tuple[str, Any]] = []
        self.arrivals: list[bool] = []
        self.followers: list[Callable[[Directive], None]] = []
        self._directive = directive

    def progress(self, done: float, total: float | None = None, message: str = "", unit: str = "") -> None:
        self.said.append((done, total, message, unit))

    def publish(self, name: str, data: Any) -> None:
        self.published.append((name, data))

    def arrived(self, *, paused: bool) -> None:
        self.arrivals.append(paused)

    def follow(self, notify: Callable[[Directive], None]) -> Callable[[], None]:
        self.followers.append(notify)
        if self._directive is not Directive.RUN:
            notify(self._directive)
        return lambda: self.followers.remove(notify)

    def direct(self, directive: Directive) -> None:
        """Change what the call is to do."""
        self._directive = directive
        for notify in self.followers:
            notify(directive)


def begin_with(
    executor: Executor, context: Recorded, function: Callable[..., Any], *args: Any
) -> asyncio.Task[Any]:
    """Begin a call with a context."""
    assert supports(executor, SupportsCallContext)
    call = executor.run_with(context, function, args, {})
    return asyncio.create_task(call, name=f"contract {function.__name__}")
