"""Who may use the relay."""

import pytest
from served_page import RelayAccess


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST:8765", "[::1]:8765", "localhost"]
)
def test_a_page_from_here_is_admitted(host: str) -> None:
    """By whatever name of this machine a person has opened it, through a forwarded port as well."""
    assert RelayAccess().admits_origin(host, f"http://{host}")
    assert RelayAccess().admits_origin(host, f"https://{host.lower()}")
    assert RelayAccess().admits_origin(host, None), "a program that is not a browser"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8765", "http://evil.example"),
        ("127.0.0.1:8765", "http://127.0.0.1:3000"),
        ("127.0.0.1:8765", "http://127.0.0.1:8765.evil.example"),
        ("127.0.0.1:8765", "null"),
        ("127.0.0.1:8765", ""),
        ("127.0.0.1:8765", "file://127.0.0.1:8765"),
        ("evil.example:8765", "http://evil.example:8765"),  # its name leads to 127.0.0.1
        ("evil.example:8765", None),
        ("[::1", "http://[::1"),
        ("", "http://"),
    ],
)
def test_a_page_from_elsewhere_is_refused(host: str, origin: str | None) -> None:
    """Another host, another server of this machine, a file, and a host name that was made to lead here."""
    assert not RelayAccess().admits_origin(host, origin)


def test_a_browser_with_the_token_may_use_any_name_of_the_host() -> None:
    """The names of a machine in its network are not known; the origin must still be the same."""
    access = RelayAccess("secret")
    assert access.admits_origin("box.local:8765", "http://box.local:8765")
    assert not access.admits_origin("box.local:8765", "http://evil.example")
    assert access.admits_token("mqtt, token.secret")
    assert RelayAccess().admits_token("mqtt")


@pytest.mark.parametrize("protocols", ["", "mqtt", "mqtt, token.", "token.secre", "token.ä", "mqtt, secret"])
def test_a_wrong_token_is_refused(protocols: str) -> None:
    """Also one that is missing, too short, or not ASCII."""
    assert not RelayAccess("secret").admits_token(protocols)
