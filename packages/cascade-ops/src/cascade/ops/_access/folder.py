"""Write the configuration of a broker to a folder: rules, passwords, store."""

from __future__ import annotations

import os
import secrets
import ssl
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from cascade.cli.errors import USAGE, CommandError
from cascade.interfaces.access import Rule
from cascade.interfaces.broker_programs import password_line
from cascade.ops._access import nats
from cascade.ops._access.mosquitto import Files, access_list, configuration
from cascade.ops._access.nats import NatsFiles
from cascade.transport.credentials import certificate_end, end_problem, is_exposed

_PASSWORD_BYTES = 24


def write_folder(folder: Path, rules: Sequence[Rule], *, broker: str) -> Files:
    """Write everything that a broker needs; passwords that are there stay. Return where it stands.

    Files that hold a secret can be read by their owner only.

    :raises CommandError: if a file cannot be written, or the key of the certificate can be read by others.
    """
    files = (NatsFiles if broker == "nats" else Files)(folder.absolute())
    try:
        for each in (files.folder, files.secrets, files.store):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = dict.fromkeys(rule.user for rule in rules)
        passwords = {user: _password(files, user) for user in users}
        tls = _has_certificate(files)
        if isinstance(files, NatsFiles):
            _write(files.configuration, nats.configuration(files, rules, passwords, tls=tls))
        else:
            _write(files.hashes, [password_line(user, password) for user, password in passwords.items()])
            _write(files.rules, access_list(rules))
            _write(files.configuration, configuration(files, tls=tls, owner=_owner()))
    except OSError as error:
        problem = f"{error.filename or folder} cannot be written: {error.strerror}"
        raise CommandError(problem, "choose another folder for --config", code=USAGE) from error
    return files


def _password(files: Files, user: str) -> str:
    """Return the password of a user; make it if there is none."""
    path = files.secrets / user
    if not path.exists():
        _write(path, [secrets.token_urlsafe(_PASSWORD_BYTES)])
    check_private(path)
    return path.read_text("utf-8").rstrip("\n")


def check_private(path: Path) -> None:
    """Refuse a file with a secret that others can read.

    :raises CommandError: with the command that changes it.
    """
    if is_exposed(path):
        raise CommandError(f"{path} can be read by others", f"chmod 600 {path}", code=USAGE)


def _has_certificate(files: Files) -> bool:
    if files.certificate.exists() != files.key.exists():
        missing = files.key if files.certificate.exists() else files.certificate
        raise CommandError(f"{missing} is missing", "TLS needs both server.pem and server.key", code=USAGE)
    if not files.key.exists():
        return False
    check_private(files.key)
    _check_certificate(files)
    return True


def _check_certificate(files: Files) -> None:
    """Refuse a certificate that mosquitto cannot use, or that has expired; note one that soon will."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key, "")
    except (ssl.SSLError, ValueError):
        problem = f"{files.certificate} and {files.key.name} cannot be used"
        remedy = "both must be in PEM form and belong together, the key without a password"
        raise CommandError(problem, remedy, code=USAGE) from None
    end = certificate_end(files.certificate)
    if end is not None and end <= time.time():
        raise CommandError(end_problem(files.certificate, time.time()), code=USAGE)


def _write(path: Path, lines: Iterable[str]) -> None:
    """Replace a file in one step; only its owner can ever read it."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600, exist_ok=False)
    part.write_text("\n".join([*lines, ""]), encoding="utf-8")
    part.replace(path)


def _owner() -> str:
    if sys.platform == "win32":
        return ""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
