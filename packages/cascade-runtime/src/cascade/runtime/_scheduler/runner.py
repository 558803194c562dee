"""The runner of tasks: calls each directly, or wrapped in what it asks for."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Executor,
    Middleware,
    StepInfo,
    SupportsCallContext,
    SupportsCheck,
    SupportsTracking,
    supports,
)
from cascade.interfaces.errors import TaskTimeoutError
from cascade.interfaces.text import nearest
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.attempts import AttemptContext
from cascade.runtime._scheduler.outcome import as_failure, own_cancel
from cascade.runtime._support.loop_steps import with_calls
from cascade.runtime.executors._registry import RunExecutors
from cascade.spec import PLAIN, LazyResult
from cascade.spec.definition import AUTO, INLINE, TaskDefinition

if TYPE_CHECKING:  # a run imports the features that it uses, and no others
    from cascade.interfaces import CacheBackend
    from cascade.runtime._resources.scope import ResourceScope
    from cascade.runtime._scheduler.limited_calls import LimitedCalls
    from cascade.runtime._scheduler.recording import Recording
    from cascade.runtime.cache._call_cache import CallCache, Prepare
    from cascade.spec.retry import RetryPolicy


Wrapped = Callable[[Node, AttemptContext], Awaitable[Any]]
"""The call of a task, or a wrapper round one."""


class TaskRunner:
    """Runs tasks for one run, on the loop or through executors, as often as their policies say.

    A coroutine that does not end ``stop_timeout`` seconds after its time limit is added to ``left``.

    From the outside to the inside, a call is wrapped in: recording of its end, cache, admission, retries, recording of
    its start, time limit, middleware, resources. A task that asks for none of them is called directly.
    """

    def __init__(
        self,
        run_id: str,
        executors: RunExecutors,
        resource_scope: Callable[[], ResourceScope],
        *,
        cache_backend: Callable[[], CacheBackend],
        clock: Clock,
        left: list[asyncio.Task[Any]],
        stop_timeout: float,
        middleware: Sequence[Middleware] = (),
        offers_resources: bool = False,
        recording: Recording | None = None,
        lease_term: int | None = None,
    ) -> None:
        self._run_id = run_id
        self._lease_term = lease_term
        self._executors = executors
        self._make_scope = resource_scope
        self._offers_resources = offers_resources
        self._scope: ResourceScope | None = None
        # overrides of resources count if they were set when the run began
        self._context = contextvars.copy_context()
        self._cache_backend = cache_backend
        self._clock = clock
        self._middleware = tuple(reversed(middleware))
        self._recording = recording
        self.wraps_all = bool(middleware) or recording is not None
        """Whether the call of any task is wrapped in something that it did not ask for."""
        self.run_attempt = 1 if recording is None else recording.attempt
        """Which attempt of the run this is."""
        self._cached: CallCache | None = None
        self._left, self._stop_timeout = left, stop_timeout
        self._limited: LimitedCalls | None = None
        self._checked: set[TaskDefinition] = set()
        self._offloadings: dict[str, _Offloading] = {}  # by mode

    async def __aenter__(self) -> TaskRunner:
        if self._offers_resources:
            self._resources()  # wrong ones are refused, used or not
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Free the threads and files of the cache, and close the resources, if they were used."""
        try:
            if self._cached is not None:
                await self._cached.close()
        finally:
            if self._scope is not None:
                await self._scope.__aexit__(kind, error, at)

    def _resources(self) -> ResourceScope:
        if self._scope is None:
            self._scope = self._context.run(self._make_scope)
        return self._scope

    def modes(self) -> set[str]:
        """Return the modes of the tasks that have been checked and need a worker."""
        return {definition.mode for definition in self._checked}

    async def ready(self, mode: str) -> Executor:
        """Return the executor of a mode, made ready for calls.

        :raises ExecutorUnavailable: if what it runs its calls on is not there.
        """
        return await self._executors.ready(mode)

    def check(self, node: Node) -> None:
        """Refuse, before anything runs, a task whose function, resources or executor the run cannot have.

        :raises ConfigurationError: if the engine has no such executor.
        :raises TaskNotPicklableError: if the function cannot be sent where it should run.
        :raises ResourceNotFoundError: if the run lacks a resource that the task asks for.
        """
        definition = node.definition
        if definition.injections:
            self._resources().check(node.call)
        if definition.on_loop or definition in self._checked:
            return
        self._checked.add(definition)
        executor = self._executor(definition.mode)
        if supports(executor, SupportsCheck):
            executor.check(definition.function)

    @property
    def start(self) -> Wrapped:
        """What starts a task that is admitted; awaiting what it returns gives the value, or raises the last failure."""
        return self._start if self._recording is None else self._start_recorded

    async def start_unadmitted(self, node: Node, context: AttemptContext) -> Any:
        """Start a task that has no permission yet: look into its cache, and ask for admission if it has to run."""
        if node.call.policies.cache is None:
            await context.admit(node)
            return await self.start(node, context)
        if self._recording is None:
            return await self._with_cache(node, context)
        return await self._with_recorded_end(self._recording, self._with_cache, node, context, admitted=False)

    def _start_recorded(self, node: Node, context: AttemptContext) -> Awaitable[Any]:
        assert self._recording is not None
        return self._with_recorded_end(self._recording, self._start, node, context, admitted=True)

    async def _with_recorded_end(
        self,
        recording: Recording,
        call: Wrapped,
        node: Node,
        context: AttemptContext,
        *,
        admitted: bool,
    ) -> Any:
        """Commit what becomes of a task before anything sees it."""
        delay = recording.delay_left(node)
        if node.attempt > 1:
            await context.resume(node, delay, admitted=admitted)
        try:
            value = await _with_own_cancel(call, node, context)
            if type(value) not in PLAIN:
                value = await with_calls(value)
        except Exception as exc:
            await recording.after_failure(node, exc)
            raise
        except SystemExit as exc:
            failure = as_failure(exc)
            assert failure is not None
            await recording.after_failure(node, failure)
            raise failure from None
        # calls are recorded when it is known where they are built
        if not isinstance(value, LazyResult):
            await recording.after_value(node, value)
        return value

    def _start(self, node: Node, context: AttemptContext) -> Awaitable[Any]:
        """Start a task that is admitted, with what it asks for."""
        context.begin(node)
        if self.wraps_all or not node.call.settings.is_plain:
            return self._wrapped(node)(node, context)
        # the common case, without a frame in between
        if node.definition.is_async:
            args, kwargs = node.scope.arguments(node)
            called: Awaitable[Any] = node.definition.function(*args, **kwargs)
            return called
        return self._with_arguments(node, context)

    def _wrapped(self, node: Node, prepare: Prepare | None = None) -> Wrapped:
        """Return the call of a task in what it asks for; the last wrapper is the outermost."""
        policies = node.call.policies
        call = self._innermost(node)
        if self._middleware:
            call = partial(self._with_middleware, call)
        if policies.timeout is not None:
            call = partial(_with_timeout, policies.timeout, call)
        if prepare is not None:
            call = partial(_with_preparation, prepare, call)
        if self._recording is not None:
            call = partial(_with_recorded_start, self._recording, call)
        if policies.retry is not None:
            call = partial(_with_retry, policies.retry, call)
        return call

    def _innermost(self, node: Node) -> Wrapped:
        return self._with_resources if node.definition.injections else self._with_arguments

    async def _with_cache(self, node: Node, context: AttemptContext) -> Any:
        policy = node.call.policies.cache
        assert policy is not None

        async def compute(prepare: Prepare) -> Any:
            await context.admit(node)
            context.begin(node)
            return await self._wrapped(node, prepare)(node, context)

        args, kwargs = node.scope.arguments(node)
        answer = await self._cached_calls().call(policy, node.definition, args, kwargs, compute)
        if answer.reason:
            context.skip(node, answer.reason)
        return answer.value

    def _cached_calls(self) -> CallCache:
        if self._cached is None:
            from cascade.runtime.cache._call_cache import (
                CallCache,  # only runs with caches pay for the import
            )

            self._cached = CallCache(self._cache_backend(), clock=self._clock)
        return self._cached

    async def _with_middleware(self, call: Wrapped, node: Node, context: AttemptContext) -> Any:
        """Call the engine's middleware: each gets the next one to call, the last one the task itself."""
        step = StepInfo(self._run_id, node.key, node.name, self.run_attempt, node.attempt, self._lease_term)
        call_next: Callable[[], Awaitable[Any]] = partial(call, node, context)
        for around in self._middleware:
            call_next = partial(around, step, call_next)
        return await call_next()

    async def _with_resources(self, node: Node, context: AttemptContext) -> Any:
        args, kwargs = node.scope.arguments(node)
        async with self._resources().attempt() as scope:
            return await self._call(node, context, args, await scope.fill(node.definition, args, kwargs))

    def _with_arguments(self, node: Node, context: AttemptContext) -> Awaitable[Any]:
        args, kwargs = node.scope.arguments(node)
        return self._call(node, context, args, kwargs)

    async def _call(
        self, node: Node, context: AttemptContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        definition = node.definition
        if definition.on_loop:
            value = definition.function(*args, **kwargs)
        else:
            value = await self._offloading(definition.mode).call(node, context, args, kwargs)
        if type(value) is CoroutineType and node.call.policies.timeout is not None:
            return await self._limited_calls().call(node, context, value)
        return await value if definition.is_async or type(value) is CoroutineType else value

    def _limited_calls(self) -> LimitedCalls:
        if self._limited is None:
            # only runs with time limits pay for the import
            from cascade.runtime._scheduler.limited_calls import LimitedCalls

            self._limited = LimitedCalls(self._left, stop_timeout=self._stop_timeout)
        return self._limited

    def _offloading(self, mode: str) -> _Offloading:
        if (offloading := self._offloadings.get(mode)) is None:
            offloading = self._offloadings[mode] = _Offloading(self._executor(mode))
        return offloading

    def _executor(self, mode: str) -> Executor:
        try:
            return self._executors[mode]
        except KeyError:
            known = sorted(name for name in self._executors if name != AUTO)
            similar = nearest(mode.lower(), (*known, INLINE))
            remedy = f"did you mean {similar!r}?" if similar else f"pass executors={{{mode!r}: ...}}"
            raise ConfigurationError(
                "task(mode=)", f"the engine has no executor {mode!r} (it has {', '.join(known)}); {remedy}"
            ) from None


class _Offloading:
    """How the tasks of a run use one executor; its abilities are looked up once, not for each call."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._with_context = executor if supports(executor, SupportsCallContext) else None
        self._tracking = executor if supports(executor, SupportsTracking) else None

    async def call(
        self, node: Node, context: AttemptContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return what a task's function returns."""
        function = node.definition.function
        try:
            if self._with_context is not None:
                return await self._with_context.run_with(context.call_context(node), function, args, kwargs)
            return await self._executor.run(function, args, kwargs)
        except asyncio.CancelledError:
            self._note_abandoned(node, context)
            raise

    def _note_abandoned(self, node: Node, context: AttemptContext) -> None:
        """Note that a task's call, which was just given up, runs on, if its executor knows that."""
        ended = self._tracking.runs_on() if self._tracking is not None else None
        if ended is not None:
            context.runs_on(node, ended)


async def _with_retry(retry: RetryPolicy, call: Wrapped, node: Node, context: AttemptContext) -> Any:
    """Call again after failures that the policy names, as often as it says."""
    while True:
        attempt = node.attempt
        try:
            return await _with_own_cancel(call, node, context)
        except Exception as exc:
            if attempt >= retry.max_attempts or not isinstance(exc, retry.on):
                raise
            failure = exc
        import random  # slow to import, and most tasks never fail

        delay = retry.delay_after(attempt, random.random())
        reason = f"attempt {attempt} of {retry.max_attempts} failed; the next one comes in {delay:g} s"
        await context.retry(node, failure, delay, reason)


async def _with_own_cancel(call: Wrapped, node: Node, context: AttemptContext) -> Any:
    """Make a failure of a CancelledError that the task raised by itself, as the end of the task does."""
    try:
        return await call(node, context)
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise own_cancel(node, exc) from exc


async def _with_preparation(prepare: Prepare, call: Wrapped, node: Node, context: AttemptContext) -> Any:
    """Have the cache prepare for each attempt before it is made."""
    await prepare()
    return await call(node, context)


async def _with_recorded_start(
    recording: Recording, call: Wrapped, node: Node, context: AttemptContext
) -> Any:
    """Record each attempt before it is made; waiting until that is possible does not count for its time limit."""
    await recording.before_start(node)
    return await call(node, context)


async def _with_timeout(timeout: float, call: Wrapped, node: Node, context: AttemptContext) -> Any:
    """Cancel the call after ``timeout`` seconds, not counting those in which the task is paused."""
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            with context.limited(node, limit):
                return await call(node, context)
    except TimeoutError as exc:
        if limit.expired():
            # the cancel, which shows where the task was, and not the TimeoutError that asyncio made of it
            # (Python 3.11.2 names it only as the context)
            raise TaskTimeoutError(node.name, timeout) from exc.__cause__ or exc.__context__ or exc
        raise
