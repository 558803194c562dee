"""The settings that every networked connector has: what works, and in which words anything else is refused."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from network_of_posts import POST, settings_of

from cascade.interfaces import ConfigurationError

KEYWORDS = (
    "connect_timeout, drain_timeout, franking, letter, outbox_bytes, outbox_messages, presence, required, "
    "seal, source_id, stamp, tls, window"
)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"windw": 3}, "windw: PostConnector has no such keyword; did you mean 'window'?"),
        ({"frankin": 3}, "frankin: PostConnector has no such keyword; did you mean 'franking'?"),
        ({"q": 3}, f"q: PostConnector has no such keyword; known keywords: {KEYWORDS}"),
        (
            {"window": 1, "presense": 3},
            "presense: PostConnector has no such keyword; did you mean 'presence'?",
        ),
        ({"connect_timeout": 0}, "connect_timeout: it must be more than 0 seconds"),
        ({"connect_timeout": -1}, "connect_timeout: -1 is not a number of seconds from 0 to 3600"),
        ({"connect_timeout": "2"}, "connect_timeout: '2' is not a number of seconds from 0 to 3600"),
        ({"drain_timeout": True}, "drain_timeout: True is not a number of seconds from 0 to 3600"),
        ({"drain_timeout": 3600.5}, "drain_timeout: 3600.5 is not a number of seconds from 0 to 3600"),
        ({"drain_timeout": float("nan")}, "drain_timeout: nan is not a number of seconds from 0 to 3600"),
        ({"outbox_messages": 0}, "outbox_messages: 0 is not a whole number of at least 1"),
        ({"outbox_bytes": 1.5}, "outbox_bytes: 1.5 is not a whole number of at least 1"),
        ({"window": True}, "window: True is not a whole number of at least 1"),
        ({"window": None}, "window: None is not a whole number of at least 1"),
        ({"window": 65_536}, "window: 65536 is more than a post office needs; use at most 65535"),
        ({"presence": 1}, "presence: 1 is neither True nor False"),
        ({"required": "yes"}, "required: 'yes' is neither True nor False"),
        ({"source_id": ""}, "source_id: it must be a name, such as 'press-line-3', or be left out"),
        ({"source_id": b"x"}, "source_id: it must be a name, such as 'press-line-3', or be left out"),
        ({"source_id": "x" * 65}, "source_id: it has 65 bytes; use at most 64"),
        ({"source_id": "ü" * 33}, "source_id: it has 66 bytes; use at most 64"),
        ({"source_id": "a\ud800" * 17}, "source_id: it has 68 bytes; use at most 64"),
        ({"source_id": "a\nb"}, "source_id: it has characters that cannot be printed; brokers refuse those"),
        ({"stamp": 7}, "stamp: it must be text"),
        ({"stamp": "a\0b"}, "stamp: it has a control character"),
        ({"tls": True}, "tls: it must be an ssl.SSLContext"),
        ({"stamp": "blue", "seal": "/wax"}, "seal: seal and stamp exclude each other; pass one"),
        ({"seal": "/no/wax"}, "seal: the file /no/wax cannot be read: No such file or directory"),
        ({"letter": 1.5}, "letter: the file 1.5 cannot be read: "),
    ],
)
def test_a_setting_that_cannot_work_is_refused(keywords: dict[str, Any], message: str) -> None:
    """Naming it, and what to write instead."""
    with pytest.raises(ConfigurationError) as raised:
        settings_of(**keywords)
    assert str(raised.value).startswith(message)
    assert raised.value.setting == next(iter(message.split(":")))


@pytest.mark.parametrize(
    ("hostname", "message"),
    [
        (None, "it must be the broker's name or address, such as 'localhost'"),
        (" ", "it must be the broker's name or address, such as 'localhost'"),
        ("post://h", "this is a URL; pass it to PostConnector.from_url(...)"),
        ("h:4000", "pass the port beside it: PostConnector('host', 4000)"),
    ],
)
def test_an_invalid_host_is_refused(hostname: Any, message: str) -> None:
    """With the form that works."""
    with pytest.raises(ConfigurationError) as raised:
        settings_of(hostname=hostname)
    assert str(raised.value) == f"hostname: {message}"


@pytest.mark.parametrize("port", [0, -1, 65_536, True, "4000", 4000.0, None])
def test_an_invalid_port_is_refused(port: Any) -> None:
    """With the one that is usual."""
    with pytest.raises(ConfigurationError) as raised:
        settings_of(port=port)
    assert str(raised.value) == f"port: {port!r} is not a number from 1 to 65535; post offices use 4000"


@pytest.mark.parametrize(
    ("hostname", "port", "address"),
    [
        ("plant", 1, "plant:1"),
        ("10.0.0.7", 65_535, "10.0.0.7:65535"),
        ("::1", 4000, "[::1]:4000"),
        ("[::1]", 4000, "[::1]:4000"),
    ],
)
def test_a_host_is_logged_as_in_a_url(hostname: str, port: int, address: str) -> None:
    """An address of IPv6 has brackets there, whether or not they were given."""
    made = settings_of(hostname=hostname, port=port)
    assert (made.address, made.hostname, made.port) == (address, hostname.strip("[]"), port)


@pytest.mark.parametrize(
    "keywords",
    [
        {"connect_timeout": 3600, "drain_timeout": 0},
        {"connect_timeout": 0.001, "drain_timeout": 3600.0},
        {"outbox_messages": 1, "outbox_bytes": 1, "window": 1},
        {"window": 65_535, "required": True},
        {"source_id": "x" * 64},
        {"source_id": "ü" * 32, "presence": False},
        {"franking": "a word of the client's own"},
    ],
)
def test_what_is_at_the_limit_works(keywords: dict[str, Any]) -> None:
    """Each keyword reaches the connector, or else its client."""
    made = settings_of(**keywords)
    for name, value in keywords.items():
        assert (made.client[name] if name == "franking" else getattr(made, name)) == value


def test_what_the_contract_says_without_keywords() -> None:
    """Two seconds to connect, five to drain, 32 MiB, 65,536 messages, 400 of them in flight."""
    made = settings_of()
    assert (made.connect_timeout, made.drain_timeout) == (2.0, 5.0)
    assert (made.outbox_messages, made.outbox_bytes, made.window) == (65_536, 33_554_432, 400)
    assert (made.presence, made.required, made.source_id, made.tls) == (True, False, None, False)
    assert (dict(made.client), made.presence_lifetime, made.fixed_client_id) == ({}, None, None)


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({}, False),
        ({"source_id": "press-3"}, True),
        ({"source_id": "press-3", "presence": False}, False),
        ({"presence": True}, False),
    ],
)
def test_presence_needs_a_name(keywords: dict[str, Any], named: bool) -> None:
    """One that a tool turns off has none."""
    assert settings_of(**keywords).named is named


def test_no_password_of_the_client_is_shown() -> None:
    """Neither in a log line nor in a debugger."""
    made = settings_of(stamp="c4nary")
    assert made.client == {"stamp": "c4nary"}
    assert "c4nary" not in repr(made)


def test_a_link_is_encrypted_with_any_keyword_of_tls() -> None:
    """A keyword that is None counts as not passed."""
    context = ssl.create_default_context()
    cases: list[dict[str, Any]] = [{}, {"tls": None}, {"tls": context}, {"franking": context}]
    assert [settings_of(**each).tls for each in cases] == [False, False, True, True]
    assert POST.tls == ("tls", "franking")
