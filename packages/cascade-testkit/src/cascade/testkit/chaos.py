"""A TCP proxy that does to a connection what networks do.

    async with ChaosProxy(broker.port) as proxy:
        connector = MqttConnector(proxy.host, proxy.port)
        ...
        proxy.stall()         # connections stay open and carry nothing
        proxy.resume()        # and what was delayed arrives
        proxy.delay(0.1)      # a round trip now takes 0.2 s longer
        await proxy.reset()   # every connection ends with a RST
        await proxy.down()    # every connection ends, new ones are refused
        await proxy.up()

It lives on the event loop it was entered on, and listens on loopback only.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

from cascade.testkit.ports import free_port

_CHUNK = 65_536
_UNDER_WAY = 256  # pieces that a delayed direction carries at the same time
_DRAWS = 10  # ports that are tried until one is free
_SLOW_STEPS = 20  # a slow connection carries this many pieces in a second


class Direction(Enum):
    """Which way a fault works: to the target, from it, or both."""

    UP = "client to target"
    DOWN = "target to client"
    BOTH = "both ways"

    def includes(self, way: Direction) -> bool:
        """Return whether the fault works on bytes that go ``way``."""
        return self in (way, Direction.BOTH)


class ChaosProxy:
    """Passes connections on to a port of this machine until a fault is set.

    :param target_port: where connections go.
    :param target_host: the host they go to.
    """

    def __init__(self, target_port: int, *, target_host: str = "127.0.0.1") -> None:
        self.host = "127.0.0.1"
        self.accepted = 0
        """How many connections were accepted so far."""
        self._target = (target_host, target_port)
        self._port: int | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._flows = {way: _Flow() for way in (Direction.UP, Direction.DOWN)}

    @property
    def port(self) -> int:
        """The port it listens on, the same until the end.

        :raises RuntimeError: before it was entered.
        """
        if self._port is None:
            raise RuntimeError("the proxy has no port yet: enter it with `async with`")
        return self._port

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def stall(self, direction: Direction = Direction.BOTH) -> None:
        """Stop carrying bytes; connections stay open, and new ones are accepted, too.

        What is sent meanwhile waits in the buffers of the system, then in the sender. That one
        side has ended is not passed on either.
        """
        for flow in self._affected(direction):
            flow.stall()

    def slow(self, bytes_per_second: int, direction: Direction = Direction.BOTH) -> None:
        """Carry no more than this many bytes in a second, on each connection."""
        for flow in self._affected(direction):
            flow.slow(bytes_per_second)

    def delay(self, seconds: float, direction: Direction = Direction.BOTH) -> None:
        """Carry every byte this many seconds later, as a distant network does; the rate is not limited.

        The delay counts for each way: with both, a round trip takes twice as long. 0 ends it.
        """
        for flow in self._affected(direction):
            flow.latency = seconds

    def resume(self, direction: Direction = Direction.BOTH) -> None:
        """Pass on again, at full speed, beginning with what was delayed; a delay stays."""
        for flow in self._affected(direction):
            flow.resume()

    async def cut(self) -> None:
        """End every connection on both sides; new ones are accepted."""
        await self._end(_Connection.cut)

    async def reset(self) -> None:
        """End every connection on both sides with a RST; new ones are accepted."""
        await self._end(_Connection.reset)

    async def down(self) -> None:
        """Cut every connection and refuse new ones, as a machine does whose program has ended."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def up(self) -> None:
        """Accept connections again, on the same port; do nothing if it does.

        :raises OSError: if it cannot listen on that port, or the first time on none of several.
        """
        for left in reversed(range(_DRAWS)):
            if self._server is not None:
                return
            port = self._port or free_port()
            try:
                self._server = await asyncio.start_server(self._accept, self.host, port)
                self._port = port
            except OSError:
                # another program may have taken the port since it was drawn
                if self._port is not None or not left:
                    raise

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    def __repr__(self) -> str:
        state = "refusing" if self._server is None else "listening"
        return f"<ChaosProxy {state} on port {self._port}, {self.open} of {self.accepted} connections open>"

    def _affected(self, direction: Direction) -> list[_Flow]:
        return [flow for way, flow in self._flows.items() if direction.includes(way)]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # it came in the same loop iteration as down()
            writer.transport.abort()
            return
        self.accepted += 1
        connection = _Connection(reader, writer, self._target, self._flows)
        self._connections.add(connection)
        connection.task.add_done_callback(lambda _: self._connections.discard(connection))

    async def _end(self, how: Callable[[_Connection], None]) -> None:
        ended = list(self._connections)
        for connection in ended:
            how(connection)
        await asyncio.gather(*(connection.task for connection in ended), return_exceptions=True)


class _Flow:
    """How one direction flows at the moment, for all connections."""

    def __init__(self) -> None:
        self.latency = 0.0
        """Seconds that each byte is on its way."""
        self._open = asyncio.Event()
        self._open.set()
        self._rate: int | None = None

    def stall(self) -> None:
        self._open.clear()

    def slow(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._open.set()

    def resume(self) -> None:
        self._rate = None
        self._open.set()

    async def permission(self) -> int:
        """Wait until bytes may pass; return how many at most."""
        await self._open.wait()
        return _CHUNK if self._rate is None else max(1, self._rate // _SLOW_STEPS)

    async def pause_after(self, size: int) -> None:
        if self._rate is not None:
            await asyncio.sleep(size / self._rate)


class _Connection:
    """One client's connection and the one to the target that belongs to it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target: tuple[str, int],
        flows: dict[Direction, _Flow],
    ) -> None:
        self._client = (reader, writer)
        self._target = target
        self._flows = flows
        self._writers = [writer]
        self.task = asyncio.get_running_loop().create_task(self._carry(), name="cascade-chaos-connection")
        self.task.add_done_callback(
            self._close
        )  # no `finally`: a task may be cancelled before its first step

    def cut(self) -> None:
        self.task.cancel()

    def reset(self) -> None:
        for writer in self._writers:
            sock: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # closed already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.task.cancel()

    async def _carry(self) -> None:
        reader, writer = self._client
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
            self._writers.append(target_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(
                    _pump(reader, target_writer, self._flows[Direction.UP]), name="cascade-chaos-up"
                )
                both.create_task(
                    _pump(target_reader, writer, self._flows[Direction.DOWN]), name="cascade-chaos-down"
                )
        # the target is not there, or one side is gone: so is the connection
        except* OSError:
            pass

    def _close(self, _: asyncio.Task[None]) -> None:
        for end in self._writers:
            end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: _Flow) -> None:
    # Reading and writing are two tasks, so that many pieces can be on a slow way at the same time.
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
    async with asyncio.TaskGroup() as both:
        both.create_task(_take_in(reader, under_way, flow), name="cascade-chaos-take-in")
        both.create_task(_give_out(under_way, writer, flow), name="cascade-chaos-give-out")


async def _take_in(
    reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]], flow: _Flow
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        data = await reader.read(await flow.permission())
        await under_way.put((loop.time() + flow.latency, data))
        if not data:
            return


async def _give_out(
    under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, flow: _Flow
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due, data = await under_way.get()
        if (early := due - loop.time()) > 0:
            await asyncio.sleep(early)
        if not data:
            break
        while data:  # the flow may have changed while nothing came
            size = await flow.permission()
            piece, data = data[:size], data[size:]
            writer.write(piece)
            await writer.drain()
            await flow.pause_after(len(piece))
    await flow.permission()  # an end is delayed as bytes are
    writer.write_eof()
