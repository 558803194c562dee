"""mosquitto's password file, without its command."""

from __future__ import annotations

import base64
import hashlib
import os

# mosquitto's own number: use passwords that are random, so that guessing is hopeless
_ITERATIONS = 101


def password_line(user: str, password: str) -> str:
    """Return one line of mosquitto's password file: PBKDF2 with SHA-512, its type 7."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"{user}:$7${_ITERATIONS}${_base64(salt)}${_base64(digest)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
