"""What a tool writes that steers engines."""

import pytest

from cascade.interfaces.steering import constraint_id, constraint_message, store_message


@pytest.mark.parametrize(
    ("scope", "kind", "found"),
    [
        ("global", "pause", "pause-global"),
        ("task:resize*", "concurrency", "concurrency-task:resize*"),
        ("task:call_api", "rate_limit", "ratelimit-task:call_api"),
    ],
)
def test_a_message_has_the_five_keys_of_the_protocol(scope: str, kind: str, found: str) -> None:
    """In their order, each also where there is nothing to say."""
    assert list(constraint_message(scope, kind).items()) == [
        ("id", found),
        ("scope", scope),
        ("type", kind),
        ("params", {}),
        ("expires_at", None),
    ]
    full = constraint_message(scope, kind, {"limit": 3}, expires_at=1.5)
    assert (full["id"], full["params"], full["expires_at"]) == (constraint_id(scope, kind), {"limit": 3}, 1.5)


def test_each_store_has_an_identity_of_its_own() -> None:
    """Two tools that both find none do not agree by chance."""
    one, other = store_message(), store_message()
    assert list(one) == ["store"]
    assert one != other
