"""What errors say where it depends on what they are made of, and what of it may leave the process."""

from __future__ import annotations

import pytest

from cascade.interfaces import (
    CacheFileError,
    CascadeError,
    ConnectorNotFoundError,
    ExecutorNotFoundError,
    InputsError,
    InvalidTargetError,
    ObserverNotFoundError,
    ResourceNotFoundError,
    TaskCallError,
    UncacheableArgumentError,
    UnknownResourceError,
    UnstorableValueError,
    WorkerLostError,
    WrongThreadError,
)

TEXTS: list[tuple[CascadeError, str]] = [
    (WorkerLostError("a", 1, "killed"), "task 'a' was started once, and its worker was lost each time (killed); "),
    (WorkerLostError("a", 3, "killed"), "task 'a' was started 3 times, and its worker was lost each time (killed); "),
    (ResourceNotFoundError("db", ()), "the run has no resource named 'db' (it has none); pass "),
    (ResourceNotFoundError("db", ("a", "b"), task_name="t"), "task 't': the run has no resource named 'db' (it has a, b)"),
    (UnknownResourceError("t", "gpu", ()), "task 't' needs 'gpu', which this engine does not have (it has none); "),
    (UnknownResourceError("t", "gpu", ("a", "b")), "task 't' needs 'gpu', which this engine does not have (it has a, b); "),
    (ConnectorNotFoundError("x", installed=(), remedy="do"), "no connector named 'x' (none is installed); do"),
    (ExecutorNotFoundError("x", installed=("a", "b"), remedy="do"), "no executor named 'x' (installed: a, b); do"),
    (ObserverNotFoundError("x", installed=(), remedy="do"), "no observer named 'x' (none is installed); do"),
    (UncacheableArgumentError("t", "argument 'a'", "no"), "task 't' cannot be cached by its argument 'a': no; give with_cache("),
    (UncacheableArgumentError("t", "key", "no", remedy="do"), "task 't' cannot be cached by its key: no; do"),
    (UnstorableValueError([], "is odd"), "a builtins.list is odd"),
    (WrongThreadError("publish"), "publish was called from a thread other than its event loop's; use loop.call_soon_threadsafe"),
    (WrongThreadError("publish", loops=("A", "B")), "publish was called on the event loop A, but the connector was connected on B; "),
    (InputsError({"a is missing": "set it", "b is unknown": ""}), "a is missing: set it; b is unknown"),
    (InvalidTargetError(3), "3 of type int is not a lazy result; call a function decorated with @cs.task"),
    (InvalidTargetError(3, advice="do"), "3 of type int is not a lazy result; do"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_an_error_says_what_it_was_made_of(error: CascadeError, text: str) -> None:
    """Lists that are empty, numbers of times and a remedy that is given change what it says."""
    assert str(error).startswith(text)


@pytest.mark.parametrize(
    ("error", "public"),
    [
        (InvalidTargetError("S3cr3t"), "a str is not a lazy result; call a function decorated with @cs.task and"),
        (InputsError({"n cannot be converted": "ValueError: S3cr3t", "m is missing": "x"}), "n cannot be converted; m is missing"),
        (TaskCallError("t", "(key='S3cr3t')", "missing a"), "task 't': missing a"),
        (CacheFileError("t", "S3cr3t.csv", "it is not there"), "task 't' is cached by a file, but did not write it or"),
        (CascadeError("S3cr3t", public="no"), "no"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_error_has_a_text_without_values_for_observers(error: CascadeError, public: str) -> None:
    """The person who runs the program sees them; an error without such values says the same to everybody."""
    assert error.public.startswith(public)
    assert "S3cr3t" in str(error)
    assert "S3cr3t" not in error.public
    assert CascadeError("plain").public == "plain"
