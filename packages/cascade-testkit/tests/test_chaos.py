"""The proxy applies its faults to plain TCP connections."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cascade.testkit import eventually, no_leaks, time_limit
from cascade.testkit.chaos import ChaosProxy, Direction

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Target:
    """A server that keeps what it reads; what it sends is up to the test."""

    def __init__(self) -> None:
        self.port = 0
        self.got = b""
        self.ended = 0
        self.links: list[Link] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links.append((reader, writer))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                self.got += data
        self.ended += 1
        writer.close()


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    target = Target()
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    target.port = server.sockets[0].getsockname()[1]
    async with server:
        yield target
    for _, writer in target.links:
        writer.close()


@pytest.fixture
async def proxy(target: Target) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy(target.port) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def dialled(proxy: ChaosProxy, target: Target) -> AsyncIterator[tuple[Link, Link]]:
    """A connection through the proxy: the client's end and the target's."""
    before = len(target.links)
    link = await asyncio.open_connection(proxy.host, proxy.port)
    await eventually(lambda: len(target.links) > before)
    yield link, target.links[-1]
    link[1].close()


async def arrives(target: Target, link: Link, data: bytes) -> None:
    link[1].write(data)
    await eventually(lambda: target.got.endswith(data))


async def nothing_comes(reader: asyncio.StreamReader) -> bool:
    """Neither a byte nor the end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
            return False
    return True


async def test_it_passes_bytes_both_ways_and_the_end_of_each(proxy: ChaosProxy, target: Target) -> None:
    """Without a fault it changes nothing: a megabyte each way, and a half-close."""
    async with dialled(proxy, target) as (client, server):
        await arrives(target, client, b"x" * 1_000_000)
        server[1].write(b"y" * 1_000_000)
        assert await client[0].readexactly(1_000_000) == b"y" * 1_000_000
        client[1].write_eof()
        await eventually(lambda: target.ended == 1)
        assert await client[0].read() == b""
    await eventually(lambda: proxy.open == 0)


async def test_a_stalled_link_holds_everything_back_until_it_is_resumed(
    proxy: ChaosProxy, target: Target
) -> None:
    """Connections stay open; what was sent meanwhile arrives afterwards, whole and in order."""
    async with dialled(proxy, target) as (client, server):
        proxy.stall()
        client[1].write(b"question")
        server[1].write(b"answer")
        assert await nothing_comes(client[0])
        assert (target.got, proxy.open) == (b"", 1)
        proxy.resume()
        assert await client[0].readexactly(6) == b"answer"
        await eventually(lambda: target.got == b"question")


@pytest.mark.full
async def test_a_delayed_link_carries_everything_later_and_in_order(
    proxy: ChaosProxy, target: Target
) -> None:
    """What is sent in a row is under way at the same time: the delay is paid once, not for each piece."""
    pieces = [bytes([n]) * 1_000 for n in range(100)]
    proxy.delay(3_600, Direction.UP)
    async with dialled(proxy, target) as (link, there):
        link[1].write(b"later")
        there[1].write(b"at once")
        assert await link[0].readexactly(7) == b"at once"
        assert target.got == b""
        await proxy.cut()
    proxy.delay(1.0, Direction.UP)
    async with dialled(proxy, target) as (link, _):
        for piece in pieces:
            link[1].write(piece)
            await asyncio.sleep(0)
        await eventually(lambda: target.got == b"".join(pieces))
        proxy.delay(0.0)
        await arrives(target, link, b"and now without")


async def test_cut_ends_every_connection_and_lets_new_ones_in(proxy: ChaosProxy, target: Target) -> None:
    """Both sides see the end; the next connection works."""
    async with dialled(proxy, target) as (first, _), dialled(proxy, target) as (second, _):
        await proxy.cut()
        assert proxy.open == 0
        assert [await link[0].read() for link in (first, second)] == [b"", b""]
        await eventually(lambda: target.ended == 2)
    async with dialled(proxy, target) as (client, _):
        await arrives(target, client, b"again")
    assert proxy.accepted == 3


async def test_reset_is_a_reset(proxy: ChaosProxy, target: Target) -> None:
    """The client's next read fails with ECONNRESET, not with a clean end."""
    async with dialled(proxy, target) as (client, _):
        await proxy.reset()
        with pytest.raises(ConnectionResetError):
            await client[0].read()


async def test_down_refuses_until_up_on_the_same_port(proxy: ChaosProxy, target: Target) -> None:
    """A client that tries again and again finds it where it was."""
    port = proxy.port
    async with dialled(proxy, target) as (client, _):
        await proxy.down()
        assert await client[0].read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(proxy.host, port)
    await proxy.up()
    assert proxy.port == port
    async with dialled(proxy, target) as (client, _):
        await arrives(target, client, b"back")


async def test_a_port_that_was_taken_is_drawn_again_and_another_fault_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port is taken for a moment; that no file can be opened, or the host is wrong, stays so."""
    tries, listen = [3], asyncio.start_server

    async def fail(*args: Any) -> asyncio.Server:
        tries[0] -= 1
        await asyncio.sleep(0)
        if tries[0]:
            raise OSError(errno.EMFILE, "too many open files")
        return await listen(*args)

    monkeypatch.setattr(asyncio, "start_server", fail)
    async with time_limit(5), ChaosProxy(1) as proxy:
        assert (tries[0], proxy.port > 0) == (0, True)
    with pytest.raises(OSError, match="too many open files"):
        async with time_limit(5):
            await ChaosProxy(1).up()
    assert tries == [-10]


async def test_it_leaves_nothing_behind(target: Target) -> None:
    """Also with connections open and stalled, everything is closed when the block ends."""
    async with no_leaks():
        async with ChaosProxy(target.port) as proxy:
            _, writer = await asyncio.open_connection(proxy.host, proxy.port)
            proxy.stall()
            writer.write(b"x")
            await eventually(lambda: proxy.open)
        writer.close()
        await eventually(lambda: target.ended == len(target.links))
