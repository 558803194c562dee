"""MemoryCache: what it stores, for how long, and what it drops first."""

from collections import OrderedDict

import pytest
from fakes import FakeClock
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cascade.interfaces import CacheBackend, ConfigurationError, Hit, supports
from cascade.runtime.cache import MemoryCache
from cascade.testkit.leaks import no_leaks


async def test_closing_keeps_the_values_and_clearing_does_not() -> None:
    """The next run can use the cache too."""
    cache = MemoryCache()
    async with no_leaks():
        await cache.put("k", 1)
        await cache.close()
    assert await cache.get("k")
    cache.clear()
    assert await cache.get("k") is None


@pytest.mark.parametrize("entries", [0, -1, True, 1.5, "3"])
def test_an_invalid_limit_is_rejected(entries: object) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match=r"MemoryCache\(max_entries=\)"):
        MemoryCache(entries)  # type: ignore[arg-type]


def test_it_is_a_backend_and_its_repr_shows_its_size() -> None:
    """It has every method of the protocol; its repr shows how full it is."""
    assert supports(MemoryCache(), CacheBackend)
    assert repr(MemoryCache(3)) == "<MemoryCache with 0 of at most 3 entries>"


class MemoryCacheModel(RuleBasedStateMachine):
    """Compares the cache with a list of entries in order of use."""

    @initialize(size=st.integers(1, 4))
    def start(self, size: int) -> None:
        self.size, self.clock = size, FakeClock()
        self.cache = MemoryCache(size, clock=self.clock)
        self.model: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @rule(key=st.sampled_from("abcdef"), value=st.integers(), ttl=st.none() | st.integers(1, 5))
    def put(self, key: str, value: int, ttl: int | None) -> None:
        run(self.cache.put(key, value, ttl=ttl))
        self.model.pop(key, None)
        self.model[key] = value, self.clock.ticks + (ttl or 1e9)
        if len(self.model) > self.size:
            self.model.popitem(last=False)

    @rule(key=st.sampled_from("abcdef"))
    def get(self, key: str) -> None:
        expected = self.model.pop(key, None)
        if expected and expected[1] > self.clock.ticks:
            self.model[key] = expected
        hit = run(self.cache.get(key))
        assert (hit and hit.value) == (self.model[key][0] if key in self.model else None)

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.clock.ticks += seconds

    @invariant()
    def bounded(self) -> None:
        assert len(self.cache) == len(self.model) <= self.size


def run(coroutine: object) -> Hit | None:
    """Run a coroutine that never waits, without a loop."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as stop:
        hit: Hit | None = stop.value
        return hit
    raise AssertionError("it waited")


TestMemoryCacheModel = pytest.mark.process(MemoryCacheModel.TestCase)
