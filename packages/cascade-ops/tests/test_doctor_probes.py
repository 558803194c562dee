"""The facts that ``cascade doctor`` finds: in the environment, on this machine, on the network and by a link."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from ops_modules import (
    Certificate,
    Configuration,
    Facts,
    Reachability,
    Target,
    files_of,
    find_websocket,
    findings,
    local_configuration,
    network_probes,
    target_of,
    try_port,
    try_tls,
)

HOST = "127.0.0.1"
_SECRETS = (
    "CASCADE_MQTT_PASSWORD_FILE",
    "CASCADE_NATS_PASSWORD_FILE",
    "CASCADE_NATS_TOKEN_FILE",
    "CASCADE_NATS_CREDS",
    "CASCADE_NATS_NKEY",
)


def test_a_server_of_this_machine_is_found_by_its_port(tmp_path: Path) -> None:
    """Its file is read, and those in a folder that it includes, from where it runs; other processes are not looked at further."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "sl\n0: 0100007F:075B 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n1: 0100007F:075C 0:0 01 0:0 0:0 0 0 0 9 1\n"
    )
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.conf").write_text("persistence true\nacl_file acl\n")
    (tmp_path / "acl").write_text("user press\ntopic readwrite #\n")
    (tmp_path / "m.conf").write_text("include_dir conf.d\n")
    for number, command in (("12", "sshd"), ("13", f"/usr/sbin/mosquitto\0-c\0{tmp_path}/m.conf\0")):
        process = tmp_path / number
        (process / "fd").mkdir(parents=True)
        (process / "cmdline").write_text(command)
        (process / "fd" / "3").symlink_to(f"socket:[{4711 if number == '13' else 1}]")
        (process / "cwd").symlink_to(tmp_path)
    assert local_configuration(1883, proc=tmp_path) == Configuration(
        "mosquitto",
        {"include_dir": "conf.d", "persistence": "true", "acl_file": "acl"},
        (),
        ("user press", "topic readwrite #"),
    )
    assert local_configuration(1884, proc=tmp_path) is None


def test_files_with_secrets_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their mode, and the end of a client's certificate."""
    path = tmp_path / "password"
    path.write_text("pw")
    path.chmod(0o644)
    leaf = trustme.CA().issue_cert("c", not_after=datetime.now(UTC) - timedelta(1))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "c.pem"))
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(path))
    monkeypatch.setenv("CASCADE_MQTT_CERT", str(tmp_path / "c.pem"))
    found = files_of(os.environ)
    assert found.exposed == ("CASCADE_MQTT_PASSWORD_FILE",)
    assert "expired on" in found.end


@asynccontextmanager
async def answering(leaf: trustme.LeafCert | None) -> AsyncIterator[int]:
    """A port that speaks TLS to one client, or answers like a web server."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            client.settimeout(20)
            with client, suppress(OSError):
                if leaf is None:
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.recv(1 << 16)
                    return
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                leaf.configure_cert(context)
                with context.wrap_socket(client, server_side=True) as secured:
                    secured.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        await asyncio.to_thread(thread.join)  # the loop closes its end meanwhile


async def test_tls_faults_are_told_apart(tmp_path: Path) -> None:
    """Expired, not yet valid, another name, an unknown authority, no TLS at all."""
    now = datetime.now(UTC)
    authority, other = trustme.CA(), trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    issued = {
        "good": authority.issue_cert("127.0.0.1", not_after=now + timedelta(5)),
        "expired": authority.issue_cert(
            "127.0.0.1", not_before=now - timedelta(9), not_after=now - timedelta(1)
        ),
        "early": authority.issue_cert(
            "127.0.0.1", not_before=now + timedelta(1), not_after=now + timedelta(9)
        ),
        "name": authority.issue_cert("elsewhere.example"),
        "authority": other.issue_cert("127.0.0.1"),
        "plain": None,
    }
    found: dict[str, list[str]] = {}
    for name, leaf in issued.items():
        async with answering(leaf) as port:
            target = Target("mqtts", "127.0.0.1", port)
            seen = await try_tls(target, trusted)
        facts = Facts(target, reachability=Reachability(), certificate=seen)
        found[name] = [each.name for each in findings(facts, now=now.timestamp())]
    assert found == {
        "good": ["certificate_end"],
        "expired": ["certificate_expired"],
        "early": ["clock"],
        "name": ["certificate_name"],
        "authority": ["certificate_authority"],
        "plain": ["tls"],
    }


async def test_faults_of_the_way_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the DNS does not know, a port that refuses, one that does not answer, a network that is down."""
    faults: list[tuple[BaseException, str]] = [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "dns"),
        (ConnectionRefusedError(), "refused"),
        (TimeoutError(), "silent"),
        (OSError(errno.EHOSTUNREACH, "no route"), "unreachable"),
        (UnicodeError(), "dns"),
    ]
    for error, expected in faults:

        async def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(asyncio, "open_connection", fail)
        assert (await try_port(Target("mqtt", "127.0.0.1", 1))).fault == expected


