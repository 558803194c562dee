"""How the command finds its broker, and what it says where there is none, or not the right one."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cascade.cli import link, main
from cascade.testkit.brokers import Broker, Mosquitto
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import busyness
from testing_tools.certificates import make_certificates
from testing_tools.engines import CASCADE, Done, Plant
from testing_tools.patient import PATIENT
from testing_tools.terminals import Terminal

pytestmark = [pytest.mark.broker, pytest.mark.process]

BOUND = 10.0
"""Seconds for a refusal: several times the connect time-out, and far below what waiting for ever takes."""


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which the command ends, with exit code 3 and in time."""
    began = time.monotonic()
    assert main(arguments) == 3
    assert time.monotonic() - began < BOUND * busyness()
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("cascade: ")
    return line


@pytest.mark.parametrize("command", [["ps"], ["pause"], ["watch"], ["prune", "--yes"], ["resume", "--wait"]])
def test_no_broker_at_all(command: list[str], closed_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Host, port, cause and a question that helps."""
    line = refused(capsys, *command, "--broker", f"mqtt://127.0.0.1:{closed_port}")
    assert f"no connection to 127.0.0.1:{closed_port}" in line
    assert "check that the broker runs, and on this port" in line


def test_a_host_that_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """Its spelling is asked about."""
    assert "host name is unknown" in refused(capsys, "ps", "--broker", "mqtt://no.such.host.invalid")


@pytest.mark.full
def test_a_broker_that_accepts_and_then_freezes(
    fresh_broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within the connect time-out."""
    fresh_broker.freeze()
    try:
        line = refused(capsys, "ps", "--broker", fresh_broker.url)
    finally:
        fresh_broker.thaw()
    assert "not answered in time" in line


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "pass --broker mqtt://localhost, or set CASCADE_BROKER"),
        (["--broker", "localhost"], "the broker's address is not a URL; write mqtt://host:1883"),
        (["--broker", "mqqt://localhost"], "did you mean 'mqtt'?"),
        (["--broker", "file:run.jsonl"], "a file connector has no broker to watch or to steer"),
        (["--broker", "mqtt://"], "it has no host"),
        (["--broker", "mqtt://host:port"], "its port is not a number"),
        (["--broker", "mqtt://me:s3cret@host"], "is visible in the process list; set CASCADE_MQTT_PASSWORD"),
        (["--broker", "mqtt://host", "--ca", "ca.pem"], "--ca has no effect without TLS; write mqtts://"),
        (["--broker", "mqtts://host", "--ca", "nowhere.pem"], "nowhere.pem cannot be read"),
    ],
)
def test_a_bad_address_is_answered_with_what_to_write(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, and no part of a password."""
    assert main(["ps", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert problem in err
    assert "s3cret" not in err


def test_a_password_is_read_from_environment_file_or_prompt(tmp_path: Path) -> None:
    """The three ways in; a wrong password, and none, end with 3; no password is shown, not with --debug either."""
    require_mosquitto()
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    with Mosquitto(users={"eva": "s3cret"}) as broker, Plant(broker) as plant:
        url = {"CASCADE_BROKER": broker.url.replace("://", "://eva@")}

        def ps(**more: str) -> Done:
            return plant.cascade("ps", "--debug", environment={**url, **more})

        assert ps(CASCADE_MQTT_PASSWORD="s3cret").returncode == 0
        assert ps(CASCADE_MQTT_PASSWORD_FILE=str(file)).returncode == 0
        wrong = ps(CASCADE_MQTT_PASSWORD="t0psecret")
        assert (wrong.returncode, "t0psecret" in wrong.stderr) == (3, False)
        assert "check user name, password" in wrong.stderr
        with Terminal(["ps"], plant.environment(url), command=PATIENT) as terminal:
            terminal.wait_for("Password of eva at 127.0.0.1")
            command_line = Path(f"/proc/{terminal.process.pid}/cmdline")
            terminal.type("s3cret\n")
            if command_line.exists():
                assert b"s3cret" not in command_line.read_bytes()
            assert terminal.end() == 0
            assert "s3cret" not in terminal.text
        none = subprocess.run(
            [*CASCADE, "ps"],
            env=plant.environment(url),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=30 * busyness(),
        )
        assert none.returncode == 3
        assert "set CASCADE_MQTT_PASSWORD" in none.stderr


def test_a_password_that_others_can_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a file, and on the network to another machine: a tool says so once, before it connects."""
    file = tmp_path / "secret"
    file.write_text("s3cret")
    file.chmod(0o644)
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(file))
    exposed = (
        "cascade: other users of this machine can read the file of CASCADE_MQTT_PASSWORD_FILE; chmod 600\n"
    )
    plain = "cascade: the password crosses the network to no.host.invalid without encryption; use TLS\n"
    for broker, noted in (
        ("mqtt://ann@no.host.invalid", exposed + plain),
        ("mqtts://ann@no.host.invalid", exposed),
        ("mqtt://ann@localhost:1", exposed),
    ):
        assert main(["ps", "--broker", broker]) == 3
        assert capsys.readouterr().err.startswith(f"{noted}cascade: no connection to"), broker
    file.chmod(0o600)
    assert main(["ps", "--broker", "mqtt://ann@127.0.0.1:1"]) == 3
    assert capsys.readouterr().err.startswith("cascade: no connection to")


def test_tls_with_an_authority_and_a_client_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By option and by environment; an unknown authority and a missing certificate are named."""
    require_mosquitto()
    made, strange = make_certificates(tmp_path / "a"), make_certificates(tmp_path / "b")
    ours = ["--ca", str(made.ca), "--cert", str(made.client_cert), "--key", str(made.client_key)]
    with Mosquitto(tls=made, require_certificate=True) as broker, pytest.MonkeyPatch.context() as patch:
        for name in ("CA", "CERT", "KEY"):
            patch.setenv(f"CASCADE_MQTT_{name}", "")
        assert main(["ps", "--broker", broker.url, *ours]) == 0
        patch.setenv("CASCADE_MQTT_CERT", "")
        patch.setenv("CASCADE_MQTT_KEY", "")
        assert "TLS failed" in refused(capsys, "ps", "--broker", broker.url, "--ca", str(strange.ca))
        assert "client certificate" in refused(capsys, "ps", "--broker", broker.url, "--ca", str(made.ca))


def test_a_tool_leaves_no_trace(plant: Plant) -> None:
    """No presence, no will, no canary, no report; nothing is logged."""
    assert plant.cascade("ps").stderr == ""
    done = plant.cascade("prune", "--yes", "--json")
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_start_up_imports_little() -> None:
    """A command that steers in a pipe needs the connector and the reader, and neither rich nor the engine."""
    code = (
        "import sys, json; from cascade.cli import main\n"
        "main(['pause', '--broker', 'mqtt://127.0.0.1:9']); print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    for name in ("rich", "pydantic", "textual", "cascade.runtime", "cascade.runtime.engine"):
        assert f'"{name}"' not in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_sigterm_ends_the_work_and_not_a_step_of_the_event_loop() -> None:
    """Callbacks end as usual, then the work is cancelled; an exception inside a callback had hung the command."""
    ended, before = list[str](), signal.getsignal(signal.SIGTERM)

    def callback() -> None:
        signal.raise_signal(signal.SIGTERM)
        ended.append("callback")

    async def work() -> None:
        asyncio.get_running_loop().call_soon(callback)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("work")

    with pytest.raises(SystemExit) as caught:
        link.run(work())
    assert (caught.value.code, ended) == (143, ["callback", "work"])
    assert signal.getsignal(signal.SIGTERM) is before
