"""The address and port on which a command listens, and why they cannot be used."""

from __future__ import annotations

import errno
import platform
from ipaddress import ip_address

import click

from cascade.cli.errors import USAGE, CommandError

PORT = click.IntRange(1, 65_535)
"""The type of an option that is a port."""


def bind_address(bind: str) -> str:
    """Return the IP address that ``--bind`` means.

    :raises CommandError: if it is not one.
    """
    try:
        return str(ip_address("127.0.0.1" if bind == "localhost" else bind))
    except ValueError:
        raise CommandError(
            f"--bind needs an IP address, not {bind!r}", "write 127.0.0.1 or 0.0.0.0", code=USAGE
        ) from None


def is_local(host: str) -> bool:
    """Return whether only programs of this machine reach an IP address."""
    return ip_address(host).is_loopback


def name_of(host: str) -> str:
    """Return what others write for an IP address: the name of this machine where it means all of its addresses."""
    return platform.node() if ip_address(host).is_unspecified else host


def url_of(scheme: str, host: str, port: int) -> str:
    """Return a URL; an IPv6 address stands in brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def refused(error: OSError, host: str, port: int, *, usual: int) -> CommandError:
    """Return the error for an address and a port on which the system does not let a command listen.

    :param usual: the port that the command uses unless another one is given.
    """
    if error.errno == errno.EADDRINUSE:
        return in_use(host, port, usual=usual)
    if error.errno == errno.EADDRNOTAVAIL:
        remedy = "pass an address of one of its network interfaces, or leave --bind out"
        return CommandError(f"this machine does not have the address {host}", remedy, code=USAGE)
    if error.errno == errno.EACCES:
        remedy = f"choose one from 1024, such as {usual}"
        return CommandError(f"the port {port} needs the rights of an administrator", remedy, code=USAGE)
    return CommandError(f"the port {port} of {host} cannot be used: {error.strerror}")


def in_use(host: str, port: int, *, usual: int) -> CommandError:
    """Return the error for a port on which another program listens."""
    return CommandError(f"the port {port} of {host} is in use", other_port(port, usual=usual))


def other_port(port: int, *, usual: int) -> str:
    """Return the remedy for a port that is in use."""
    return f"choose another port, such as --port {port + 1 if port < 65_535 else usual}"
