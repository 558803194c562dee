"""What progress, logs and data of a run's code look like on the wire."""

from __future__ import annotations

from typing import Any

from cascade.interfaces import DataEvent, LogEvent, ProgressEvent, Redactor
from cascade.interfaces.wire.write import body_of

CLEAN = Redactor(names=["iban"]).one_line


def progress(**more: Any) -> Any:
    return body_of(ProgressEvent("r", "a:0", "a", 0.0, 3, **more), CLEAN)


def log(message: str, **more: Any) -> Any:
    fields: dict[str, Any] = {"level": "INFO", "logger": "app"} | more
    return body_of(LogEvent("r", "a:0", "a", 0.0, message=message, **fields), CLEAN)


def data(value: Any, name: str = "row") -> Any:
    return body_of(DataEvent("r", "a:0", "a", 0.0, name, value), CLEAN)


def test_progress_says_how_far_a_task_is() -> None:
    """Its total is null where it is not known; message and unit only where there are any, masked and cut."""
    head = {"type": "ProgressEvent", "task_id": "a:0", "task_name": "a", "done": 3}
    assert progress() == head | {"total": None}
    assert progress(total=9, message="part 2", unit="files") == head | {
        "total": 9,
        "message": "part 2",
        "unit": "files",
    }
    long = progress(message="iban=1 " + "m" * 900, unit="iban=1 " + "u" * 900)
    assert (long["message"], long["unit"]) == ("iban=*** " + "m" * 191, "iban=*** " + "u" * 41)


def test_a_line_of_a_log_stands_with_its_place_and_what_was_skipped() -> None:
    """Its handler has masked it as a whole; a line that is short enough is masked again, a longer one is only cut."""
    assert log("hello", skipped=4) == {
        "type": "LogEvent",
        "level": "INFO",
        "logger": "app",
        "message": "hello",
        "task_id": "a:0",
        "task_name": "a",
        "skipped": 4,
    }
    assert log("iban=1")["message"] == "iban=***"
    assert log("x" * 5_000)["message"] == "x" * 1_000
    long = log("", level="L" * 900, logger="g" * 900)
    assert (len(long["level"]), len(long["logger"])) == (50, 200)


def test_data_goes_out_with_every_text_masked() -> None:
    """Values of keys that are named like a secret are masked whole; numbers, booleans and nulls stay what they are."""
    value = {
        "celsius": 21.5,
        "ok": True,
        "none": None,
        "rows": [1, "iban=2", [{"note": "password=x"}]],
        "password": {"user": "ada"},
        "customer_iban": 7,
        "iban=9": "x",
    }
    assert data(value, "iban=1") == {
        "type": "DataEvent",
        "name": "iban=***",
        "data": {
            "celsius": 21.5,
            "ok": True,
            "none": None,
            "rows": [1, "iban=***", [{"note": "password=***"}]],
            "password": "***",
            "customer_iban": "***",
            "iban=***": "***",
        },
        "task_id": "a:0",
        "task_name": "a",
    }
    assert data("iban=1")["data"] == "iban=***"
    assert len(data(1, "n" * 900)["name"]) == 200


def test_data_that_is_nested_too_deep_is_cut_off() -> None:
    """A reader could not decode it; what stands above goes out."""
    deep: Any = "bottom"
    for _ in range(60):
        deep = [deep]
    shown = data({"a": deep, "b": {"c": [deep]}})["data"]
    assert shown["a"] == deep
    for _ in range(30):
        deep = [{"k": deep}]
    cut, levels = data(deep)["data"], 0
    while cut is not None:
        cut = cut[0] if isinstance(cut, list) else cut["k"]
        levels += 1
    assert 60 < levels < 70
