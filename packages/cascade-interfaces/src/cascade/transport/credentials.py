"""Files with secrets and certificates: who else can read them, and until when they are valid."""

from __future__ import annotations

import logging
import os
import ssl
import sys
from datetime import UTC, datetime

WARN_DAYS = 21
"""Days before its end in which a certificate is named."""

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17


def is_exposed(path: str | os.PathLike[str]) -> bool:
    """Return whether other users of this machine can read or change a file.

    A file that belongs to root may be readable by its group, as keys of services are.

    :raises OSError: if the file is not there.
    """
    if sys.platform == "win32":
        return False
    from pathlib import Path  # slow to import, and most links name no file

    found = Path(path).stat()
    return bool(found.st_mode & (0o027 if found.st_uid == 0 else 0o077))


def is_this_machine(host: str) -> bool:
    """Return whether a name or an address, or the path of a socket, leads to this machine."""
    if host.startswith("/"):
        return True
    from ipaddress import ip_address  # slow to import, and most links have no password

    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def plain_password_problem(host: str) -> str:
    """Return what is wrong with a password that goes to a host without TLS; empty if the host is this machine."""
    if is_this_machine(host):
        return ""
    return f"the password crosses the network to {host} without encryption; use TLS"


# by process: a forked child logs for itself
_warned: set[int] = set()


def warn_of_plain_password(log: logging.Logger, host: str) -> None:
    """Log, once for each process, that a password crosses the network in clear."""
    if os.getpid() not in _warned and (problem := plain_password_problem(host)):
        _warned.add(os.getpid())
        log.warning("%s", problem)


def certificate_end(path: str | os.PathLike[str]) -> float | None:
    """Return when the first certificate of a PEM file ends, in seconds since the epoch; None if it has none.

    :raises OSError: if the file cannot be read.
    """
    from pathlib import Path  # as above

    text = Path(path).read_text("ascii", "replace")
    begin, end = text.find(_BEGIN), text.find(_END)
    try:  # ssl refuses a text without both marks in this order
        return end_of_validity(ssl.PEM_cert_to_DER_cert(text[begin : end + len(_END)]))
    except (ValueError, IndexError):
        return None


def end_of_validity(der: bytes) -> float:
    """Return when a certificate ends, in seconds since the epoch (RFC 5280, section 4.1.2.5).

    :raises ValueError, IndexError: if the bytes are not a certificate.
    """
    fields = _parts(_parts(_parts(der)[0][1])[0][1])
    # behind the version, which may be missing, the serial number, the algorithm and the issuer
    validity = fields[3 + (fields[0][0] == _VERSION)]
    if validity[0] != _SEQUENCE:
        raise ValueError("the certificate has another form")
    tag, text = _parts(validity[1])[1]
    return _seconds(text.decode("ascii"), two_digits=tag == _UTC_TIME)


def end_problem(path: str | os.PathLike[str], now: float) -> str:
    """Return what is wrong with the end of a certificate, or empty: it has expired, or will within weeks.

    :param now: seconds since the epoch.
    """
    end = certificate_end(path)
    if end is None or end - now > WARN_DAYS * 86_400:
        return ""
    day = datetime.fromtimestamp(end, UTC).date()
    if end <= now:
        return f"the certificate {path} expired on {day}; renew it"
    return f"the certificate {path} expires in {int((end - now) / 86_400)} days, on {day}; renew it"


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """Return the elements that follow one another: tag and content (X.690, DER)."""
    found = []
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + size > len(data):
            raise ValueError("an element is cut")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _seconds(text: str, *, two_digits: bool) -> float:
    if two_digits:
        text = ("20" if text[:2] < "50" else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
