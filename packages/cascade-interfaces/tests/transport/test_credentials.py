"""Files with secrets and certificates."""

import base64
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cascade.transport import credentials
from cascade.transport.credentials import certificate_end, end_of_validity, end_problem, is_exposed

# Two certificates of one name, made by hand: with UTCTime up to 2049, with GeneralizedTime from 2050 on (RFC 5280).
SERIAL, ALGORITHM, NAME, KEY = b"\x02\x01\x05", b"\x30\x00", b"\x30\x00", b"\x30\x00"


def element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    count = (size.bit_length() + 7) // 8  # X.690, section 8.1.3.5: how many bytes the length has, and these
    return bytes([tag, 0x80 | count]) + size.to_bytes(count, "big") + content


def certificate(
    *,
    tag: int,
    end: bytes,
    version: bytes = b"\xa0\x03\x02\x01\x02",
    filling: bytes = b"",
    issuer: bytes = NAME,
) -> bytes:
    validity = element(0x30, element(0x17, b"200101000000Z") + element(tag, end))
    inner = element(0x30, version + SERIAL + ALGORITHM + issuer + validity + NAME + KEY + filling)
    return element(0x30, inner + ALGORITHM + b"\x03\x01\x00")


@pytest.mark.parametrize("cut", range(0, 57, 3))
def test_a_certificate_that_is_cut_has_no_end(cut: int) -> None:
    """Nothing is raised but what a reader expects."""
    der = certificate(tag=0x17, end=b"491231235959Z")[:cut]
    with pytest.raises((ValueError, IndexError)):
        end_of_validity(der)


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 129, 200, 255, 256, 300, 65_535, 65_536, 70_000])
def test_the_end_is_found_behind_an_issuer_of_any_length(size: int) -> None:
    """A length has up to four bytes."""
    der = certificate(tag=0x17, end=b"270304050607Z", issuer=element(0x30, b"\x80" * size))
    assert end_of_validity(der) == datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(("year", "means"), [(b"00", 2000), (b"49", 2049), (b"50", 1950), (b"99", 1999)])
def test_a_year_of_two_digits_is_one_from_1950_to_2049(year: bytes, means: int) -> None:
    """As RFC 5280 says."""
    end = end_of_validity(certificate(tag=0x17, end=year + b"0101000000Z"))
    assert end == datetime(means, 1, 1, tzinfo=UTC).timestamp()


def test_a_certificate_without_a_validity_has_no_end() -> None:
    """Another element stands in its place."""
    inner = element(0x30, SERIAL + ALGORITHM + NAME + element(4, element(0x17, b"270101000000Z") * 2))
    with pytest.raises(ValueError, match="another form"):
        end_of_validity(element(0x30, inner))


def pem(der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


END = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
DAY = 86_400
FIRST = pem(certificate(tag=0x17, end=b"270101000000Z"))
SECOND = pem(certificate(tag=0x17, end=b"990101000000Z"))


@pytest.mark.parametrize("text", [FIRST, FIRST + SECOND, f"an authority\n\n{FIRST}{SECOND}"])
def test_the_first_certificate_of_a_file_counts(text: str, tmp_path: Path) -> None:
    """Behind it stand those of the authorities that have signed it."""
    path = tmp_path / "x.pem"
    path.write_text(text)
    assert certificate_end(path) == END


@pytest.mark.parametrize(
    ("left", "problem"),
    [
        (22 * DAY, ""),
        (21 * DAY + 1, ""),
        (21 * DAY, "expires in 21 days, on 2027-01-01; renew it"),
        (20.9 * DAY, "expires in 20 days, on 2027-01-01; renew it"),
        (1, "expires in 0 days, on 2027-01-01; renew it"),
        (0, "expired on 2027-01-01; renew it"),
        (-400 * DAY, "expired on 2027-01-01; renew it"),
    ],
)
def test_a_certificate_is_named_three_weeks_before_its_end(left: float, problem: str, tmp_path: Path) -> None:
    """With the day, and what to do."""
    path = tmp_path / "x.pem"
    path.write_text(FIRST)
    assert end_problem(path, END - left) == (f"the certificate {path} {problem}" if problem else "")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Its callers say which setting has named it."""
    with pytest.raises(FileNotFoundError):
        certificate_end(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        is_exposed(tmp_path / "none")


def test_a_file_without_a_certificate_has_no_end(tmp_path: Path) -> None:
    """A key alone, marks in the wrong order or only one, and what is not a certificate between them."""
    path = tmp_path / "x.pem"
    begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
    for text in ("", f"{begin}odd\n{end}", f"{end}{begin}", begin, FIRST[:-3], pem(b"odd"), pem(b"0")):
        path.write_text(text)
        assert certificate_end(path) is None
        assert end_problem(path, 0.0) == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize(
    ("mode", "mine", "of_root"),
    [
        (0o600, False, False),
        (0o400, False, False),
        (0o700, False, False),
        (0o640, True, False),
        (0o620, True, True),
        (0o610, True, False),
        (0o604, True, True),
        (0o602, True, True),
        (0o601, True, True),
        (0o644, True, True),
    ],
)
def test_a_file_that_others_can_read_is_exposed(
    mode: int, mine: bool, of_root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of root may read: that is how the system gives a key to a service."""
    path = tmp_path / "key.pem"
    path.touch()
    path.chmod(mode)

    class Owned:
        def __init__(self, owner: int) -> None:
            self.st_uid, self.st_mode = owner, 0o100000 | mode

    monkeypatch.setattr(Path, "stat", lambda self: Owned(1000))
    assert is_exposed(path) is mine
    monkeypatch.setattr(Path, "stat", lambda self: Owned(0))
    assert is_exposed(path) is of_root


def test_a_password_in_clear_is_named_once_for_each_process(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to this machine: nobody on the network sees it."""
    monkeypatch.setattr(credentials, "_warned", set())
    log = logging.getLogger("cascade.test")
    for host in ("localhost", "127.0.0.1", "::1", "[::1]", "/run/broker.sock", "broker.example", "10.0.0.7"):
        credentials.warn_of_plain_password(log, host)
    text = "the password crosses the network to broker.example without encryption; use TLS"
    assert [record.getMessage() for record in caplog.records] == [text]
