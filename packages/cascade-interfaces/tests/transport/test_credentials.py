"""Files with secrets and certificates."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cascade.transport.credentials import certificate_end, end_of_validity, end_problem, is_exposed

# Two certificates of one name, made by hand: with UTCTime up to 2049, with GeneralizedTime from 2050 on (RFC 5280).
SERIAL, ALGORITHM, NAME, KEY = b"\x02\x01\x05", b"\x30\x00", b"\x30\x00", b"\x30\x00"


def element(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x82, size >> 8, size & 0xFF])
    return bytes([tag]) + length + content


def certificate(
    *, tag: int, end: bytes, version: bytes = b"\xa0\x03\x02\x01\x02", filling: bytes = b""
) -> bytes:
    validity = element(0x30, element(0x17, b"200101000000Z") + element(tag, end))
    inner = element(0x30, version + SERIAL + ALGORITHM + NAME + validity + NAME + KEY + filling)
    return element(0x30, inner + ALGORITHM + b"\x03\x01\x00")


@pytest.mark.parametrize(
    ("der", "end"),
    [
        (certificate(tag=0x17, end=b"491231235959Z"), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (certificate(tag=0x17, end=b"991231000000Z"), datetime(1999, 12, 31, tzinfo=UTC)),
        (certificate(tag=0x18, end=b"21000101000000Z"), datetime(2100, 1, 1, tzinfo=UTC)),
        (certificate(tag=0x17, end=b"270101000000Z", version=b""), datetime(2027, 1, 1, tzinfo=UTC)),
        (
            certificate(tag=0x17, end=b"270101000000Z", filling=element(4, b"x" * 300)),
            datetime(2027, 1, 1, tzinfo=UTC),
        ),
    ],
)
def test_the_end_of_a_certificate_is_read(der: bytes, end: datetime) -> None:
    """Both forms of time, with and without a version, short and long lengths."""
    assert end_of_validity(der) == end.timestamp()


@pytest.mark.parametrize("cut", range(0, 57, 3))
def test_a_certificate_that_is_cut_has_no_end(cut: int) -> None:
    """Nothing is raised but what a reader expects."""
    der = certificate(tag=0x17, end=b"491231235959Z")[:cut]
    with pytest.raises((ValueError, IndexError)):
        end_of_validity(der)


def test_a_file_without_a_certificate_has_no_end(tmp_path: Path) -> None:
    """A key alone, and text between the marks that is not base64."""
    path = tmp_path / "x.pem"
    for text in ("", "-----BEGIN CERTIFICATE-----\nodd\n-----END CERTIFICATE-----\n"):
        path.write_text(text)
        assert certificate_end(path) is None
        assert end_problem(path, 0.0) == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize(
    ("mode", "mine", "of_root"),
    [
        (0o600, False, False),
        (0o400, False, False),
        (0o640, True, False),
        (0o644, True, True),
        (0o620, True, True),
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
