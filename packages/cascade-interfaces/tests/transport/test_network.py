"""What a network's settings say of the proofs of who a client is, and of the files that hold them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import ConfigurationError
from cascade.transport.network import Network
from cascade.transport.settings import ConnectorSettings

POST = Network(
    connector="PostConnector",
    ports={"post": 4000},
    usual_port="post offices use 4000",
    example="write post://host:4000",
    window_reason="a post office needs",
    variables="CASCADE_TEST_POST",
    encrypted=(),
    tls=("tls",),
    texts=("stamp",),
    proofs={"stamp": "the stamp", "letter": "the letter", "seal": "the seal"},
    files={"letter": "LETTER", "seal": "SEAL"},
    log=logging.getLogger("cascade.test.network"),
)


def settings_of(**keywords: Any) -> ConnectorSettings:
    def client(given: Mapping[str, Any]) -> Mapping[str, Any]:
        return given

    return POST.settings(ConnectorSettings, "host", 4000, keywords, client=client, known=POST.proofs)


def test_one_proof_is_named_in_words(tmp_path: Path) -> None:
    """None is nothing."""
    (letter := tmp_path / "letter").write_text("dear", "utf-8")
    found = [settings_of(), settings_of(stamp="blue"), settings_of(letter=str(letter))]
    assert [POST.proof(each.client) for each in found] == ["", "the stamp", "the letter"]


def test_two_proofs_exclude_each_other() -> None:
    """The message names both, and shows neither."""
    with pytest.raises(ConfigurationError, match="seal and stamp exclude each other; pass one") as raised:
        settings_of(stamp="blue", seal="wax")
    assert "blue" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """When the connector is made, not at the first link."""
    with pytest.raises(ConfigurationError, match=r"letter: the file .* cannot be read"):
        settings_of(letter=str(tmp_path / "none"))


def test_the_first_file_that_the_environment_names_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is none."""
    assert POST.file() == {}
    monkeypatch.setenv("CASCADE_TEST_POST_SEAL", "/seal")
    monkeypatch.setenv("CASCADE_TEST_POST_LETTER", "")
    assert POST.file() == {"seal": "/seal"}
    monkeypatch.setenv("CASCADE_TEST_POST_LETTER", "/letter")
    assert POST.file() == {"letter": "/letter"}