async def test_a_dns_that_does_not_answer_is_told_from_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lookup has a time limit of its own."""

    async def wait(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(network_probes, "LOOKUP_SECONDS", 0.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", wait)
    assert await try_port(Target("mqtt", "broker.example", 1)) == Reachability(
        "dns", "the DNS does not answer"
    )


@pytest.mark.parametrize(
    ("url", "environment", "target"),
    [
        ("mqtt://a@h", {}, Target("mqtt", "h", 1883, "a")),
        ("mqtts://a%20b:pw@h?source_id=x", {}, Target("mqtts", "h", 8883, "a b", "x")),
        ("mqtt://h:1", {"CASCADE_SOURCE_ID": "y"}, Target("mqtt", "h", 1, "", "y")),
        ("ws://h", {}, Target("ws", "h", 80)),
        ("wss://h/mqtt?source_id=x", {"CASCADE_SOURCE_ID": "y"}, Target("wss", "h", 443, "", "x")),
        ("nats://token@h", {}, Target("nats", "h", 4222)),
        ("tls://token@h", {}, Target("tls", "h", 4222)),
        ("nats://a:pw@h:9", {}, Target("nats", "h", 9, "a")),
        ("nats://a@h", {"CASCADE_NATS_PASSWORD": "pw"}, Target("nats", "h", 4222, "a")),
        ("nats://a@h", {"CASCADE_NATS_PASSWORD_FILE": "/f"}, Target("nats", "h", 4222, "a")),
    ],
)
def test_a_url_names_the_user_but_never_a_token(
    url: str, environment: dict[str, str], target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user of NATS without a password is a token; ports are the usual ones."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert target_of(url) == target


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("10.0.0.1", False), ("pi", False)],
)
def test_only_a_loopback_address_is_local(host: str, local: bool) -> None:
    """Any other one may be reached from another machine."""
    assert Target("mqtt", host, 1).local == local


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (
            "/usr/sbin/mosquitto\0-v\0--config-file\0m.conf\0",
            {"persistence": "true", "listener": "/run/m.sock"},
        ),
        ("mosquitto\0-p\x001883\0", {}),
        ("nats-server\0-c\0m.conf\0", None),
    ],
)
def test_a_configuration_file_is_the_one_that_the_process_was_given(
    arguments: str, found: dict[str, str] | None, tmp_path: Path
) -> None:
    """By either option, relative to its folder; the last value counts, and a socket of the machine has no port."""
    for name, lines in (("tcp", ""), ("tcp6", "0: 00000000:075B 0:0 0A 0:0 0:0 0 0 0 77 1\n")):
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "net" / name).write_text(f"sl\n{lines}")
    (tmp_path / "m.conf").write_text(
        "#x y\npersistence false\nlistener 1883 127.0.0.1\n\nlistener 1884\nprotocol websockets\n"
        "listener /run/m.sock\nprotocol websockets\n  persistence true\n"
    )
    for number in (14, 15):
        (tmp_path / str(number) / "fd").mkdir(parents=True)
    (tmp_path / "15" / "fd" / "3").symlink_to("socket:[77]")
    (tmp_path / "15" / "cwd").symlink_to(tmp_path)
    (tmp_path / "15" / "cmdline").write_text(arguments)
    seen = local_configuration(1883, proc=tmp_path)
    assert seen is not None
    settings = dict(seen.settings)
    if found:
        assert (settings.pop("protocol"), seen.websockets) == ("websockets", (1884,))
    assert (seen.program, settings) == ("nats-server" if found is None else "mosquitto", found or {})


@pytest.mark.parametrize("exposed", _SECRETS)
def test_each_file_with_a_secret_is_looked_at(
    exposed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind one that is missing; what only its owner can read is in order."""
    for name in _SECRETS:
        path = tmp_path / name
        path.touch()
        path.chmod(0o644 if name == exposed else 0o600)
        monkeypatch.setenv(name, str(path))
    assert files_of(os.environ).exposed == (exposed,)
    monkeypatch.setenv("CASCADE_MQTT_CERT", str(tmp_path / "none.pem"))
    (tmp_path / _SECRETS[0]).unlink()
    assert files_of(os.environ).exposed == tuple({exposed} - {_SECRETS[0]})
    assert files_of(os.environ).end == ""


