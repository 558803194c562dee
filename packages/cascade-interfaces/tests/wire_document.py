"""The AsyncAPI document of the wire, made from the messages of ``cascade.wire``; run as a program, it writes the file.

python packages/cascade-interfaces/tests/wire_document.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from cascade.interfaces.control_messages import ConstraintMessage, StoreMessage
from cascade.interfaces.wire import VERSION
from cascade.wire import (
    Acknowledgement,
    Birth,
    ConstraintByHand,
    ConstraintsReport,
    DataBody,
    Echo,
    EndedReport,
    Envelope,
    GraphReport,
    HostReport,
    LeaseMessage,
    LifecycleBody,
    LogBody,
    Offline,
    ProgressBody,
    RunsReport,
    StartRequest,
    StartResponse,
    Summary,
    TaskStateBody,
    WorkflowsReport,
)

PACKAGE = Path(__file__).parents[1]
FILE = PACKAGE / "asyncapi.json"
PAGE = (PACKAGE / "PROTOCOL.md").read_text("utf-8")

Schema = dict[str, Any]
SCHEMAS = "#/components/schemas/"

OPTIONAL = {
    "ActiveRun": {"tasks", "running", "waiting", "graph"},
    "HostReport": {"link", "labels"},
    "RecentRun": {"error", "known"},
    "EndedRun": {"error", "known"},
}
"""Keys that Cascade always writes and that another writer may leave out."""

CLEARS = "An empty message, or {}, clears it."
ABOUT = {
    "events": "The states of tasks, and the start and the end of a run.",
    "progress": "How far a task has come, as it reports.",
    "logs": "Log lines; off unless an engine is given logs=.",
    "data": "What a task sends with cs.publish.",
    "status": "Whether a process is connected: its birth, and its will or its clean end. Only a named process has a birth, and its "
    "will is retained; an unnamed one has a will at QoS 0, which is not.",
    "register": f"One constraint, which engines obey while it is retained. {CLEARS}",
    "shortRegister": "One constraint, which engines obey while it is retained, in the older form of a register. It holds one "
    f"type, the last valid one. {CLEARS}",
    "store": "A random name of the broker's store, by which engines see that it is another one; not a register.",
    "echo": "What an engine sends to itself: behind it everything that was retained has arrived.",
    "canary": "What an engine keeps for itself: without it the retained set is not complete.",
    "constraints": "Which registers an engine obeys, and what is in force.",
    "runs": "Active runs with counts by state and by task, what waits and why, and recent runs.",
    "graph": "The graphs of active runs.",
    "ended": "The run that ended last, and the last one that failed, whole.",
    "summary": "A few numbers, without nesting, for dashboards.",
    "host": "The machine and the process of an engine.",
    "workflows": "What a service starts when it is asked, and how the latest run of each workflow ended.",
    "request": "Asks a service, or every one with @all in the place of its name, to start a workflow.",
    "response": "What became of a request.",
    "lease": "A claim of a lease, or a renewal by its holder: the one of several machines that starts ticks.",
    "ack": "Up to which event a collector has stored an engine's events, and which it lacks.",
}
"""What each channel is for."""

PARAMETERS = {
    "org": "The organisation, CASCADE_ORG_ID of the engine's process.",
    "project": "The project, CASCADE_PROJECT_ID of the engine's process.",
    "run_id": "The id of a run.",
    "source": "The name of a process; its levels are percent-encoded.",
    "scope": "global, or one of project/ID, source/ID, run/ID and task/PATTERN.",
    "type": "pause, concurrency, rate_limit or cancel, or gate. and the name of a gate.",
    "nonce": "A random text.",
    "workflow": "The name of a workflow that a service offers.",
    "id": "The id of a request.",
    "name": "The name of a lease.",
}

BY_NAMED = "by named processes; others repeat it instead"
"""Who retains a message, where not all do."""

CONSTRAINTS: dict[str, Any] = {"constraint": ConstraintMessage, "constraintByHand": ConstraintByHand}

CHANNELS: dict[str, tuple[str, dict[str, Any], int, bool | str, str]] = {
    "events": ("cascade/telemetry/{org}/{project}/{run_id}/events", {"event": (TaskStateBody, LifecycleBody)}, 1, False, "send"),
    "progress": ("cascade/telemetry/{org}/{project}/{run_id}/progress", {"progress": (ProgressBody,)}, 1, False, "send"),
    "logs": ("cascade/telemetry/{org}/{project}/{run_id}/logs", {"log": (LogBody,)}, 1, False, "send"),
    "data": ("cascade/telemetry/{org}/{project}/{run_id}/data", {"data": (DataBody,)}, 1, False, "send"),
    "status": ("cascade/status/{source}", {"birth": Birth, "offline": Offline}, 1, True, "send"),
    "register": ("cascade/constraints/{scope}/@{type}", CONSTRAINTS, 1, True, "receive"),
    "shortRegister": ("cascade/constraints/{scope}", CONSTRAINTS, 1, True, "receive"),
    "store": ("cascade/constraints/@store", {"store": StoreMessage}, 1, True, "receive"),
    "echo": ("cascade/sync/{source}/{nonce}", {"echo": Echo}, 0, False, "send"),
    "canary": ("cascade/sync/{source}/@canary", {"canary": Echo}, 0, True, "send"),
    "constraints": ("cascade/state/{source}/constraints", {"constraintsReport": ConstraintsReport}, 1, BY_NAMED, "send"),
    "runs": ("cascade/state/{source}/runs", {"runsReport": RunsReport}, 1, BY_NAMED, "send"),
    "graph": ("cascade/state/{source}/graph", {"graphReport": GraphReport}, 1, BY_NAMED, "send"),
    "ended": ("cascade/state/{source}/ended", {"endedReport": EndedReport}, 1, BY_NAMED, "send"),
    "summary": ("cascade/state/{source}/summary", {"summary": Summary}, 1, BY_NAMED, "send"),
    "host": ("cascade/state/{source}/host", {"hostReport": HostReport}, 1, BY_NAMED, "send"),
    "workflows": ("cascade/state/{source}/workflows", {"workflowsReport": WorkflowsReport}, 1, True, "send"),
    "request": ("cascade/requests/{source}/{workflow}", {"request": StartRequest}, 1, False, "receive"),
    "response": ("cascade/responses/{source}/{id}", {"response": StartResponse}, 1, False, "send"),
    "lease": ("cascade/leases/{name}", {"lease": LeaseMessage}, 0, "if it is a renewal; a claim never is", "send"),
    "ack": ("cascade/ack/{source}", {"acknowledgement": Acknowledgement}, 1, True, "receive"),
}  # fmt: skip
"""By name: address, messages, QoS, whether it is retained, and what an engine does with it."""

EXAMPLES = {
    "birth": "status", "offline": "status", "constraint": "constraint", "store": "store", "constraintsReport": "report",
    "runsReport": "runs", "graphReport": "graph", "endedReport": "ended", "summary": "summary", "hostReport": "host", "acknowledgement": "ack",
    "event": "envelope", "workflowsReport": "workflows", "request": "request", "response": "response", "lease": "lease",
}  # fmt: skip
"""By message: the kind of the examples on the protocol's page."""


