"""Faults that only executors with processes of their own can have."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from cascade.interfaces import TaskNotPicklableError, WorkerLostError
from cascade.testkit._abilities import needs
from cascade.testkit._executor import calls
from cascade.testkit._executor.ability import Ability
from cascade.testkit._executor.children import open_sockets
from cascade.testkit._executor.harness import Harness, begin


class Processes(Harness):
    """Section 4: what cannot travel, and workers that die."""

    @needs(Ability.PICKLES)
    async def test_calls_run_in_another_process(self) -> None:
        """A declared ability is there."""
        executor = await self.open()
        assert await self.call(executor, calls.process_id) != os.getpid()

    @needs(Ability.PICKLES)
    async def test_a_result_that_cannot_be_pickled_is_named(self) -> None:
        """The error names the task, states that the result is the cause, and why."""
        executor = await self.open()
        with pytest.raises(TaskNotPicklableError, match=r"task 'lock'.*its result.*lock") as raised:
            await self.call(executor, calls.lock)
        assert (raised.value.task_name, raised.value.part) == ("lock", "its result")
        assert await self.call(executor, calls.echo, "next") == "next"

    @needs(Ability.PICKLES)
    async def test_a_result_that_cannot_be_read_is_named(self) -> None:
        """The worker has pickled it, and this process cannot unpickle it: the error names the task and the cause, and the next call goes on."""
        executor = await self.open()
        with pytest.raises(
            TaskNotPicklableError, match=r"task 'stranger'.*its result.*LookupError"
        ) as raised:
            await self.call(executor, calls.stranger)
        assert (raised.value.task_name, raised.value.part) == ("stranger", "its result")
        assert await self.call(executor, calls.echo, "next") == "next"

    @needs(Ability.PICKLES)
    async def test_an_argument_that_cannot_be_pickled_is_named(self) -> None:
        """By its parameter's name, given by position or by name."""
        executor = await self.open()
        with pytest.raises(TaskNotPicklableError, match=r"task 'echo'.*argument 'value'"):
            await self.call(executor, calls.echo, calls.lock())
        with pytest.raises(TaskNotPicklableError, match=r"task 'describe'.*argument 'second'"):
            await self.call(executor, calls.describe, first=1, second=calls.lock())

    @needs(Ability.PICKLES)
    async def test_an_error_that_cannot_be_pickled_is_reported(self) -> None:
        """Its text and its traceback are not lost."""
        executor = await self.open()
        with pytest.raises(TaskNotPicklableError, match=r"task 'fail_tangled'.*Tangled: knots") as raised:
            await self.call(executor, calls.fail_tangled, "knots")
        assert "in fail_tangled" in str(raised.value.__cause__)

    @needs(Ability.PICKLES)
    async def test_no_worker_has_a_socket_of_this_process(self) -> None:
        """Not even one that was made inheritable: a broker notices the end of this process at once, whatever child processes live on."""
        executor = await self.open()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.set_inheritable(True)
            ours = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
            worker = await self.call(executor, calls.process_id)
            assert ours not in open_sockets(worker)

    @needs(Ability.SURVIVES)
    async def test_a_call_whose_worker_was_killed_is_not_run_again(self, tmp_path: Path) -> None:
        """It may have done its work: it fails by name, the call beside it goes on, and so does the executor."""
        executor = await self.open()
        async with self.holding(executor, tmp_path) as (beside,):
            lost = begin(executor, calls.die_once_more, str(tmp_path))
            await self.within(asyncio.wait({lost}))
            assert isinstance(lost.exception(), WorkerLostError)
            assert "task 'die_once_more'" in str(lost.exception())
            assert not beside.done()
        assert await self.within(beside) == "released"
        for number in range(4):
            assert await self.call(executor, calls.echo, number) == number
        assert (tmp_path / "deaths").read_text() == "died\n"

    @needs(Ability.SURVIVES)
    async def test_every_call_that_kills_its_worker_fails_by_name(self) -> None:
        """The error names the task, and the executor goes on."""
        executor = await self.open()
        for _ in range(2):
            with pytest.raises(WorkerLostError, match=r"task 'die'"):
                await self.call(executor, calls.die)
        assert await self.call(executor, calls.echo, "next") == "next"