def process(folder: Path, number: str, command: str, *links: str) -> None:
    """A process as the system shows it."""
    made = folder / number
    (made / "fd").mkdir(parents=True)
    (made / "cmdline").write_text(command)
    for index, link in enumerate(links):
        (made / "fd" / str(index)).symlink_to(link)


def test_a_process_that_cannot_be_read_hides_no_other_one(tmp_path: Path) -> None:
    """Only a socket that listens on this port counts, in either table; a line that is too short does not."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "sl\n"
        "0: 0:075B 0:0 01 0:0 0:0 0 0 0 1\n"  # connected
        "1: 0:075C 0:0 0A 0:0 0:0 0 0 0 2\n"  # another port
        "2: 0:075B\n"
        "3: 0:075B 0:0 0A 0:0 0:0 0 0 0 3\n"
    )
    (tmp_path / "9").mkdir()  # of another user: its files cannot be listed
    process(tmp_path, "10", "other\0", "socket:[1]", "socket:[2]", "/dev/null")
    (tmp_path / "10" / "fd" / "file").touch()  # no link
    process(tmp_path, "11", "/opt/emqx\0", "/dev/null", "socket:[3]")
    found = local_configuration(1883, proc=tmp_path)
    assert found is not None
    assert (found.program, found.settings) == ("emqx", {})
    (tmp_path / "11" / "cmdline").unlink()
    assert local_configuration(1883, proc=tmp_path) is None
    assert local_configuration(1, proc=tmp_path) is None


@asynccontextmanager
async def server(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A port of this machine where every connection is answered so, and closed."""
    tasks: list[asyncio.Task[Any]] = []

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        with suppress(ConnectionError):
            await answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    made = await asyncio.start_server(answered, HOST, 0)
    async with made:
        yield made.sockets[0].getsockname()[1]
    await asyncio.gather(*tasks)


async def test_a_websocket_is_asked_for_as_a_browser_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any port that changes to it counts; a web server that does not, or a closed port, does not hide it."""
    monkeypatch.setattr(network_probes, "CONNECT_SECONDS", 60.0)
    requests: list[list[str]] = []
    lines = {True: b"HTTP/1.1 101 Switching Protocols\r\n\r\n", False: b"HTTP/1.1 200 OK\r\n\r\n"}

    def answers(upgrades: bool) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines())
            writer.write(lines[upgrades])
            await writer.drain()

        return answer

    async with server(answers(False)) as web, server(answers(True)) as broker:
        assert not await find_websocket(HOST, (web,))
        assert not await find_websocket(HOST, ())
        assert await find_websocket(HOST, (web, broker))
        assert requests[0] == [
            "GET /mqtt HTTP/1.1",
            f"Host: {HOST}:{web}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: Y2FzY2FkZS1kb2N0b3ItMQ==",
            "Sec-WebSocket-Protocol: mqtt",
            "",
        ]
    assert not await find_websocket(HOST, (broker,)), "it is closed now"


@pytest.mark.parametrize("offer", [b'"tls_required":true', b'"tls_available":true'])
@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError(0, "the peer has gone"), Certificate(detail="the peer has gone")),
        (OSError("odd"), Certificate(detail="OSError")),
        (ConnectionResetError(), Certificate(detail="ConnectionResetError")),
    ],
)
async def test_tls_begins_behind_the_greeting_of_a_nats_server(
    offer: bytes, error: OSError, found: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it requires or offers it, and with the host's name, by which the certificate is checked."""
    monkeypatch.setattr(network_probes, "CONNECT_SECONDS", 60.0)
    asked: list[object] = []

    async def start_tls(writer: object, context: object, *, server_hostname: str) -> None:
        asked.append((context, server_hostname))
        raise error

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {" + offer + b"} \r\n")
        await reader.read()

    monkeypatch.setattr(asyncio.StreamWriter, "start_tls", start_tls)
    context = ssl.create_default_context()
    async with server(greet) as port:
        assert await try_tls(Target("tls", HOST, port), context) == found
    assert asked == [(context, HOST)]
