"""How a local cluster is used and closed; the cluster is a stand-in."""

import asyncio
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.executors.dask import _cluster
from cascade.executors.dask._cluster import CLOSE_TIMEOUT, Cluster
from cascade.interfaces import ExecutorUnavailable
from cascade.testkit import time_limit


def local(**made: Any) -> Cluster:
    """Return a local cluster that has started, as what Dask would have made."""
    cluster = Cluster(None, workers=2, timeout=1.0, local={})
    cluster._starting = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
    cluster._starting.set_result(SimpleNamespace(**made))  # type: ignore[union-attr]
    return cluster


async def test_a_local_worker_that_dask_has_given_up_is_started_again() -> None:
    """Its successor needed longer than Dask waits, so nothing else would ever replace it."""
    scaled: list[int] = []
    workers = {0: SimpleNamespace(), 1: SimpleNamespace()}
    cluster = local(workers=workers, worker_spec={0: {}, 1: {}}, scale=scaled.append)
    cluster.replace_lost()
    assert scaled == []
    del workers[1]
    cluster.replace_lost()
    assert scaled == [2]


class Part:
    """A client or a local cluster of Dask; the class keeps all that were made."""

    made: list[Any]
    errors: list[Exception | None]
    """What the starts raise, in turn; the later ones succeed."""
    gate: asyncio.Event

    def __init__(self, target: Any = None, **settings: Any) -> None:
        self.target = target
        self.settings = settings
        self.status = "connecting"
        self.closed: list[float] = []
        self.workers: dict[int, Any] = {}
        self.scheduler_info: dict[str, Any] = {"workers": {}}
        self.scheduler_comm = SimpleNamespace(interval=0.01)
        self.made.append(self)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._start().__await__()

    async def _start(self) -> Any:
        await self.gate.wait()
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.status = "running"
        return self

    async def close(self, timeout: float) -> None:
        self.status = "closed"
        self.closed.append(timeout)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put stand-ins in the place of Dask's classes."""
    made: dict[str, Any] = {}
    for name in ("Client", "LocalCluster"):
        made[name] = type(name, (Part,), {"made": [], "errors": [], "gate": asyncio.Event()})
        made[name].gate.set()
        monkeypatch.setattr(_cluster, name, made[name])
    return made


def remote(timeout: float = 50.0) -> Cluster:
    return Cluster("tcp://host:8786", workers=None, timeout=timeout, local={})


async def test_a_connection_is_used_until_it_is_lost(parts: dict[str, Any]) -> None:
    """Callers at the same time share it; a lost one is closed before the next one is made."""
    cluster, clients = remote(), parts["Client"].made
    before = cluster.client
    one, other = await asyncio.gather(cluster.connected(), cluster.connected())
    assert (before, one, other) == (None, cluster.client, await cluster.connected())
    assert clients[0].target == "tcp://host:8786"
    assert clients[0].settings == {
        "asynchronous": True,
        "set_as_default": False,
        "timeout": 50.0,
        "name": "cascade",
        "security": None,
    }
    one.status = "closing"
    assert cluster.client is None
    assert await cluster.connected() is clients[1]
    assert [client.closed for client in clients] == [[CLOSE_TIMEOUT], []]
    await cluster.close()
    await cluster.close()
    assert clients[1].closed == [CLOSE_TIMEOUT]
    assert cluster.client is None
    assert parts["LocalCluster"].made == []


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError("refused"), "refused"),
        (ValueError("bad address"), "bad address"),
        (OSError(), "no answer within 50 s"),
    ],
    ids=repr,
)
async def test_a_cluster_that_cannot_be_reached(error: Exception, cause: str, parts: dict[str, Any]) -> None:
    """The error names the address, the cause and what to do; the client is closed at once, and the next try is new."""
    parts["Client"].errors.append(error)
    cluster = remote()
    with pytest.raises(ExecutorUnavailable) as raised:
        await cluster.connected()
    for words in ("the Dask cluster at tcp://host:8786", cause, "`dask scheduler` and `dask worker`"):
        assert words in str(raised.value)
    assert raised.value.__cause__ is error
    assert cluster.client is None
    assert await cluster.connected() is parts["Client"].made[1]
    assert [client.closed for client in parts["Client"].made] == [[0], []]


