"""Settings and URLs: what cannot work is refused when the connector is made, in one line."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.connectors.nats import NatsConnector
from cascade.interfaces import ConfigurationError, InvalidTopicError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PASSWORD", "PASSWORD_FILE", "TOKEN", "TOKEN_FILE", "CREDS", "NKEY", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"CASCADE_NATS_{name}", raising=False)
    monkeypatch.delenv("CASCADE_SOURCE_ID", raising=False)


def client_of(url: str, **keywords: Any) -> dict[str, Any]:
    """Return what ``nats.connect`` gets."""
    return dict(NatsConnector.from_url(url, **keywords)._nats.client)


def test_a_url_names_host_port_and_process() -> None:
    """``nats`` and ``tls`` are also the names of the entry point."""
    connector = cs.connector("nats://broker:4333?source_id=press-3")
    assert isinstance(connector, NatsConnector)
    assert (connector.hostname, connector.port, connector.source_id) == ("broker", 4333, "press-3")
    encrypted = cs.connector("tls://broker")
    assert isinstance(encrypted, NatsConnector)
    assert isinstance(encrypted._nats.client["tls"], ssl.SSLContext)
    assert encrypted.port == 4222


def test_credentials_of_a_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """User and password, or a token alone; the environment gives what is missing."""
    assert client_of("nats://ann:s%40b@h") == {"user": "ann", "password": "s@b"}
    assert client_of("nats://t0ken@h") == {"token": "t0ken"}
    monkeypatch.setenv("CASCADE_NATS_PASSWORD", "pw")
    assert client_of("nats://ann@h") == {"user": "ann", "password": "pw"}
    assert client_of("nats://ann@h", token="mine") == {"token": "mine"}
    (tmp_path / "seed").write_text("SU...")
    monkeypatch.setenv("CASCADE_NATS_NKEY", str(tmp_path / "seed"))
    assert client_of("nats://h") == {"nkeys_seed": str(tmp_path / "seed")}
    monkeypatch.setenv("CASCADE_NATS_CREDS", str(tmp_path / "seed"))
    assert client_of("nats://h") == {"user_credentials": str(tmp_path / "seed")}
    monkeypatch.setenv("CASCADE_NATS_TOKEN", "t")
    assert client_of("nats://h") == {"token": "t"}


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"windw": 3}, "windw: NatsConnector has no such keyword; did you mean 'window'?"),
        ({"window": 70_000}, "window: 70000 is more than a server needs; use at most 65535"),
        ({"presence_ttl": 0.5}, "presence_ttl: 0.5 is not a number of seconds from 1 to 3600"),
        ({"bucket": "a b"}, "bucket: it may have up to 64 of A-Z a-z 0-9 _ and -"),
        ({"tls": True}, "tls: it must be an ssl.SSLContext"),
        ({"token": 7}, "token: it must be text"),
        *(({name: 7}, f"{name}: it must be text") for name in ("inbox_prefix", "name", "tls_hostname")),
        ({"user": "ann"}, "password: user and password belong together; pass both, or token="),
        (
            {"token": "t", "nkeys_seed_str": "SU"},
            "nkeys_seed_str: nkeys_seed_str and token exclude each other; pass one",
        ),
        (
            {"user_credentials": "/no/such"},
            "user_credentials: the file /no/such cannot be read: No such file or directory",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_refused(keywords: dict[str, Any], message: str) -> None:
    """Naming it, and what to write instead."""
    with pytest.raises(ConfigurationError) as raised:
        NatsConnector("host", **keywords)
    assert str(raised.value) == message


def test_a_missing_client_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module imports without it; the constructor says what to install."""
    monkeypatch.setattr("cascade.connectors.nats.connector.nats", None)
    with pytest.raises(ImportError, match=r'pip install "cascade-py\[nats\]"'):
        NatsConnector("host")


def test_no_password_is_shown() -> None:
    """Neither by the connector nor by its settings."""
    connector = NatsConnector.from_url("nats://ann:c4nary@host")
    assert "c4nary" not in repr(connector) + repr(connector._nats)


async def test_a_shared_subscription_is_refused() -> None:
    """NATS has groups of its own; MQTT's syntax for them would be part of a subject."""
    connector = NatsConnector("host")
    with pytest.raises(InvalidTopicError, match="is a shared subscription, which needs a broker of MQTT"):
        connector.watch("$share/group/a")
    with pytest.raises(InvalidTopicError):
        await connector.subscribe("$share/group/a", _ignore)


async def _ignore(topic: str, data: dict[str, Any]) -> None:
    """Do nothing."""


def test_a_url_may_stand_where_the_host_does() -> None:
    """With what else is passed; a keyword has precedence."""
    connector = NatsConnector("nats://ann:x@plant:4333?source_id=press-3", window=7)
    assert (connector.hostname, connector.port, connector.source_id) == ("plant", 4333, "press-3")
    assert (connector._nats.client, connector._nats.window) == ({"user": "ann", "password": "x"}, 7)
    connector = NatsConnector("nats://plant?source_id=press-3", source_id="press-4")
    assert connector.source_id == "press-4"
    assert NatsConnector("plant", 4333).port == 4333
    assert NatsConnector("plant").port == 4222


@pytest.mark.parametrize(
    ("name", "value", "works"),
    [
        ("presence_ttl", 1, True),
        ("presence_ttl", 3600, True),
        ("presence_ttl", 0.99, False),
        ("presence_ttl", 3600.5, False),
        ("presence_ttl", "9", False),
        ("bucket", "A-z_9", True),
        ("bucket", "x" * 64, True),
        ("bucket", "x" * 65, False),
        ("bucket", "", False),
        ("bucket", "a.b", False),
        ("bucket", "a\n", False),
        ("bucket", 7, False),
        ("token", None, True),
    ],
)
def test_the_limits_of_a_setting(name: str, value: Any, works: bool) -> None:
    """What is at the limit works; a keyword that is None counts as not passed."""
    if works:
        made = NatsConnector("plant", **{name: value})
        assert value is None or getattr(made._nats, name) == value
        assert "token" not in made._nats.client
    else:
        with pytest.raises(ConfigurationError, match=name):
            NatsConnector("plant", **{name: value})


def test_only_a_process_with_presence_is_announced_for_a_time() -> None:
    """A tool that watches leaves no key."""
    assert NatsConnector("plant", presence_ttl=30)._nats.presence_lifetime == 30
    assert NatsConnector("plant", presence=False, presence_ttl=30)._nats.presence_lifetime is None


@pytest.mark.parametrize(
    ("url", "keywords", "client"),
    [
        ("nats://ann:x@h", {"token": "mine"}, {"token": "mine"}),
        ("nats://t0ken@h", {"user": "bob", "password": "y"}, {"user": "bob", "password": "y"}),
        ("nats://h", {"name": "press"}, {"name": "press", "token": "of the environment"}),
        ("nats://ann:x@h", {"name": "press"}, {"name": "press", "user": "ann", "password": "x"}),
    ],
)
def test_one_proof_is_sent(
    monkeypatch: pytest.MonkeyPatch, url: str, keywords: dict[str, str], client: dict[str, str]
) -> None:
    """That of the keywords, else that of the URL, else that of the environment."""
    monkeypatch.setenv("CASCADE_NATS_TOKEN", "of the environment")
    assert client_of(url, **keywords) == client


async def test_without_a_link_nothing_is_known_to_be_missing() -> None:
    """A tool asks before it has connected."""
    assert await NatsConnector("plant").limitations() == ()
