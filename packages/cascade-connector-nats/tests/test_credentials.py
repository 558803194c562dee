"""Each way to prove to a real nats-server who this is, by URL and environment; and each refusal, in one line."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]
import pytest

from cascade.connectors.nats import NatsConnector
from cascade.interfaces import Complete, ConnectorUnavailable
from cascade.interfaces.topics import constraint_topic
from cascade.testkit import time_limit
from cascade.testkit.brokers import NatsServer
from testing_tools.certificates import make_certificates

pytestmark = pytest.mark.broker
BOUND = 60.0
UNLIMITED = {
    **dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1),
    **dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1),
    "wildcards": True,
}
NO_STORE = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), 0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for seconds is not a JetStream that does not answer."""
    monkeypatch.setattr("cascade.connectors.nats._link.OPEN_TIMEOUT", BOUND)


@dataclass(frozen=True)
class Key:
    """A pair of keys of NATS, which signs JWTs."""

    seed: bytes
    public: str

    @classmethod
    def make(cls, prefix: int) -> Key:
        """Make a pair for an operator, an account or a user."""
        seed = nkeys.encode_seed(os.urandom(32), prefix)
        return cls(seed, nkeys.from_seed(bytearray(seed)).public_key.decode())

    def sign(self, name: str, subject: Key, claims: Mapping[str, Any]) -> str:
        """Return the JWT of version 2 that gives a key its claims."""
        body = {"jti": name, "iat": 1_700_000_000, "iss": self.public, "name": name, "sub": subject.public}
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, {**body, "nats": {**claims, "version": 2}}]
        signed = ".".join(_encoded(json.dumps(each).encode()) for each in parts)
        return f"{signed}.{_encoded(nkeys.from_seed(bytearray(self.seed)).sign(signed.encode()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def steers(url: str, **keywords: Any) -> None:
    """Connect, and see that a constraint is kept and comes back."""
    topic = constraint_topic("global", "pause")
    keywords = {"required": True, "connect_timeout": BOUND, **keywords}
    async with NatsConnector.from_url(url, **keywords) as connector:
        await connector.publish(topic, {"type": "pause"}, 1, retain=True)
        assert await connector.flush(BOUND)
        async with aclosing(connector.watch(topic)) as stream, time_limit(BOUND):
            while not isinstance(item := await anext(stream), Complete):
                pass
            assert item.topics == frozenset({topic})


async def refusal(url: str) -> str:
    """Return why a server refuses a connector."""
    connector = NatsConnector.from_url(url, required=True, connect_timeout=BOUND)
    with pytest.raises(ConnectorUnavailable) as raised:
        await connector.connect()
    await connector.disconnect()
    return raised.value.cause


@pytest.mark.unheard("the server knows one user, by a signature")
async def test_a_creds_file_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a server whose operator has signed the account; a file of another account is refused by its kind."""
    operator = Key.make(nkeys.PREFIX_BYTE_OPERATOR)
    system, account, other = (Key.make(nkeys.PREFIX_BYTE_ACCOUNT) for _ in range(3))
    of_account = operator.sign("plant", account, {"type": "account", "limits": UNLIMITED})
    system_fault = operator.sign("system", system, {"type": "account", "limits": UNLIMITED | NO_STORE})

    def creds(signer: Key) -> Path:
        user = Key.make(nkeys.PREFIX_BYTE_USER)
        limits = {"type": "user", "subs": -1, "data": -1, "payload": -1}
        path = tmp_path / f"{signer.public}.creds"
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{signer.sign('press-3', user, limits)}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        path.chmod(0o600)
        return path

    lines = [
        f"operator: {operator.sign('operator', operator, {'type': 'operator'})}",
        "resolver: MEMORY",
        f"system_account: {system.public}",
        f"resolver_preload: {{ {account.public}: {of_account}, {system.public}: {system_fault} }}",
    ]
    with NatsServer(lines=lines) as server:
        monkeypatch.setenv("CASCADE_NATS_CREDS", str(creds(account)))
        await steers(server.nats_url)
        monkeypatch.setenv("CASCADE_NATS_CREDS", str(creds(other)))
        assert (await refusal(server.nats_url)).startswith("the server refuses the creds file; check it")


async def test_a_user_and_a_password_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is in the environment, or in a file that it names."""
    with NatsServer(lines=['authorization { user: "ann", password: "s3 cret" }']) as server:
        url = server.nats_url.replace("://", "://ann@")
        monkeypatch.setenv("CASCADE_NATS_PASSWORD", "s3 cret")
        await steers(url)
        monkeypatch.delenv("CASCADE_NATS_PASSWORD")
        (tmp_path / "password").write_text("s3 cret\n")
        (tmp_path / "password").chmod(0o600)
        monkeypatch.setenv("CASCADE_NATS_PASSWORD_FILE", str(tmp_path / "password"))
        await steers(url)
        monkeypatch.setenv("CASCADE_NATS_PASSWORD", "wrong")
        assert (await refusal(url)).startswith("the server refuses the user name or the password; check it")


async def test_a_token_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment: none in a URL that others can read."""
    with NatsServer(lines=['authorization { token: "right" }']) as server:
        monkeypatch.setenv("CASCADE_NATS_TOKEN", "right")
        await steers(server.nats_url)
        monkeypatch.setenv("CASCADE_NATS_TOKEN", "wrong")
        assert (await refusal(server.nats_url)).startswith("the server refuses the token; check it")


async def test_the_seed_of_an_nkey_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is named in the environment."""
    known, stranger = Key.make(nkeys.PREFIX_BYTE_USER), Key.make(nkeys.PREFIX_BYTE_USER)
    path = tmp_path / "seed"
    monkeypatch.setenv("CASCADE_NATS_NKEY", str(path))
    with NatsServer(lines=[f"authorization {{ users: [ {{ nkey: {known.public} }} ] }}"]) as server:
        path.write_bytes(known.seed)
        await steers(server.nats_url)
        path.write_bytes(stranger.seed)
        assert (await refusal(server.nats_url)).startswith("the server refuses the nkey; check it")


async def test_a_certificate_of_the_client_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server verifies it; without one the link is refused."""
    made = make_certificates(tmp_path)
    verify = f'tls {{ cert_file: "{made.cert}", key_file: "{made.key}", ca_file: "{made.ca}", verify: true }}'
    monkeypatch.setenv("CASCADE_NATS_CA", str(made.ca))
    with NatsServer(lines=[verify]) as server:
        url = server.nats_url.replace("nats://", "tls://")
        assert "certificate" in (await refusal(url)).lower()
        monkeypatch.setenv("CASCADE_NATS_CERT", str(made.client_cert))
        monkeypatch.setenv("CASCADE_NATS_KEY", str(made.client_key))
        await steers(url)