def schemas(kinds: list[Any]) -> tuple[dict[Any, Schema], dict[str, Schema]]:
    """Return a reference for each type, and the schemas by name."""
    references, made = msgspec.json.schema_components(kinds, ref_template=f"{SCHEMAS}{{name}}")
    tidy = {name: _tidy(each) for name, each in made.items()}
    for name, keys in OPTIONAL.items():
        tidy[name]["required"] = [key for key in tidy[name]["required"] if key not in keys]
    return dict(zip(kinds, references, strict=True)), tidy


def _tidy(schema: Any) -> Any:
    """Return a schema without what a reader of the page does not need; a union of plain types is a list of them."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = isinstance(schema.get("type"), str)  # else these are names of properties
    found = {key: _tidy(each) for key, each in schema.items() if not plain or key not in ("title", "maximum")}
    if isinstance(text := found.get("description"), str):
        found["description"] = " ".join(text.split())
    either = found.get("anyOf", [])
    if either and all(each.keys() == {"type"} for each in either):
        types = [each["type"] for each in found.pop("anyOf")]
        found["type"] = [each for each in types if each != "integer" or "number" not in types]
    return found


def examples(kind: str) -> list[dict[str, Any]]:
    """The examples of one kind on the protocol's page."""
    return [json.loads(text) for text in re.findall(rf"```json {kind}\n(.*?)```", PAGE, re.DOTALL)]


def examples_of(message: str) -> list[dict[str, Any]]:
    """The page's examples of one message."""
    found = examples(EXAMPLES[message]) if message in EXAMPLES else []
    if message in ("birth", "offline"):
        return [each for each in found if (each["status"] == "online") == (message == "birth")]
    return found


def document() -> dict[str, Any]:
    """Return the whole document."""
    kinds = [
        each
        for _, carried, *_ in CHANNELS.values()
        for shape in carried.values()
        for each in (shape if isinstance(shape, tuple) else (shape,))
    ]
    references, made = schemas([Envelope, *dict.fromkeys(kinds)])
    messages: dict[str, Schema] = {}
    channels: dict[str, Schema] = {}
    operations: dict[str, Schema] = {}
    for name, (address, carried, qos, retain, action) in CHANNELS.items():
        for message, shape in carried.items():
            messages[message] = _message(message, shape, references)
        channels[name] = {
            "address": address,
            "description": ABOUT[name],
            "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in carried},
            "parameters": {
                each: {"description": PARAMETERS[each]} for each in re.findall(r"{(\w+)}", address)
            },
        }
        operations[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            **({"description": f"Retained {retain}."} if isinstance(retain, str) else {}),
            "bindings": {"mqtt": {"qos": qos, "retain": bool(retain), "bindingVersion": "0.2.0"}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Cascade",
            "version": VERSION,
            "description": "What engines send and obey. Readers ignore keys that they do not know, and messages on topics "
            "with a level doctor-XXXXXXXX: cascade doctor tries out with them what a user may do.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": dict(sorted(made.items()))},
    }


def _message(name: str, shape: Any, references: dict[Any, Schema]) -> Schema:
    payload = _envelope(shape, references) if isinstance(shape, tuple) else references[shape]
    made: Schema = {"name": name, "payload": payload}
    if found := examples_of(name):
        made["examples"] = [{"payload": each} for each in found]
    return made


def _envelope(bodies: tuple[Any, ...], references: dict[Any, Schema]) -> Schema:
    inside = [references[each] for each in bodies]
    body = inside[0] if len(inside) == 1 else {"anyOf": inside}
    return {"allOf": [references[Envelope], {"type": "object", "properties": {"body": body}}]}


def text() -> str:
    """Return the document as the file has it."""
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
