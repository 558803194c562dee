"""The certificates that brokers and clients of tests show each other."""

import ssl
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade.testkit.certificates import Certificates, make_certificates


def shown(made: Certificates, *, name: str, to: Certificates | None = None) -> str:
    """Shake hands in memory, as a client that dials ``name``; return the name of the client's certificate."""
    asked = ssl.create_default_context(cafile=str(made.ca))
    asked.load_cert_chain(made.client_cert, made.client_key)
    answering = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str((to or made).ca))
    answering.verify_mode = ssl.CERT_REQUIRED
    answering.load_cert_chain(made.cert, made.key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asked.wrap_bio(down, up, server_hostname=name)
    server = answering.wrap_bio(up, down, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found: Any = server.getpeercert()
    name_of_client: str = next(value for ((key, value),) in found["subject"] if key == "commonName")
    return name_of_client


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_server_without_names_is_the_loopback_and_its_client_is_known(tmp_path: Path, name: str) -> None:
    """Also where the folder already holds the files of an earlier authority, which are replaced whole."""
    folder = tmp_path / "new" / "folder"
    earlier = make_certificates(folder)
    earlier_cert = earlier.cert.read_text()
    made = make_certificates(folder)
    assert shown(made, name=name) == "cascade-client"
    assert [path.name for path in sorted(folder.iterdir())] == [
        "ca.pem",
        "cert.pem",
        "client-cert.pem",
        "client-key.pem",
        "key.pem",
    ]
    assert earlier_cert not in made.cert.read_text()


def test_a_server_has_the_names_that_are_given_and_no_other(tmp_path: Path) -> None:
    """The client has its own name; an authority does not vouch for the clients of another one."""
    made = make_certificates(tmp_path / "a", "broker.example", "10.0.0.7", client="station-7")
    assert [shown(made, name=name) for name in ("broker.example", "10.0.0.7")] == ["station-7"] * 2
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        shown(made, name="localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(made, name="broker.example", to=make_certificates(tmp_path / "b"))


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_a_private_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """Brokers warn of any other, or refuse it."""
    made = make_certificates(tmp_path)
    assert [stat.S_IMODE(key.stat().st_mode) for key in (made.key, made.client_key)] == [0o600, 0o600]


def test_a_missing_trustme_is_explained_by_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the extra of the kit."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(ImportError, match=r'trustme: pip install "cascade-testkit\[brokers\]"'):
        make_certificates(tmp_path)
