"""Which broker a command reaches, and with which login: options, environment, and a person who is asked."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import Callable
from io import StringIO
from typing import Any

import click
import pytest

from cascade.cli import link, main
from cascade.cli.link import Address
from cascade.interfaces.logs import get_logger
from testing_tools.memory_broker import MemoryBroker, MemoryLink, Screen

NAMES = ("CASCADE_BROKER", *(f"CASCADE_{kind}_{what}" for kind in ("MQTT", "NATS") for what in (
    "PASSWORD", "PASSWORD_FILE", "TOKEN", "CA", "CERT", "KEY")))  # fmt: skip


class Logins:
    """Reaches a broker within the test in place of every address, and answers the question for a password."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[Address] = []
        self.questions: list[tuple[str, bool, bool]] = []
        """Text, whether the answer is hidden, and whether it stands on standard error."""
        for name in NAMES:
            monkeypatch.setenv(name, "")
        monkeypatch.setattr(Address, "tool", self._tool())
        monkeypatch.setattr(click, "prompt", self._asked)
        monkeypatch.setattr("sys.stdin", Screen())

    def _tool(self) -> Callable[[Address], MemoryLink]:
        def tool(address: Address) -> MemoryLink:
            self.addresses.append(address)
            return MemoryLink(MemoryBroker({}))

        return tool

    def _asked(self, text: str, *, hide_input: bool = False, err: bool = False) -> str:
        self.questions.append((text, hide_input, err))
        return "s3cret"

    def of(self, *arguments: str) -> tuple[str, str | None]:
        """The URL and the password with which a command logs in."""
        assert main(["ps", *arguments]) == 0
        address = self.addresses.pop()
        return address.url, address.password


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> Logins:
    """They set each variable before the command does, so that what it writes there ends with the test."""
    return Logins(monkeypatch)


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "ws", "wss"])
@pytest.mark.parametrize("given", [True, False])
def test_a_person_is_asked_for_the_password_of_a_user(
    scheme: str, given: bool, logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not shown, and the question is not part of the output."""
    url = f"{scheme}://eva@plant.example:99"
    monkeypatch.setenv("CASCADE_BROKER", "" if given else url)
    assert logins.of(*(["--broker", url] if given else [])) == (url, "s3cret")
    assert logins.questions == [("Password of eva at plant.example", True, True)]


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("mqtt://plant", {}),
        ("mqtt://eva@plant", {"CASCADE_MQTT_PASSWORD": "x"}),
        ("mqtt://eva@plant", {"CASCADE_MQTT_PASSWORD_FILE": "x"}),
        ("mqtt://eva:x@plant", {}),
        ("nats://token@plant", {}),
        ("tls://eva@plant", {"CASCADE_NATS_PASSWORD": "x"}),
    ],
)
def test_nobody_is_asked_where_nothing_is_missing(
    url: str, environment: dict[str, str], logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No user, a known password, or a token of NATS, which looks like a user; the connector reads the rest."""
    for name, value in {"CASCADE_BROKER": url, **environment}.items():
        monkeypatch.setenv(name, value)
    assert (logins.of(), logins.questions) == ((url, None), [])


def test_without_a_person_the_command_asks_for_no_password(
    logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's refusal then names what is missing; the command does not use the password of the other protocol."""
    monkeypatch.setenv("CASCADE_NATS_PASSWORD", "of another broker")
    assert logins.of("--broker", "mqtt://eva@plant")[1] == "s3cret"
    monkeypatch.setattr("sys.stdin", StringIO())
    assert logins.of("--broker", "mqtt://eva@plant")[1] is None
    assert len(logins.questions) == 1


@pytest.mark.parametrize(
    ("url", "environment", "remedy"),
    [
        ("mqtt://eva:s3cret@plant", {}, "set CASCADE_MQTT_PASSWORD or CASCADE_MQTT_PASSWORD_FILE, or leave it"),
        ("tls://eva:s3cret@plant", {}, "set CASCADE_NATS_PASSWORD or CASCADE_NATS_PASSWORD_FILE, or leave it"),
        ("nats://s3cret@plant", {}, "set CASCADE_NATS_TOKEN, or CASCADE_NATS_PASSWORD for a user"),
        ("nats://s3cret@plant", {"CASCADE_MQTT_PASSWORD": "x"}, "set CASCADE_NATS_TOKEN"),
        ("nats://eva@plant", {"CASCADE_NATS_PASSWORD": "x"}, ""),
        ("nats://eva@plant", {"CASCADE_NATS_PASSWORD_FILE": "x"}, ""),
    ],
)  # fmt: skip
def test_a_secret_in_an_argument_is_refused(
    url: str,
    environment: dict[str, str],
    remedy: str,
    logins: Logins,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every user of the machine can read it; the line names the variable of this protocol, and not the secret."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["ps", "--broker", url]) == (2 if remedy else 0)
    err = capsys.readouterr().err
    assert remedy in err
    assert "s3cret" not in err
    assert len(logins.addresses) == (0 if remedy else 1)


@pytest.mark.parametrize(
    ("scheme", "kind"), [("mqtts", "MQTT"), ("wss", "MQTT"), ("tls", "NATS"), ("ws", ""), ("nats", "")]
)
@pytest.mark.parametrize("option", ["ca", "cert", "key"])
def test_files_of_tls_reach_the_connector_of_their_scheme(
    scheme: str, kind: str, option: str, logins: Logins, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the variable that it reads; the other ones stay, and without TLS they are refused."""
    before = {name: os.environ[name] for name in NAMES}
    code = main(["ps", "--broker", f"{scheme}://plant", f"--{option}", "here.pem"])
    changed = {name: os.environ[name] for name in NAMES if os.environ[name] != before[name]}
    if kind:
        assert (code, changed) == (0, {f"CASCADE_{kind}_{option.upper()}": "here.pem"})
    else:
        line = f"cascade: --{option} has no effect without TLS; write mqtts://, wss:// or tls://\n"
        assert (code, changed, capsys.readouterr().err) == (2, {}, line)


@pytest.mark.parametrize(
    ("url", "place", "over_nats"),
    [
        ("mqtt://plant", "mqtt://plant", False),
        ("mqtts://eva:s3cret@plant:8883?x=1", "mqtts://plant:8883", False),
        ("tls://eva:s3@cret@[::1]:4222", "tls://[::1]:4222", True),
        ("nats://s3cret@plant", "nats://plant", True),
    ],
)
def test_an_address_is_shown_without_its_login(url: str, place: str, over_nats: bool) -> None:
    """In messages, and in a traceback, which shows values of variables."""
    address = Address(url, "s3cret")
    assert (address.place, address.over_nats) == (place, over_nats)
    assert "s3" not in repr(address)


def test_a_tool_has_no_presence_and_requires_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's connector has both by default; a password that was asked for goes to either."""
    made: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("cascade.sdk.plugins.connector", lambda url, **words: made.append((url, words)))
    asked, known = Address("mqtt://eva@plant", "s3cret"), Address("mqtt://plant")
    asked.tool()
    known.tool()
    asked.connector(source="press")
    known.connector()
    tool = {"presence": False, "required": True}
    assert made == [
        ("mqtt://eva@plant", {**tool, "password": "s3cret"}),
        ("mqtt://plant", tool),
        ("mqtt://eva@plant", {"source": "press", "password": "s3cret"}),
        ("mqtt://plant", {}),
    ]


@pytest.mark.parametrize("debug", [False, True])
def test_what_connectors_log_is_for_debug_only(debug: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Meanwhile; afterwards the program that has called the command logs as before."""
    logger, records = get_logger("cascade"), StringIO()
    before = (logger.propagate, [*logger.handlers], signal.getsignal(signal.SIGTERM))
    whole = logging.StreamHandler(records)
    logging.root.addHandler(whole)

    async def work() -> str:
        logging.getLogger("cascade.connectors.mqtt").warning("lost the link")
        return "done"

    try:
        assert [link.run(work(), debug=debug) for _ in range(2)] == ["done", "done"]
        logging.getLogger("cascade.connectors.mqtt").warning("later")
    finally:
        logging.root.removeHandler(whole)
    assert re.findall("lost the link", capsys.readouterr().err) == ["lost the link"] * (2 if debug else 0)
    assert records.getvalue() == "later\n"
    assert (logger.propagate, [*logger.handlers], signal.getsignal(signal.SIGTERM)) == before


def test_ctrl_c_is_no_sigterm_and_the_callers_handler_stays() -> None:
    """Ctrl-C ends the work as an interrupt, not with the code of SIGTERM; a program with its own handler keeps it."""
    ended = list[str]()

    async def work() -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    def handler(_number: int, _frame: object) -> None:
        ended.append("handler")

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            link.run(work())
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == ["work"]
