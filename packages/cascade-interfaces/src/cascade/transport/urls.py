"""Read a connector's URL and the environment. No message shows a part of a URL: any part may be a password."""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.text import nearest
from cascade.transport.credentials import end_problem, is_exposed

if TYPE_CHECKING:
    from pathlib import Path

SOURCE_VARIABLE = "CASCADE_SOURCE_ID"
ENCODE = "special characters in user and password must be percent-encoded (@ is %40)"
_READABLE = "name one that the user of this process can read"
_NO_PATH = "only ?source_id= may follow host and port; pass keywords beside it"


def split(url: object, *, example: str) -> SplitResult:
    """Return the parts of a URL that has a host.

    :raises ConfigurationError: if it is not one.
    """
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError("url", f"this is not a URL; {example}")
    parts = None
    with contextlib.suppress(ValueError):  # which shows the password
        parts = urlsplit(url.strip())
    if parts is None:
        raise ConfigurationError("url", f"it cannot be read; {ENCODE}; {example}")
    if not parts.hostname:
        raise ConfigurationError("url", f"it has no host; {example}")
    return parts


def check_ends_after_port(parts: SplitResult, *, example: str) -> None:
    """Check that a URL has no path and no fragment.

    :raises ConfigurationError: if it has.
    """
    if parts.path.strip("/") or parts.fragment:
        raise ConfigurationError("url", f"{_NO_PATH}; {ENCODE}; {example}")


def scheme_of(parts: SplitResult, known: Mapping[str, int], *, example: str) -> str:
    """Return the scheme of a URL.

    :raises ConfigurationError: if it is not one of ``known``; the message names the nearest one.
    """
    if parts.scheme in known:
        return parts.scheme
    near = nearest(parts.scheme, known, least=0.7)
    meant = f"did you mean {near}://?" if near else example
    *others, last = (f"{each}://" for each in known)
    raise ConfigurationError("url", f"it begins with none of {', '.join(others)} and {last}; {meant}")


def port_of(parts: SplitResult, usual: int, *, example: str) -> int:
    """Return the port of a URL, or the usual one.

    :raises ConfigurationError: if it is not a port.
    """
    # which shows the password where the host was forgotten
    with contextlib.suppress(ValueError):
        return usual if parts.port is None else parts.port
    raise ConfigurationError(
        "url", f"its port is not a number from 1 to 65535, or its host is missing; {example}"
    )


def user_of(parts: SplitResult) -> dict[str, str]:
    """Return user and password of a URL, as far as it has them."""
    found = {"username": parts.username, "password": parts.password}
    return {
        name: unquote(value)
        for name, value in found.items()
        if value is not None and (value or name == "password")
    }


def query_of(parts: SplitResult, further: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the name that ``?source_id=`` or else the environment gives, and further keywords of the query.

    :param further: the values that each of them may have: any other text may belong to a password.
    :raises ConfigurationError: if the query has anything else.
    """
    name = os.environ.get(SOURCE_VARIABLE)
    found = {"source_id": name} if name else {}
    if not parts.query:
        return found
    with contextlib.suppress(ValueError):  # which shows the query
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True, errors="strict")
        values = {key: each[0] for key, each in query.items() if len(each) == 1}
        if len(values) == len(query) and all(
            key == "source_id" or value in further.get(key, ()) for key, value in values.items()
        ):
            return found | values
    names = " and ".join(
        ["?source_id=NAME", *(f"{key}={' or '.join(each)}" for key, each in further.items())]
    )
    raise ConfigurationError("url", f"only {names} may follow host and port; pass other keywords beside it")


def secret_of(variable: str, file_variable: str, *, log: logging.Logger) -> str | None:
    """Return a secret from the environment, or from the file that the environment names; None without one.

    Log a warning if other users can read the file.

    :raises ConfigurationError: if that file cannot be read.
    """
    if secret := os.environ.get(variable):
        return secret
    if not (name := os.environ.get(file_variable)):
        return None
    from pathlib import Path  # slow to import, and most links name no file

    try:
        secret = Path(name).read_text(encoding="utf-8").rstrip("\r\n")
        if is_exposed(name):
            log.warning("other users of this machine can read the file of %s; chmod 600", file_variable)
        return secret
    except (OSError, ValueError) as exc:
        # which show the name or the content, and either may be a password
        problem = getattr(exc, "strerror", None) or "it is not a name of a file, or not a file of UTF-8 text"
    raise ConfigurationError(file_variable, f"the file that it names cannot be read: {problem}; {_READABLE}")


def tls_context_of(
    ca_variable: str, cert_variable: str, key_variable: str, *, log: logging.Logger
) -> ssl.SSLContext:
    """Return the system's settings, with the authority and the certificate that the environment names.

    :raises ConfigurationError: naming the variable whose file cannot be used.
    """
    names = (ca_variable, cert_variable, key_variable)
    ca, cert, key = (os.environ.get(name) for name in names)
    for name, path in zip(names, (ca, cert, key), strict=True):
        if path:
            check_readable(name, path)
    try:
        context = ssl.create_default_context(cafile=ca) if ca else ssl.create_default_context()
    except ssl.SSLError:
        raise ConfigurationError(ca_variable, f"{ca} contains no certificates in PEM form") from None
    if key and not cert:
        raise ConfigurationError(key_variable, f"it needs a certificate; set {cert_variable} too")
    if cert:
        load_pair(cert_variable, context, cert, key or None, log=log)
    return context


def load_pair(
    name: str, context: ssl.SSLContext, cert: str, key: str | None, password: Any = "", *, log: logging.Logger
) -> None:
    """Load a client's certificate and its key into a context; log a warning if it has expired or soon will.

    :raises ConfigurationError: naming the setting ``name`` and the files, if they cannot be used.
    """
    try:
        # Without any password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password)
    except (ssl.SSLError, ValueError):
        raise ConfigurationError(
            name,
            f"{cert} and its key ({key or 'in the same file'}) cannot be used: both must be in PEM form and belong "
            "together, and keyfile_password must open the key if it is encrypted",
        ) from None
    if not password and is_exposed(key or cert):
        remedy = f"chmod 600 {key or cert}"
        raise ConfigurationError(
            name, f"other users of this machine can read the key {key or cert}; {remedy}"
        )
    if problem := end_problem(cert, time.time()):
        log.warning("%s: %s", name, problem)


def check_readable(name: str, path: str | Path) -> None:
    """Check that a file can be read.

    :raises ConfigurationError: naming the setting ``name`` and the path, if it cannot.
    """
    from pathlib import Path  # slow to import, and most links name no file

    try:
        Path(path).open("rb").close()
    except (OSError, TypeError, ValueError) as exc:
        problem = getattr(exc, "strerror", None) or exc
        raise ConfigurationError(name, f"the file {path} cannot be read: {problem}") from None
