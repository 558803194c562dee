"""Executors that keep their contract, and others that break one promise each. Not collected by itself."""

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from failing import FailsByWaiting

from cascade.interfaces import CallContext, Directive, Executor, WorkerLostError
from cascade.interfaces.call_context import in_call, step_in_worker
from cascade.testkit._executor import calls
from cascade.testkit._executor.contexts import Contexts
from cascade.testkit._executor.processes import Processes
from cascade.testkit._executor.values import Values
from cascade.testkit.executor import Ability, ExecutorContract

pytestmark = pytest.mark.process  # they start processes
DEADLY = (calls.die, calls.die_once_more)  # these need a process of their own


class Sound:
    """The smallest executor over the standard library's threads."""

    workers = 2

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(self.workers)
        self._given_up: set[concurrent.futures.Future[Any]] = set()

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._pool.submit(self.carry_out, function, args, kwargs)
        try:
            return await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            if not call.done():
                self._given_up.add(call)
            raise

    def carry_out(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function in DEADLY:
            return self.lose(function, args)
        try:
            return function(*args, **kwargs)
        except StopIteration as exc:
            raise RuntimeError("the task raised StopIteration") from exc

    def lose(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        worker = multiprocessing.get_context("spawn").Process(target=function, args=args)
        worker.start()
        worker.join()
        raise WorkerLostError(function.__name__, 1, f"exit code {worker.exitcode}")

    async def settle(self, timeout: float) -> int:
        if self._given_up:
            await asyncio.wait([asyncio.wrap_future(call) for call in self._given_up], timeout=timeout)
        self._given_up = {call for call in self._given_up if not call.done()}
        return len(self._given_up)

    async def close(self) -> None:
        self._pool.shutdown(wait=False)
        self._pool = concurrent.futures.ThreadPoolExecutor(self.workers)


class WithContext(Sound):
    """Calls in threads, with a context."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: list[InThread] = []

    async def close(self) -> None:
        for call in self._begun:
            call.direct(Directive.RUN)  # or its thread would wait, and Python's exit with it
        await super().close()

    async def run_with(
        self,
        context: CallContext,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        started: Callable[[], None] | None = None,
    ) -> Any:
        call = self.begin(context)
        self._begun.append(call)
        unfollow = context.follow(call.direct)
        try:
            return await self.run(self.enter(call, function), args, kwargs)
        except asyncio.CancelledError:
            self.give_up(call)
            raise
        finally:
            unfollow()

    def give_up(self, call: "InThread") -> None:
        call.given_up = True
        call.direct(Directive.CANCEL)

    def begin(self, context: CallContext) -> "InThread":
        return InThread(context)

    def enter(self, call: "InThread", function: Callable[..., Any]) -> Callable[..., Any]:
        def entered(*args: Any) -> Any:
            in_call.set(call)
            step_in_worker.set(call.context.step)
            try:
                return function(*args)
            finally:
                in_call.set(None)

        return entered


class InThread:
    """The call's side of a context."""

    def __init__(self, context: CallContext) -> None:
        self.context = context
        self.directive = Directive.RUN
        self.directed = 0
        self.given_up = False
        self.changed = threading.Condition()

    def direct(self, directive: Directive) -> None:
        with self.changed:
            self.directive = directive
            self.directed += 1
            self.changed.notify_all()

    def publish(self, name: str, data: Any) -> None:
        self.context.publish(name, data)

    def checkpoint(self, progress: tuple[float, float | None, str, str] | None) -> None:
        if progress is not None:
            self.context.progress(*progress)
        with self.changed:
            if self.directive is Directive.PAUSE:
                self.context.arrived(paused=True)
                self.changed.wait_for(self.may_leave, 20)
                self.context.arrived(paused=False)
            if self.directive is Directive.CANCEL:
                raise asyncio.CancelledError

    def may_leave(self) -> bool:
        return self.directive is not Directive.PAUSE


class LosesAPause(InThread):
    """A pause that follows the end of another one is lost."""

    def direct(self, directive: Directive) -> None:
        if directive is not Directive.PAUSE or not self.directed:
            super().direct(directive)


class StaysPaused(InThread):
    """A call that waits does not hear that it is cancelled, as long as it is awaited."""

    def may_leave(self) -> bool:
        return self.directive is Directive.RUN or self.given_up


class KeepsProgress(InThread):
    """Progress is not passed on."""

    def checkpoint(self, progress: tuple[float, float | None, str, str] | None) -> None:
        super().checkpoint(None)


class ContextMutant(WithContext):
    """One whose calls have another side."""

    def __init__(self, kind: type[InThread]) -> None:
        super().__init__()
        self._kind = kind

    def begin(self, context: CallContext) -> InThread:
        return self._kind(context)


class FollowsForEver(WithContext):
    """A call that has ended is followed on."""

    def begin(self, context: CallContext) -> InThread:
        call = super().begin(context)
        context.follow(call.direct)
        return call


class ForgetsWhatWasGivenUp(WithContext):
    """A call that no task awaits runs on as if nothing had happened; where it waits, it goes on."""

    def give_up(self, call: InThread) -> None:
        call.direct(Directive.RUN)


class TellsAnotherStep(WithContext):
    """Each call learns that it is the first attempt."""

    def enter(self, call: InThread, function: Callable[..., Any]) -> Callable[..., Any]:
        entered = super().enter(call, function)

        def mistold(*args: Any) -> Any:
            return (*entered(*args)[:-1], 1) if function is calls.tell_step else entered(*args)

        return mistold


class ChangesAValue(Sound):
    """A text comes back as another text."""

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = await super().run(function, args, kwargs)
        return value.upper() if value == "text" else value


class LosesAResult(Sound):
    """Of many calls at a time, one is answered with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._calls += 1
        lost = self._calls == 50
        value = await super().run(function, args, kwargs)
        return None if lost else value


class SwallowsAnError(Sound):
    """A LookupError is taken for a missing value."""

    def carry_out(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return super().carry_out(function, args, kwargs)
        except LookupError:
            return None


class LeaksOnCancel(Sound):
    """A call that is abandoned before its start leaves the task that waits for it."""

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return await super().run(function, args, kwargs)
        except asyncio.CancelledError:
            self._watch = asyncio.create_task(asyncio.Event().wait(), name="left")
            raise


class RunsAgain(Sound):
    """A call whose worker was lost is run a second time."""

    def lose(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        with contextlib.suppress(WorkerLostError):
            super().lose(function, args)
        return super().lose(function, args)


class NamesTheFirstDeathOnly(Sound):
    """The second call that kills its worker fails with an error of the pool."""

    def __init__(self) -> None:
        super().__init__()
        self._deaths = 0

    def lose(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self._deaths += 1
        if self._deaths > 1:
            raise concurrent.futures.BrokenExecutor("a worker of the pool has died")
        return super().lose(function, args)


class TellsTooEarly(Sound):
    """A call that is abandoned is reported as ended while it runs."""

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._call = self._pool.submit(self.carry_out, function, args, kwargs)
        return await asyncio.wrap_future(self._call)

    def runs_on(self) -> asyncio.Future[None] | None:
        ended = asyncio.get_running_loop().create_future()
        ended.set_result(None)
        return ended if self._call.running() else None


class Made:
    """Makes executors of one kind."""

    make_one: ClassVar[Callable[[], Executor]]

    async def make(self) -> Executor:
        return type(self).make_one()


class TestSound(Made, ExecutorContract):
    abilities = frozenset({Ability.SURVIVES})
    make_one = Sound


class TestWithContext(Made, ExecutorContract):
    abilities = frozenset({Ability.STEPS, Ability.CONTEXTS})
    make_one = WithContext


class ContextContract(Made, FailsByWaiting, Contexts):
    """Only the section that the mutants of a context could fail."""

    abilities = frozenset({Ability.STEPS, Ability.CONTEXTS})
    kind: type[InThread] | None = None

    async def make(self) -> Executor:
        return ContextMutant(self.kind) if self.kind else await super().make()


class TestLosesAPause(ContextContract):
    fault = "test_a_paused_call_waits_until_it_may_go_on"
    kind = LosesAPause


class TestStaysPaused(ContextContract):
    fault = "test_a_call_ends_at_its_checkpoint_when_it_is_cancelled"
    kind = StaysPaused


class TestKeepsProgress(ContextContract):
    fault = "test_progress_and_values_of_a_call_arrive"
    kind = KeepsProgress


class TestFollowsForEver(ContextContract):
    fault = "test_a_call_that_has_ended_is_not_followed"
    make_one = FollowsForEver


class TestForgetsWhatWasGivenUp(ContextContract):
    fault = "test_a_call_that_was_given_up_is_cancelled_at_its_checkpoint"
    make_one = ForgetsWhatWasGivenUp


class TestTellsAnotherStep(ContextContract):
    fault = "test_a_call_is_told_its_step"
    make_one = TellsAnotherStep


class TestChangesAValue(Made, Values):
    make_one = ChangesAValue


class TestLosesAResult(Made, ExecutorContract):
    make_one = LosesAResult


class TestSwallowsAnError(Made, ExecutorContract):
    make_one = SwallowsAnError


class TestRunsAgain(Made, ExecutorContract):
    abilities = frozenset({Ability.SURVIVES})
    make_one = RunsAgain


class TestNamesTheFirstDeathOnly(Made, Processes):
    abilities = frozenset({Ability.SURVIVES})
    make_one = NamesTheFirstDeathOnly


class TestTellsTooEarly(Made, ExecutorContract):
    abilities = frozenset({Ability.TRACKS})
    make_one = TellsTooEarly


class TestLeaksOnCancel(Made, FailsByWaiting, ExecutorContract):
    fault = "test_a_call_given_up_leaves_nothing_behind"
    make_one = LeaksOnCancel
