"""A receiver of OTLP that others have written shows what ``cascade collect --otlp`` sends."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_otlp import Collected, in_process, ran

from cascade.testkit.ports import free_port
from testing_tools.engines import eventually

SPANS = "/v1/projects/default/spans?limit=100"


@pytest.mark.nightly
@pytest.mark.process
def test_phoenix_shows_a_run(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Its spans with their ids, parents, errors and attributes. It is installed in an environment of its own: it needs a hundred others."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=300)
    run = tmp_path / "venv" / "bin"
    subprocess.run([run / "pip", "install", "-q", "arize-phoenix"], check=True, timeout=1_200)
    port, grpc = free_port(), free_port()
    environment = {
        "PATH": str(run),
        "PHOENIX_WORKING_DIR": str(tmp_path),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    phoenix = subprocess.Popen(
        [run / "phoenix", "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    request.addfinalizer(phoenix.wait)
    request.addfinalizer(phoenix.kill)
    url = f"http://127.0.0.1:{port}"

    def shown() -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(url + SPANS, timeout=10) as answer:
                return list(json.load(answer)["data"])
        except OSError:
            return []

    eventually(lambda: _answers(url), "phoenix has started", 300)
    observer, made = in_process()
    messages = ran(tmp_path, observer)
    with Collected(url, tmp_path / "all.sqlite") as collected:
        collected.take(messages)
    spans = made()
    eventually(lambda: len(shown()) >= len(spans), "phoenix has them", 60)
    found = {span["context"]["span_id"]: span for span in shown()}
    assert found.keys() == {span.span_id.hex() for span in spans}
    for span in spans:
        row = found[span.span_id.hex()]
        assert (row["name"], row["context"]["trace_id"]) == (span.name, span.trace_id.hex())
        assert row["parent_id"] == (span.parent_span_id.hex() or None)
        assert (row["status_code"] == "ERROR", row["status_message"]) == (
            span.status.code == 2,
            span.status.message,
        )
        assert {each.key for each in span.attributes} <= row["attributes"].keys()
    assert Counter(name for name in (row["name"] for row in found.values()) if name.startswith("run ")) == {
        "run measure, late": 1
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=10):
            return True
    except OSError:
        return False
