"""A disk that fails costs messages, never the run, and is logged once."""

import logging
from pathlib import Path

import pytest
from jsonl_connector import JsonlConnector

FULL = Path("/dev/full")


@pytest.mark.asyncio
@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
async def test_a_full_disk_raises_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Neither publish nor disconnect raises, and a hundred messages that are lost are one line."""
    connector = JsonlConnector(FULL)
    await connector.connect()
    for number in range(100):
        await connector.publish("a", {"n": number})
    await connector.disconnect()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "No space left" in warning


@pytest.mark.asyncio
async def test_a_folder_that_is_missing_raises_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run continues without a file; connect logs why."""
    connector = JsonlConnector(tmp_path / "missing" / "messages.jsonl")
    await connector.connect()
    await connector.publish("a", {})
    await connector.disconnect()
    assert "nothing will be written" in caplog.text
