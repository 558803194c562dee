"""What a network's settings say of the proofs of who a client is, and of the files that hold them."""

from __future__ import annotations

from pathlib import Path

import pytest
from network_of_posts import POST, settings_of

from cascade.interfaces import ConfigurationError


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
