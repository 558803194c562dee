"""The keywords of ``cs.run`` and the options that stand for them; errors in the words of the place. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

OPTIONS: Mapping[str, str] = {
    "target": "FILE.py:NAME",
    "params": "-p",
    "system_resources": "--resource",
    "connector": "--broker",
    "executor": "--executor",
    "cache": "--cache",
    "state": "--state",
    "require_control": "--require-control",
    "outbox": "--outbox",
    "labels": "--label",
    "logs": "--logs",
    "run_id": "--run-id",
    "name": "--run-name",
    "tags": "--tag",
    "on_failure": "--on-failure",
    "progress": "--quiet",
    "resume": "--resume",
    "on_change": "--on-change",
    "max_starts": "--max-starts",
    "forget_control": "--forget-control",
    "workflow": "FILE.py:NAME",
}
"""By keyword of ``cs.run``."""

_OBJECT = "an object of Python"
_OF_THE_CODE = "belongs to the code, not to one start of it"
WITHOUT_OPTION: Mapping[str, str] = {
    "executors": _OBJECT,
    "resources": _OBJECT,
    "cache_backend": _OBJECT,
    "state_backend": _OBJECT,
    "middleware": _OBJECT,
    "redactor": _OBJECT,
    "bus": _OBJECT,
    "clock": _OBJECT,
    "gates": _OBJECT,
    "observers": _OBJECT,
    "host_report": _OF_THE_CODE,
    "stop_timeout": _OF_THE_CODE,
    "close_timeout": _OF_THE_CODE,
    "traceparent": "a program that has a trace gives it",
}
"""Keywords that only ``cs.settings`` and ``cs.main`` take, and why."""

_SETTING = re.compile(r"\b(?:run|Engine)\((\w+)=[^)]*\)")
_VALUE = re.compile(r"\b(\w+)=('[^']*'|None|True)")
_PHRASES = (
    (re.compile(r"name it in system_resources=\{'([^']*)': \.\.\.\}"), r"give --resource \1=..."),
    (re.compile(r"raise system_resources\['([^']*)'\]"), r"raise --resource \1=..."),
    (re.compile(r"pass params=\{'([^']*)': \.\.\.\}"), r"pass -p \1=..."),
    (
        re.compile(r"pass resources=\[\.\.\.\] to the engine or to cs\.run"),
        "write settings = cs.settings(resources=[...]) in the file",
    ),
    (re.compile(r"\bleave params out\b"), "leave -p out"),
    (re.compile(r"\banother run_id\b"), "another --run-id"),
    (
        re.compile(r"needs a connector, (through which the events leave)"),
        r"needs a broker, \1; pass --broker URL, or set CASCADE_BROKER",
    ),
    (re.compile(r"\bserve\(connector=\): is missing, and\b"), "no broker is named, and"),
    (re.compile(r"\bserve\(connector=\)(: needs a name, .*): \S+"), r"--name\1; pass --name press-line-3"),
    (re.compile(r"\bserve\(connector=\)"), "--broker"),
    (
        re.compile(r"pass connector='mqtt://broker\?source_id=([^']*)'"),
        r"pass --broker mqtt://broker and --name \1",
    ),
)


def in_words_of_the_command(text: str, declared: Collection[str] = ()) -> str:
    """Return an error of Cascade with the options that stand for the keywords that it names.

    :param declared: settings that the file gives, and no option: they keep their keyword.

    >>> in_words_of_the_command("run(logs=): needs a level; give resume='cancelled' to go on")
    '--logs: needs a level; give --resume cancelled to go on'
    >>> in_words_of_the_command("run(logs=): needs a level", {"logs"})
    'settings(logs=): needs a level'
    """

    def setting(found: re.Match[str]) -> str:
        name = found[1]
        return OPTIONS[name] if name in OPTIONS and name not in declared else f"settings({name}=)"

    def value(found: re.Match[str]) -> str:
        name, given = found[1], found[2].strip("'")
        if name not in OPTIONS:
            return found[0]
        return OPTIONS[name] if given == "True" else f"{OPTIONS[name]} {given.lower()}"

    for pattern, words in _PHRASES:
        text = pattern.sub(words, text)
    return _VALUE.sub(value, _SETTING.sub(setting, text))
