"""The keywords that go on to ``aiomqtt.Client``: what would fail late, or for ever, is refused here."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade.connectors.mqtt._aiomqtt import protocol_version
from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.text import MAX_BYTES, text_problem

_ONLY_5 = ("clean_start", "properties")
_TRANSPORTS = ("tcp", "websockets", "unix")
_FILES = ("ca_certs", "certfile", "keyfile")


def checked(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords, with the version of MQTT as the client names it.

    :raises ConfigurationError: naming the one that cannot work, and what to write instead. No
        message shows a password.
    """
    client = dict(keywords)
    if client.get("protocol") is not None:
        client["protocol"] = _version(client["protocol"])
    _check_numbers(client)
    _check_credentials(client)
    _check_transport(client)
    _check_tls(client)
    return client


def check_text(name: str, value: object) -> None:
    """Refuse what is no text, or a text for which brokers cut the link."""
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigurationError(name, "it must be text")
    if problem := text_problem(value):
        raise ConfigurationError(name, f"it {problem}")


def _version(value: object) -> Any:
    version = protocol_version(value)
    if version is None:
        raise ConfigurationError("protocol", f"{value!r} is no version of MQTT; write '3.1.1' or '5'")
    return version


def _check_numbers(client: Mapping[str, Any]) -> None:
    for name in ("keepalive", "bind_port"):
        value = client.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65_535:
            raise ConfigurationError(name, f"{value!r} is not a whole number from 0 to 65535")
    value = client.get("timeout")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise ConfigurationError("timeout", f"{value!r} is not a number of seconds above 0")


def _check_credentials(client: Mapping[str, Any]) -> None:
    check_text("username", client.get("username"))
    check_text("identifier", client.get("identifier"))
    password = client.get("password")
    if password is None:
        return
    if not isinstance(password, str | bytes):
        raise ConfigurationError("password", "it must be text")
    if client.get("username") is None:
        raise ConfigurationError("password", "it is not sent without a user; pass username= too")
    if len(password if isinstance(password, bytes) else password.encode("utf-8", "replace")) > MAX_BYTES:
        raise ConfigurationError("password", f"it is longer than {MAX_BYTES} bytes")


def _check_transport(client: Mapping[str, Any]) -> None:
    if client.get("transport", "tcp") not in _TRANSPORTS:
        raise ConfigurationError("transport", f"it must be one of {', '.join(_TRANSPORTS)}")
    newer = client.get("protocol") == protocol_version("5")
    if newer and client.get("clean_session") is not None:
        raise ConfigurationError("clean_session", "MQTT 5 has clean_start in its place")
    for name in _ONLY_5:
        if not newer and client.get(name) is not None:
            raise ConfigurationError(name, "it belongs to MQTT 5; pass protocol='5' too")


def _check_tls(client: Mapping[str, Any]) -> None:
    context, params = client.get("tls_context"), client.get("tls_params")
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise ConfigurationError("tls_context", "it must be an ssl.SSLContext")
    if params is not None and not hasattr(params, "keyfile_password"):
        raise ConfigurationError("tls_params", "it must be an aiomqtt.TLSParameters")
    if context is not None and params is not None:
        raise ConfigurationError("tls_params", "tls_context says the same thing; pass one of the two")
    if context is None and params is None and client.get("tls_insecure") is not None:
        raise ConfigurationError("tls_insecure", "there is no TLS; pass tls_context= or tls_params= too")
    if params is not None:
        _check_files(params)


def _check_files(params: Any) -> None:
    """Load what the client will load: it would say neither which file, nor what is wrong with it."""
    for name in _FILES:
        if getattr(params, name) is not None:
            _check_readable(f"tls_params: {name}", getattr(params, name))
    if params.keyfile is not None and params.certfile is None:
        raise ConfigurationError("tls_params: keyfile", "it goes only with a certfile")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if params.ca_certs is not None:
        try:
            context.load_verify_locations(params.ca_certs)
        except ssl.SSLError:
            raise ConfigurationError(
                "tls_params: ca_certs", f"{params.ca_certs} holds no certificates in PEM form"
            ) from None
    if params.certfile is not None:
        _check_pair(context, params)


def _check_pair(context: ssl.SSLContext, params: Any) -> None:
    try:
        # Without any password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(params.certfile, params.keyfile, params.keyfile_password or "")
    except (ssl.SSLError, ValueError):
        key = params.keyfile or "in the same file"
        raise ConfigurationError(
            "tls_params: certfile",
            f"{params.certfile} and its key ({key}) cannot be used: both must be in PEM form and belong together, "
            "and keyfile_password must open the key if it is encrypted",
        ) from None


def _check_readable(name: str, path: str | Path) -> None:
    try:
        Path(path).open("rb").close()
    except (OSError, TypeError, ValueError) as exc:
        problem = getattr(exc, "strerror", None) or exc
        raise ConfigurationError(name, f"the file {path} cannot be read: {problem}") from None
