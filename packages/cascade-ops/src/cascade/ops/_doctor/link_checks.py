"""Checks of the connection to a broker: name, port, TLS, login. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from cascade.ops._doctor.facts import Certificate, Facts, Files, Login, Reachability, Target
from cascade.ops._doctor.finding import Finding
from cascade.transport.credentials import WARN_DAYS

_DAY = 86_400
_SCHEMES = ("mqtt://host:1883, mqtts://host:8883, ws://host:8080", "nats://host:4222, or tls:// with TLS")
# X509_V_ERR_... in OpenSSL's x509_vfy.h
_EXPIRED, _NOT_YET, _OTHER_HOST = 10, 9, (62, 64)


def link_findings(facts: Facts, *, now: float) -> Iterator[Finding]:
    """Yield what is wrong with the connection to the broker; ``now`` in seconds since the epoch."""
    yield from _files(facts.files, facts.target)
    if facts.reachability is not None:
        yield from _unreachable(facts.reachability, facts.target)
    if facts.certificate is not None:
        yield from _certificate(facts.certificate, facts.target, now)
    if facts.login is not None:
        yield from _login(facts.login, facts.target)
    if facts.refused:
        yield Finding(
            "links_refused",
            f"the broker refuses a further connection of this user: {facts.refused.partition('; ')[0]}",
            "a further engine or tool of this user cannot connect, and what would have been tried next is unknown",
            "raise the limit of connections (max_connections), and run this again",
            ("max_connections: 65536",) if facts.target.nats else ("max_connections -1",),
        )


def _files(files: Files, target: Target) -> Iterator[Finding]:
    for variable in files.exposed:
        yield Finding(
            "exposed_file",
            f"other users of this machine can read the file of {variable}",
            "they can log in under your name",
            "allow only its owner to read it",
            (f'chmod 600 "${variable}"',),
        )
    if files.end:
        yield Finding(
            "client_certificate_end",
            files.end.removesuffix("; renew it"),
            "the broker refuses this client from then on",
            f"renew the certificate of {target.prefix}CERT",
            warning="expires in" in files.end,
        )


def _unreachable(found: Reachability, target: Target) -> Iterator[Finding]:
    place = f"{target.host}:{target.port}"
    known = {
        "dns": (
            f"no address of the host name {target.host} was found: {found.detail}",
            "no client finds the broker",
            "check the spelling, and the DNS of this machine",
            (f"getent hosts {target.host}",),
        ),
        "refused": (
            f"{place} refuses connections",
            "nothing listens on this port, or only on another address of that machine",
            f"start the broker, or correct the port; usual: {target.ports}",
            ("cascade broker",) if target.local and not target.nats else (),
        ),
        "silent": (
            f"{place} does not answer",
            "the machine is off, or a firewall drops the packets",
            "check host and port, and that the firewall permits TCP to the port",
            (),
        ),
        "unreachable": (
            f"{place} cannot be reached: {found.detail}",
            "this machine has no route to that address",
            "check the network, and the address",
            (),
        ),
    }
    if found.fault:
        yield Finding(found.fault, *known[found.fault])


def _certificate(seen: Certificate, target: Target, now: float) -> Iterator[Finding]:
    if seen.code is not None:
        yield _refused_certificate(seen, target)
    elif seen.detail:
        yield Finding(
            "tls",
            f"{target.host}:{target.port} does not speak TLS: {seen.detail}",
            "this is a port without TLS, or it does not belong to a broker",
            f"use the port for TLS (usual: {target.ports}), or {_plain(target)} for a network that you trust",
        )
    elif seen.ends is not None and seen.ends - now < WARN_DAYS * _DAY:
        yield Finding(
            "certificate_end",
            f"the broker's certificate expires in {int((seen.ends - now) / _DAY)} days{_on(seen.ends)}",
            "from then on every client refuses the connection",
            "renew it and restart the broker",
            warning=True,
        )


def _refused_certificate(seen: Certificate, target: Target) -> Finding:
    if seen.code == _NOT_YET:
        return Finding(
            "clock",
            f"the broker's certificate is not valid yet: {seen.detail}",
            "most likely the clock of this machine is slow, or it was not set after a start",
            "set the clock",
            ("timedatectl set-ntp true",),
        )
    if seen.code == _EXPIRED:
        return Finding(
            "certificate_expired",
            "the broker's certificate has expired",
            "every client that checks it refuses the connection",
            "renew the certificate and restart the broker; if it is new, check the clock of this machine",
        )
    if seen.code in _OTHER_HOST:
        return Finding(
            "certificate_name",
            f"the broker's certificate is for another name than {target.host}: {seen.detail}",
            "this may be another machine than you mean",
            "use the name in the certificate, or issue one for this name",
        )
    return Finding(
        "certificate_authority",
        f"nothing that this machine trusts has signed the broker's certificate: {seen.detail}",
        "the connection is refused, as this may not be your broker",
        f"name the file of your authority: --ca FILE or {target.prefix}CA",
    )


def _login(login: Login, target: Target) -> Iterator[Finding]:
    if not login.linked:
        yield _no_login(login, target)
    elif login.anonymous:
        yield Finding(
            "anonymous",
            "the broker also accepts clients without a user",
            "passwords and access rules of users do not stop a client that gives none",
            "set allow_anonymous false, and restart the broker",
            ("allow_anonymous false",),
        )
    if login.linked and target.user and not target.tls and not target.local:
        yield Finding(
            "plain_password",
            "the password crosses the network without TLS",
            "a machine on the way can read it and log in",
            f"use TLS: {'tls' if target.nats else 'mqtts'}:// with a certificate for the broker; cascade acl --config writes such a configuration",
            warning=True,
        )


def _no_login(login: Login, target: Target) -> Finding:
    cause, _, hint = login.cause.partition("; ")
    place = f"{target.host}:{target.port}"
    if login.kind == "credentials":
        means = "no engine and no tool can connect with these settings"
        remedy = (
            hint
            or f"check the user, and the password in {target.prefix}PASSWORD or {target.prefix}PASSWORD_FILE"
        )
        return Finding("login", cause, means, remedy)
    if login.kind == "certificate" and target.nats and not target.tls:
        means = "no engine and no tool can connect with this URL"
        remedy = f"write tls:// instead of nats://, and name your authority: {target.prefix}CA"
        return Finding("tls_wanted", f"{place} requires TLS", means, remedy)
    if login.kind == "certificate" or (target.nats and target.tls and "client certificate" in hint):
        return Finding("client_certificate", cause, "the broker does not accept this client", hint)
    if login.kind == "silent":
        return Finding(
            "silent",
            f"{place} accepts the connection, then does not answer",
            f"the program on this port does not speak {target.protocol}, or it is overloaded or frozen",
            f"check the port; usual: {target.ports}",
        )
    if cause.startswith(("the broker", "the server")):
        return Finding("broker_refuses", cause, "no client can connect now", hint or "check its log")
    return Finding(
        "not_a_broker",
        f"{place} accepts the connection and does not speak {target.protocol}: {cause}",
        "another program, such as a web server, has this port, or it expects TLS",
        f"check host, port and scheme: {_SCHEMES[target.nats]}",
    )


def _on(seconds: float | None) -> str:
    return "" if seconds is None else f", on {datetime.fromtimestamp(seconds, UTC).date()}"


def _plain(target: Target) -> str:
    return {"mqtts": "mqtt://", "wss": "ws://"}.get(target.scheme, "nats://")
