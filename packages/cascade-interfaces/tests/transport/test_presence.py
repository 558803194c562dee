"""What a named process publishes on its status topic, and when it answers."""

import json
import os
import platform
import time
from datetime import datetime
from importlib.metadata import version

import pytest

from cascade.transport.presence import Presence


def born() -> Presence:
    """Return the presence of a link whose birth was published at the time 5."""
    presence = Presence("s", named=True)
    presence.begin()
    presence.birth(5.0)
    return presence


class TestPresence:
    def test_anything_but_the_own_birth_is_replaced_by_it(self) -> None:
        """Any offline message, also of the own session, a foreign birth, an empty message and garbage."""
        for payload in (
            b"",
            b"{",
            b"\xff",
            b'{"status": "online", "session": "foreign"}',
            b'{"status": "offline"}',
            None,
        ):
            presence = born()
            presence.receive(presence.offline().encode() if payload is None else payload, 10.0)
            assert presence.due() == 6.0
            presence.receive(presence.birth(10.0).encode(), 10.1)
            assert presence.due() is None

    def test_a_birth_is_renewed_within_its_lifetime(self) -> None:
        """On a network without wills, of an unnamed process too; another's message is answered sooner, and not at the end."""
        presence = Presence("s", named=True, lifetime=12.0)
        presence.begin()
        presence.birth(5.0)
        assert presence.due() == presence.due(closing=True) == 9.0
        presence.receive(b"", 6.5)
        assert presence.due() == 6.0
        assert presence.due(closing=True) == 9.0
        unnamed = Presence("s", named=False, lifetime=12.0)
        assert "online" not in unnamed.birth(5.0)
        assert (unnamed.due(), unnamed.announced) == (9.0, None)

    def test_a_process_that_keeps_announcing_itself_is_reported(self) -> None:
        """Two processes have one name; a few births, and offline messages, may be those of a predecessor."""
        foreign = b'{"status": "online", "session": "foreign"}'
        presence = born()
        for _ in range(9):
            assert not presence.receive(b'{"status": "offline", "session": "foreign"}', 5.0)
            assert not presence.receive(presence.birth(5.0).encode(), 5.0)
        assert [presence.receive(foreign, 5.0) for _ in range(3)] == [False, False, True]
        presence.begin()
        assert not presence.receive(foreign, 5.0)

    def test_a_name_is_shown_as_shared_while_another_process_keeps_announcing_itself(self) -> None:
        """On one link, as over NATS, where no process is disconnected; a few births may be those of a predecessor."""
        presence = born()
        shown = list[bool]()
        for at in (5.0, 6.0, 7.0):
            presence.receive(b'{"status": "online", "session": "foreign"}', at)
            shown.append(presence.is_shared(at))
        assert shown == [False, False, True]
        assert [presence.is_shared(at) for at in (127.0, 127.1)] == [True, False]

    def test_a_name_is_shown_as_shared_from_the_first_take_over_that_the_broker_reports(self) -> None:
        """MQTT 5 reports it to the one that loses its link; over 3.1.1 it may have been a predecessor."""
        presence = born()
        presence.taken_over(5.0)
        assert [presence.is_shared(at) for at in (5.0, 125.0, 125.1)] == [True, True, False]
        assert not presence.contested(5.0), "it is not yet reason to slow down"

    @pytest.mark.parametrize(("on_first", "shared"), [([], True), (["another"], True), (["foreign"], False)])
    def test_what_another_process_leaves_between_two_links_shows_it_at_once(
        self, on_first: list[str], shared: bool
    ) -> None:
        """What was there on the first link is a predecessor's, which a restored store may bring back."""
        presence = Presence("s", named=True)
        presence.begin()
        for session in on_first:
            presence.receive(json.dumps({"status": "offline", "session": session}).encode(), 1.0)
        presence.birth(1.0)
        assert not presence.is_shared(1.0)
        presence.begin()
        presence.receive(b'{"status": "offline", "session": "foreign"}', 500.0)
        assert presence.is_shared(500.0) is shared

    def test_a_birth_shows_who_and_where_the_process_is(self) -> None:
        """With the session of the will, so that a reader knows which birth a will ends."""
        presence = Presence("s", named=True)
        will = presence.begin()
        assert (presence.announced, will["topic"], will["qos"], will["retain"]) == (
            None,
            presence.topic,
            1,
            True,
        )
        before = time.time()
        birth = json.loads(presence.birth(5.0))
        assert before - 1e-3 <= datetime.fromisoformat(birth.pop("ts")).timestamp() <= time.time()
        assert birth == {
            "status": "online",
            "session": json.loads(will["payload"])["session"],
            "pid": os.getpid(),
            "host": platform.node(),
            "version": version("cascade-interfaces"),
        }
        assert json.loads(will["payload"]) == {"status": "offline", "session": presence.announced}

    def test_what_this_process_announced_on_an_earlier_link_is_not_another_process(self) -> None:
        """It is replaced, but nobody contests the name; messages without a session show nobody."""
        presence = Presence("s", named=True)
        births = list[str]()
        for link in range(10):
            presence.begin()
            for earlier in (*births, '{"status": "online"}', '{"status": "online", "session": 7}'):
                assert not presence.receive(earlier.encode(), float(link))
            births.append(presence.birth(float(link)))
            presence.receive(births[0].encode(), float(link))
            assert (presence.due() is None) == (link == 0)
        assert not presence.contested(10.0)

    def test_a_broker_that_reports_a_take_over_shows_another_process(self) -> None:
        """As a foreign message on the topic does; both on one link are one sign."""
        presence = Presence("s", named=True)
        for link in range(4):
            presence.begin()
            presence.receive(b'{"status": "offline", "session": "foreign"}', float(link))
            presence.taken_over(float(link))
            assert presence.contested(float(link)) == (link == 3)
        assert not presence.contested(61.0)
