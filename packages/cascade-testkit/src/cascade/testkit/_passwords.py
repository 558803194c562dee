"""mosquitto's password file, without its command."""

from __future__ import annotations

import base64
import hashlib
import os

_ITERATIONS = 101  # mosquitto's own number; the file lives as long as a test


def password_line(user: str, password: str) -> str:
    """Return one line: PBKDF2 with SHA-512, mosquitto's type 7."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"{user}:$7${_ITERATIONS}${_base64(salt)}${_base64(digest)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
