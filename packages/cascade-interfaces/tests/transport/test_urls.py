"""What stands in a connector's URL and in the environment: what counts, and in which words anything else is refused."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

import pytest
from network_of_posts import POST

from cascade.interfaces import ConfigurationError
from cascade.transport import urls

ENCODED = "special characters in user and password must be percent-encoded (@ is %40)"
EXAMPLE = "write post://host:4000"
PATH = f"only ?source_id= may follow host and port; pass keywords beside it; {ENCODED}; {EXAMPLE}"
PAIR = (
    "cannot be used: both must be in PEM form and belong together, and keyfile_password must open the key if it is "
    "encrypted"
)
QUERY = "only ?source_id=NAME and franking=1 or 2 may follow host and port; pass other keywords beside it"
PORT = f"its port is not a number from 1 to 65535, or its host is missing; {EXAMPLE}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CASCADE_SOURCE_ID", *(f"CASCADE_TEST_POST_{each}" for each in ("CA", "CERT", "KEY"))):
        monkeypatch.delenv(name, raising=False)


def read(url: Any, **keywords: Any) -> tuple[str, int, dict[str, Any]]:
    """Return host, port and keywords; what the network adds has the name of its user."""

    def user(parts: SplitResult, given: Mapping[str, Any]) -> dict[str, str]:
        return {f"{name} of {len(given)}": value for name, value in urls.user_of(parts).items()}

    return POST.from_url(url, keywords, user)


@pytest.mark.parametrize(
    ("url", "host", "port", "found"),
    [
        ("post://plant", "plant", 4000, {}),
        ("  post://plant:4001/ ", "plant", 4001, {}),
        ("mail://plant", "plant", 4025, {}),
        ("mail://plant/a/b-c.d~e_f", "plant", 4025, {}),
        ("post://[::1]:4001", "::1", 4001, {}),
        ("post://plant?source_id=press-3", "plant", 4000, {"source_id": "press-3"}),
        ("post://plant?source_id=a%20b", "plant", 4000, {"source_id": "a b"}),
        ("post://plant?source_id=", "plant", 4000, {"source_id": ""}),
        ("post://plant?franking=2&source_id=a", "plant", 4000, {"source_id": "a", "franking": "2"}),
        ("post://ann@plant", "plant", 4000, {"username of 0": "ann"}),
        ("post://ann:@plant", "plant", 4000, {"username of 0": "ann", "password of 0": ""}),
        ("post://:x@plant", "plant", 4000, {"password of 0": "x"}),
        ("post://a%3Ab:s%40%2F@plant", "plant", 4000, {"username of 0": "a:b", "password of 0": "s@/"}),
    ],
)
def test_a_url_names_what_it_has(url: str, host: str, port: int, found: dict[str, str]) -> None:
    """User and password are decoded."""
    assert read(url) == (host, port, found)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, f"this is not a URL; {EXAMPLE}"),
        ("plant:4000", f"this is not a URL; {EXAMPLE}"),
        ("post://[::1", f"it cannot be read; {ENCODED}; {EXAMPLE}"),
        ("post://", f"it has no host; {EXAMPLE}"),
        ("post://:4000", f"it has no host; {EXAMPLE}"),
        ("pst://plant", "it begins with none of post://, posts:// and mail://; did you mean post://?"),
        ("email://plant", "it begins with none of post://, posts:// and mail://; did you mean mail://?"),
        ("http://plant", f"it begins with none of post://, posts:// and mail://; {EXAMPLE}"),
        ("post://plant/path", PATH),
        ("post://plant#part", PATH),
        ("mail://plant/path#part", PATH),
        ("mail://plant/a b", PATH),
        ("mail://plant/ä", PATH),
        ("post://plant:x", PORT),
        ("post://plant:65536", PORT),
        ("post://plant?source_id=a&source_id=b", QUERY),
        ("post://plant?source_id=a&window=1", QUERY),
        ("post://plant?franking=1&franking=1", QUERY),
        ("post://plant?franking=3", QUERY),
        ("post://plant?franking=", QUERY),
        ("post://plant?window=1", QUERY),
        ("post://plant?source_id", QUERY),
        ("post://plant?source_id=%ff", QUERY),
    ],
)
def test_a_url_that_cannot_be_understood_is_refused(url: Any, message: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError) as raised:
        read(url)
    assert str(raised.value) == f"url: {message}"


def test_the_name_is_that_of_the_keyword_then_of_the_url_then_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty environment variable counts as not set."""
    monkeypatch.setenv("CASCADE_SOURCE_ID", "")
    assert read("post://plant")[2] == {}
    monkeypatch.setenv("CASCADE_SOURCE_ID", "press-1")
    assert read("post://plant")[2] == {"source_id": "press-1"}
    assert read("post://plant?franking=2")[2] == {"source_id": "press-1", "franking": "2"}
    assert read("post://plant?source_id=press-2")[2] == {"source_id": "press-2"}
    keyword = read("post://ann@plant?source_id=press-2", source_id="press-3")
    assert keyword[2] == {"source_id": "press-3", "username of 1": "ann"}


