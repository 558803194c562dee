"""``cascade web``: what it serves and prints, how it ends, and what it says where it cannot work."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served_page import assemble

from cascade.cli import main
from cascade.testkit.ports import free_port
from cascade.testkit.waiting import busyness
from cascade.web import page
from testing_tools.engines import CASCADE
from testing_tools.terminals import Terminal

BROKER = "mqtt://127.0.0.1:1883"


@pytest.mark.process
def test_it_serves_the_page_until_ctrl_c() -> None:
    """The link that it prints answers, with headers that keep the page to itself; Ctrl-C ends it as other commands."""
    port = free_port()
    with Terminal(["web", "--broker", "mqtt://ada@127.0.0.1:1", "--port", str(port)], os.environ) as terminal:
        text = terminal.wait_for("Ctrl-C ends it.")
        assert f"Open http://127.0.0.1:{port}/ (this machine only)\n" in text
        assert "The page uses the broker mqtt://127.0.0.1:1 through this command.\n" in text
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30 * busyness()) as answer:
            headers = dict(answer.headers.items())
            assert answer.read().decode() == assemble("/mqtt").html
        terminal.interrupt()
        assert terminal.end() == 130
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', assemble("/mqtt").html)
    assert headers["Content-Security-Policy"] == f"{policy}; frame-ancestors 'none'"
    assert "Traceback" not in terminal.text


@pytest.mark.process
def test_a_link_for_others_has_a_token_and_the_relay_only_where_it_is_used() -> None:
    """The printed lines say who may use the link, and which way the page takes to the broker."""
    for broker, own, way in (
        ("mqtt://plant:1883", r"#token=[\w-]{24}", "through this command"),
        ("ws://plant:9001/a", "", "directly"),
    ):
        arguments = ["web", "--broker", broker, "--bind", "0.0.0.0", "--port", str(free_port())]
        with Terminal(arguments, os.environ, width=200) as terminal:
            text = terminal.wait_for("Ctrl-C ends it.")
            terminal.interrupt()
            assert terminal.end() == 130
        assert re.search(
            rf"^Open http://\S+:\d+/{own} \(anyone with this link may use it\)$", text, re.MULTILINE
        )
        assert f"The page uses the broker {broker} {way}.\n" in text


@pytest.mark.full
@pytest.mark.process
@pytest.mark.parametrize(
    ("options", "link"),
    [
        ((), r"http://127\.0\.0\.1:\d+/"),
        (("--bind", "0.0.0.0"), r"http://[^/]+:\d+/#token=[\w-]{24}"),
        (
            ("--broker", "ws://127.0.0.1:9001/mqtt"),
            r"http://127\.0\.0\.1:\d+/",
        ),
    ],
    ids=["loopback", "wider", "websocket"],
)
def test_as_json_it_prints_the_link(options: tuple[str, ...], link: str) -> None:
    """With a token where others reach it, and with the broker where the page needs no relay; SIGTERM ends it."""
    arguments = ["web", "--broker", BROKER, "--port", str(free_port()), "--json", *options]
    with subprocess.Popen([*CASCADE, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        place = f"http://127.0.0.1:{urlsplit(document['url']).port}"
        with urllib.request.urlopen(place, timeout=30 * busyness()) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30 * busyness()) == 143
    assert list(document) == ["url", "broker", "pid"]
    assert re.fullmatch(link, document["url"])
    assert document["pid"] == process.pid


def test_it_writes_the_page_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a broker."""
    path = tmp_path / "page.html"
    assert main(["web", "--save", str(path)]) == 0
    assert path.read_text("utf-8") == page()
    assert capsys.readouterr().out == f"{path} is the page: open it in a browser, or put it on a web server\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "no broker is named; pass --broker mqtt://localhost, or set CASCADE_BROKER"),
        (["--broker", "nats://x"], "url: it begins with none of mqtt:// and mqtts://; write mqtt://host:1883, or"),
        (["--broker", BROKER, "--port", "TAKEN"], "the port TAKEN of 127.0.0.1 is in use; choose another port, such"),
        (["--broker", BROKER, "--bind", "here"], "--bind needs an IP address, not 'here'; write 127.0.0.1 or 0.0.0.0"),
        (["--broker", "mqtt://a:b@c"], "a password in an argument is visible in the process list; set CASCADE_MQTT_"),
        (["--save", "/"], "Invalid value for '--save': File '/' is a directory; cascade web --help lists"),
        (["--save", "/none/x"], "/none/x cannot be written: No such file or directory; choose another for --save"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With cause and remedy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = str(listener.getsockname()[1])
        code = main(["web", *(each.replace("TAKEN", taken) for each in arguments)])
    printed = capsys.readouterr()
    assert (code in (1, 2), printed.out, printed.err.count("\n")) == (True, "", 1)
    assert printed.err.startswith(f"cascade: {line.replace('TAKEN', taken)}")


@pytest.mark.process
def test_importing_the_package_does_not_import_the_server() -> None:
    """A program that only wants the page needs neither websockets nor asyncio's servers."""
    line = "import sys, cascade.web; cascade.web.page(); sys.exit('websockets' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", line], check=False).returncode == 0


@pytest.mark.process
def test_the_page_of_the_package_shows_what_the_command_prints() -> None:
    """The example in the README, on another port."""
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    ((line, printed),) = re.findall(r"```console\n\$ cascade (.*)\n((?:.*\n)*?)```", readme)
    port = str(free_port())
    with Terminal([*line.split(), "--port", port], os.environ) as terminal:
        assert terminal.wait_for("Ctrl-C ends it.").strip() == printed.replace("8765", port).strip()
