"""Check the keywords for ``aiomqtt.Client``: reject here what would fail later, or with every attempt."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from cascade.connectors.mqtt._aiomqtt_client import protocol_version
from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.logs import get_logger
from cascade.interfaces.text import MAX_BYTES
from cascade.transport.urls import check_readable, load_pair

log = get_logger("cascade.connectors.mqtt")

_ONLY_5 = ("clean_start", "properties")
_TRANSPORTS = ("tcp", "websockets", "unix")
_FILES = ("ca_certs", "certfile", "keyfile")


def checked(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords, with the version of MQTT under aiomqtt's name for it.

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


def _version(value: object) -> Any:
    version = protocol_version(value)
    if version is None:
        raise ConfigurationError("protocol", f"{value!r} is not a version of MQTT; write '3.1.1' or '5'")
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
        raise ConfigurationError("clean_session", "MQTT 5 uses clean_start instead")
    for name in _ONLY_5:
        if not newer and client.get(name) is not None:
            raise ConfigurationError(name, "it belongs to MQTT 5; pass protocol='5' too")


def _check_tls(client: Mapping[str, Any]) -> None:
    context, params = client.get("tls_context"), client.get("tls_params")
    if params is not None and not hasattr(params, "keyfile_password"):
        raise ConfigurationError("tls_params", "it must be an aiomqtt.TLSParameters")
    if context is not None and params is not None:
        raise ConfigurationError("tls_params", "tls_context sets the same; pass only one of the two")
    if context is None and params is None and client.get("tls_insecure") is not None:
        raise ConfigurationError(
            "tls_insecure", "the connection does not use TLS; pass tls_context= or tls_params= too"
        )
    if params is not None:
        _check_files(params)


def _check_files(params: Any) -> None:
    """Load the files that the client will load: its own error names neither the file nor the problem."""
    for name in _FILES:
        if getattr(params, name) is not None:
            check_readable(f"tls_params: {name}", getattr(params, name))
    if params.keyfile is not None and params.certfile is None:
        raise ConfigurationError("tls_params: keyfile", "it needs a certfile; pass certfile too")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if params.ca_certs is not None:
        try:
            context.load_verify_locations(params.ca_certs)
        except ssl.SSLError:
            raise ConfigurationError(
                "tls_params: ca_certs", f"{params.ca_certs} contains no certificates in PEM form"
            ) from None
    if params.certfile is not None:
        pair = (params.certfile, params.keyfile, params.keyfile_password or "")
        load_pair("tls_params: certfile", context, *pair, log=log)
