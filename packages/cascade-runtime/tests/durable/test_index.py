"""What a row of SQLite becomes."""

from cascade.interfaces import StepRecord, StepState
from cascade.runtime._durable.index import StepIndex


def test_what_a_row_leaves_out_is_empty() -> None:
    """A step without code, inputs, name, times or error has empty bytes, texts and numbers, not None."""
    row = ("a", None, int(StepState.COMPLETED), None, None, 1, 1, 0, None, None, None, None)
    index = StepIndex([row], last=1, deaths=0)
    assert index.get("a") == StepRecord("a", StepState.COMPLETED, "", b"", b"", 1, 1, 0, 0.0, 0.0, 0.0, "", 0)
