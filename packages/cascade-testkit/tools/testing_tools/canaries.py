"""A run in which a secret stands in every place where a user may put one, and a search for what shows it."""

import json
import os
import subprocess
import sys
from pathlib import Path

CANARIES = {
    place: f"canary{number:02d}a7f3{place}"
    for number, place in enumerate(
        (
            "login",
            "argument",
            "parameter",
            "environment",
            "message",
            "cause",
            "context",
            "url",
            "log",
            "header",
            "reason",
        )
    )
}

# A run of an engine with everything switched on, in which each secret stands where a user may put it.
SCRIPT = """
import asyncio, json, logging, os, sys
import cascade as cs

S = json.loads(os.environ["CANARIES"])
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)

@cs.task
async def good(value, other):
    await cs.checkpoint(done=1, total=2)
    logging.getLogger("shop").warning("login with password=%s", S["log"])
    cs.publish("place", {"where": f"https://shop.example/?token={S['url']}"})
    return 1

@cs.task
async def bad(value, found):
    try:
        raise ValueError(f"api_key: {S['context']}")
    except ValueError:
        try:
            raise ConnectionError(f"postgres://app:{S['cause']}@db/x")
        except ConnectionError as cause:
            raise RuntimeError(f"password={S['message']} Authorization: Bearer {S['header']}") from cause

async def main():
    connector = cs.connector(sys.argv[1], source_id="press-3")
    engine = cs.Engine(
        connector=connector, logs="INFO",
        state_backend=cs.SqliteState(sys.argv[2]), outbox=cs.Outbox(sys.argv[3]),
    )
    async with connector:
        target = bad(good(S["argument"], cs.Param("word")), cs.Env("CANARY_ENVIRONMENT"))
        try:
            await engine.run(target, {"word": S["parameter"]}, run_id="night")
        except RuntimeError:
            pass
        print(repr(connector), repr(engine), repr(target))
        await connector.flush(20)

asyncio.run(main())
"""


def run_with_secrets(url: str, state: Path, outbox: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the engine ``press-3`` in a process of its own, to the failure with which its run ``night`` ends."""
    environment = {
        **os.environ,
        "CANARIES": json.dumps(CANARIES),
        "CANARY_ENVIRONMENT": CANARIES["environment"],
        "CASCADE_MQTT_PASSWORD": CANARIES["login"],
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, str(state), str(outbox)],
        capture_output=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done


def shown_in(data: bytes) -> set[str]:
    """The places whose secret stands in some bytes, as ``strings`` would find it."""
    wide = data.replace(b"\0", b"")  # text of two bytes a character
    return {place for place, secret in CANARIES.items() if secret.encode() in data or secret.encode() in wide}


def bytes_below(folder: Path) -> bytes:
    """The content of all files of a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
