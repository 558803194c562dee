"""What a network cannot do: which limits concern the store, and how a log line names them."""

import pytest

from cascade.interfaces import Lacking, Limitation


@pytest.mark.parametrize("lacking", Lacking)
def test_a_limit_of_the_store_is_known_as_one(lacking: Lacking) -> None:
    """Constraints are not kept because of it: an engine reports that otherwise than a missing presence."""
    found = Limitation(lacking, "nothing keeps messages", "enable JetStream")
    assert found.of_store is (
        lacking in {Lacking.STORE, Lacking.STORE_RIGHTS, Lacking.STORE_SETTINGS, Lacking.STORE_ANSWER}
    )
    assert found.text == "nothing keeps messages; enable JetStream"
