"""Other clients can read which sources are online."""

from __future__ import annotations

from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness, Inbox


class Presence(Harness):
    """Section 7: will, birth and offline message."""

    @needs(Ability.WILL, Ability.LINK)
    async def test_the_will_of_one_that_vanishes_is_seen(self) -> None:
        """A second client hears ``offline`` when the link breaks without a disconnect."""
        connector = await self.open()
        seen = await self.observe(self.status_of(connector))
        await self.interrupt()
        await self.until(lambda: any(data["status"] == "offline" for _, data in seen()), "the will")

    @needs(Ability.WILL)
    async def test_no_will_is_seen_after_a_clean_end(self) -> None:
        """After a disconnect the broker does not publish the will, and no message is retained."""
        connector = await self.open()
        topic = self.status_of(connector)
        seen = await self.observe(topic)
        await connector.disconnect()
        witness = await self._opened(await self.make_witness())
        await witness.publish(topic, {"status": "last"}, 1)
        await self.until(seen, "the last message")
        assert [data["status"] for _, data in seen()] == ["last"]

    @needs(Ability.PRESENCE)
    async def test_a_named_connector_publishes_birth_and_offline_message(self) -> None:
        """Both are retained and of one session; the birth names the connector."""
        name = self.topic().rpartition("/")[2]
        connector = await self.make_named(name)
        await self._opened(connector)
        birth = await self._retained_status(self.status_of(connector))
        assert birth["status"] == "online"
        assert {"session", "ts", "pid", "host", "version"} <= birth.keys()
        await connector.disconnect()
        end = await self._retained_status(self.status_of(connector))
        assert end == {"status": "offline", "session": birth["session"], "reason": "ended"}

    @needs(Ability.PRESENCE, Ability.LINK)
    async def test_a_named_one_that_comes_back_is_born_again(self) -> None:
        """After the will of the old link comes a birth with a session of its own, and it stays."""
        connector = await self.make_named(self.topic().rpartition("/")[2])
        await self._opened(connector)
        status = self.status_of(connector)
        first = await self._retained_status(status)
        await self.interrupt()
        await self.restore()

        async def born_again() -> bool:
            now = await self._retained_status(status)
            return now["status"] == "online" and now["session"] != first["session"]

        await self.until(born_again, "a birth of another session")

    async def _retained_status(self, topic: str) -> dict[str, str]:
        inbox = Inbox()
        reader = await self._opened(await self.make_witness())
        await reader.subscribe(topic, inbox, 1)
        await self.until(inbox.seen, "the retained status")
        await reader.disconnect()
        return inbox.seen()[0][1]