def test_an_encrypted_scheme_gets_a_context_unless_one_is_passed() -> None:
    """Any keyword of TLS counts, also one that is None."""
    assert isinstance(read("posts://plant")[2]["tls"], ssl.SSLContext)
    assert read("posts://plant")[1] == 4443
    assert read("posts://plant", tls=None)[2] == {"tls": None}
    assert read("posts://plant", franking=7)[2] == {"franking": 7}


@pytest.mark.parametrize("variable", ["CA", "CERT", "KEY"])
def test_a_file_for_tls_that_is_not_there_is_named_with_its_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only for an encrypted scheme."""
    monkeypatch.setenv(f"CASCADE_TEST_POST_{variable}", "/no/such.pem")
    assert read("post://plant")[2] == {}
    with pytest.raises(ConfigurationError) as raised:
        read("posts://plant")
    problem = "the file /no/such.pem cannot be read: No such file or directory"
    assert str(raised.value) == f"CASCADE_TEST_POST_{variable}: {problem}"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CA": "odd.pem"}, "CASCADE_TEST_POST_CA: odd.pem contains no certificates in PEM form"),
        (
            {"KEY": "odd.pem"},
            "CASCADE_TEST_POST_KEY: it needs a certificate; set CASCADE_TEST_POST_CERT too",
        ),
        (
            {"CERT": "odd.pem", "KEY": "key.pem"},
            f"CASCADE_TEST_POST_CERT: odd.pem and its key (key.pem) {PAIR}",
        ),
        (
            {"CERT": "odd.pem"},
            f"CASCADE_TEST_POST_CERT: odd.pem and its key (in the same file) {PAIR}",
        ),
    ],
)
def test_files_for_tls_that_cannot_be_used_are_named(
    variables: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their variable and their path."""
    monkeypatch.chdir(tmp_path)
    for name in ("odd.pem", "key.pem"):
        (tmp_path / name).write_text("odd")
    for variable, path in variables.items():
        monkeypatch.setenv(f"CASCADE_TEST_POST_{variable}", path)
    with pytest.raises(ConfigurationError) as raised:
        read("posts://plant")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"s3cret", "s3cret"), (b" s3 cret \r\n\n", " s3 cret "), ("pä".encode(), "pä"), (b"", "")],
)
def test_a_secret_may_stand_in_a_file(
    content: bytes, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the ends of its lines; blanks belong to it."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)
    monkeypatch.setenv("CASCADE_TEST_POST_SEAL_FILE", str(path))
    assert POST.secret("SEAL") == secret
    monkeypatch.setenv("CASCADE_TEST_POST_SEAL", "of the environment")
    assert POST.secret("SEAL") == "of the environment"


def test_without_a_secret_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty variables count as none."""
    assert POST.secret("SEAL") is None
    monkeypatch.setenv("CASCADE_TEST_POST_SEAL", "")
    monkeypatch.setenv("CASCADE_TEST_POST_SEAL_FILE", "")
    assert POST.secret("SEAL") is None


@pytest.mark.parametrize(("mode", "exposed"), [(0o644, True), (0o600, False)])
def test_a_secret_that_others_can_read_is_used_and_named(
    mode: int,
    exposed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With what to do, and without its content."""
    path = tmp_path / "secret"
    path.write_text("s3cret")
    path.chmod(mode)
    monkeypatch.setenv("CASCADE_TEST_POST_SEAL_FILE", str(path))
    assert POST.secret("SEAL") == "s3cret"
    line = "other users of this machine can read the file of CASCADE_TEST_POST_SEAL_FILE; chmod 600"
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (logging.WARNING, line)
    ] * exposed


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b"c4n\xffary", "it is not a name of a file, or not a file of UTF-8 text"),
    ],
)
def test_a_secret_that_cannot_be_read_shows_neither_its_file_nor_itself(
    content: bytes | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable may hold the password by mistake."""
    path = tmp_path / "c4nary"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("CASCADE_TEST_POST_SEAL_FILE", str(path))
    with pytest.raises(ConfigurationError) as raised:
        POST.secret("SEAL")
    remedy = "name one that the user of this process can read"
    expected = f"CASCADE_TEST_POST_SEAL_FILE: the file that it names cannot be read: {problem}; {remedy}"
    assert str(raised.value) == expected