@pytest.mark.parametrize(
    ("workers", "settings", "expected"),
    [
        (3, {}, {"n_workers": 3, "threads_per_worker": 1, "host": "127.0.0.1"}),
        (None, {"threads_per_worker": 2}, {"threads_per_worker": 2, "host": "127.0.0.1"}),
        (
            None,
            {"processes": True, "host": "::1"},
            {"processes": True, "threads_per_worker": 1, "host": "::1"},
        ),
        (2, {"processes": False}, {"n_workers": 2, "processes": False, "threads_per_worker": 1}),
        (2, {"n_workers": 5}, {"n_workers": 5, "threads_per_worker": 1, "host": "127.0.0.1"}),
    ],
)
async def test_a_local_cluster_gets_the_settings_of_its_user(
    workers: int | None,
    settings: dict[str, Any],
    expected: dict[str, Any],
    parts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside those that keep it on loopback and quiet; it is made once, and closed with its client."""
    monkeypatch.setattr(_cluster, "script_problem", lambda: "")
    cluster = Cluster(None, workers=workers, timeout=50.0, local=settings)
    client = await cluster.connected()
    (made,) = parts["LocalCluster"].made
    quiet = {"dashboard_address": "127.0.0.1:0", "silence_logs": 40, "asynchronous": True}
    assert made.settings == expected | quiet
    assert client.target is made
    await cluster.close()
    assert (client.closed, made.closed) == ([CLOSE_TIMEOUT], [CLOSE_TIMEOUT])


@pytest.mark.parametrize(
    ("error", "cause"),
    [(RuntimeError("no port is free."), "(no port is free)"), (KeyError(), "(KeyError)")],
    ids=repr,
)
async def test_a_local_cluster_that_fails_is_closed_and_started_anew(
    error: Exception, cause: str, parts: dict[str, Any]
) -> None:
    """The next run does not get the error of the one before."""
    parts["LocalCluster"].errors.append(error)
    cluster = Cluster(None, workers=1, timeout=50.0, local={"processes": False})
    with pytest.raises(ExecutorUnavailable) as raised:
        await cluster.connected()
    for words in ("the local Dask cluster", f"it did not start {cause}", "messages of Dask"):
        assert words in str(raised.value)
    client = await cluster.connected()
    failed, made = parts["LocalCluster"].made
    assert client.target is made
    await cluster.close()
    assert (failed.closed, made.closed) == ([CLOSE_TIMEOUT], [CLOSE_TIMEOUT])


async def test_a_local_cluster_whose_start_lasts_too_long_is_closed_before_the_next_one_starts(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start is not cancelled, because half a cluster cannot be closed."""
    monkeypatch.setattr(_cluster, "START_TIMEOUT", 0.01)
    parts["LocalCluster"].gate.clear()
    cluster = Cluster(None, workers=1, timeout=50.0, local={"processes": False})
    with pytest.raises(ExecutorUnavailable, match=r"it did not start within 0\.01 s"):
        await cluster.connected()
    monkeypatch.setattr(_cluster, "START_TIMEOUT", 60.0)
    parts["LocalCluster"].gate.set()
    client = await cluster.connected()
    late, made = parts["LocalCluster"].made
    assert client.target is made
    assert (late.closed, made.closed) == ([CLOSE_TIMEOUT], [])
    await cluster.close()


async def test_what_fails_or_hangs_while_it_closes_is_left_behind(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection may be broken; the end of the run does not wait for it."""
    cluster = remote()
    client = await cluster.connected()

    async def fail(timeout: float) -> None:
        raise OSError("broken")

    client.close = fail
    await cluster.close()
    client = await cluster.connected()

    async def hang(timeout: float) -> None:
        await asyncio.Event().wait()

    client.close = hang
    monkeypatch.setattr(_cluster, "CLOSE_TIMEOUT", -0.99)
    async with time_limit():
        await cluster.close()
    assert cluster.client is None


async def test_a_local_cluster_is_closed_when_it_has_heard_of_the_end_of_its_workers(
    parts: dict[str, Any],
) -> None:
    """Its scheduler would report the end on stderr to a cluster that is closed."""
    cluster = Cluster(None, workers=1, timeout=50.0, local={"processes": False})
    await cluster.connected()
    (made,) = parts["LocalCluster"].made
    made.scheduler_info = {"workers": {"tcp://a": {}}}
    closing = asyncio.create_task(cluster.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert made.closed == []
    made.scheduler_info["workers"].clear()
    await closing
    assert made.closed == [CLOSE_TIMEOUT]
