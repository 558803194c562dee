"""What Home Assistant checks of a message of its MQTT device discovery before it makes entities, as a JSON Schema.

The rules are those of its validators: ``homeassistant/components/mqtt``, ``sensor``, ``number``, and the documentation of discovery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jsonschema import Draft202012Validator

TEXT = {"type": "string"}
NAME = {"type": "string", "minLength": 1}
TOPIC = {"type": "string", "maxLength": 65_535, "pattern": r"^[^+#\x00-\x1f\x7f-\x9f]+$"}
NUMBER = {"type": "number"}
SWITCH = {"type": "boolean"}
QOS = {"enum": [0, 1, 2]}
ENTITY: dict[str, Any] = {
    "platform": TEXT, "name": NAME, "unique_id": NAME, "qos": QOS, "icon": {"type": "string", "pattern": "^[a-z]+:[a-z0-9-]+$"},
}  # fmt: skip
COMMAND: dict[str, Any] = {"command_topic": TOPIC, "retain": SWITCH}
STATE: dict[str, Any] = {
    "state_topic": TOPIC, "value_template": TEXT, "json_attributes_topic": TOPIC, "json_attributes_template": TEXT,
}  # fmt: skip


def _entity(
    platform: str, *required: str, also: Mapping[str, Any] | None = None, **keys: Any
) -> dict[str, Any]:
    properties = {**ENTITY, **keys, "platform": {"const": platform}}
    needed = ["platform", "unique_id", *required]
    return {"properties": properties, "required": needed, "additionalProperties": False, **(also or {})}


_ENUM = {"properties": {"device_class": {"const": "enum"}}, "required": ["device_class"]}
_A_NUMBER = {"anyOf": [{"required": ["state_class"]}, {"required": ["unit_of_measurement"]}]}
PLATFORMS = {
    "button": _entity("button", "command_topic", **COMMAND, payload_press=TEXT, command_template=TEXT),
    "switch": _entity(
        "switch", "command_topic", **COMMAND, **STATE, payload_on=TEXT, payload_off=TEXT, state_on=TEXT, state_off=TEXT
    ),
    "number": _entity(
        "number", "command_topic", **COMMAND, **STATE, command_template=TEXT, min=NUMBER, max=NUMBER,
        mode={"enum": ["auto", "box", "slider"]},
    ),
    "sensor": _entity(
        "sensor", **STATE, unit_of_measurement=TEXT, options={"type": "array", "items": TEXT, "minItems": 1},
        state_class={"enum": ["measurement", "total", "total_increasing"]},
        device_class={"enum": ["enum", "duration", "timestamp"]},
        also={
            "dependentSchemas": {"options": _ENUM},
            "allOf": [
                {"if": _ENUM, "then": {"required": ["options"], "not": _A_NUMBER}},
                {"if": {"properties": {"device_class": {"const": "timestamp"}}, "required": ["device_class"]},
                 "then": {"not": _A_NUMBER}},
                {"if": {"properties": {"device_class": {"const": "duration"}}, "required": ["device_class"]},
                 "then": {"properties": {"unit_of_measurement": {"enum": ["d", "h", "min", "s", "ms"]}},
                          "required": ["unit_of_measurement"]}},
            ],
        },
    ),
    "binary_sensor": _entity("binary_sensor", **STATE, device_class={"enum": ["opening"]}),
    "event": _entity("event", "event_types", **STATE, event_types={"type": "array", "items": TEXT, "minItems": 1}),
}  # fmt: skip
"""By platform: what a component may and must have, of what Cascade uses."""
_READ = ("sensor", "binary_sensor", "event")
"""Platforms that need a topic of their own state; a device may name one for all."""
DISCOVERY = {
    "required": ["device", "origin", "components"],
    "additionalProperties": False,
    "properties": {
        "device": {
            "required": ["identifiers"],
            "additionalProperties": False,
            "properties": {
                "identifiers": {"type": "array", "items": NAME, "minItems": 1},
                **dict.fromkeys(("name", "manufacturer", "model"), NAME),
            },
        },
        "origin": {
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": NAME, "sw_version": TEXT},
        },
        "availability": {
            "type": "array",
            "items": {
                "required": ["topic"],
                "additionalProperties": False,
                "properties": {"topic": TOPIC, "value_template": TEXT},
            },
        },
        "state_topic": TOPIC,
        "qos": QOS,
        "components": {
            "type": "object",
            "additionalProperties": {
                "required": ["platform"],
                "properties": {"platform": {"enum": [*PLATFORMS]}},
                "allOf": [
                    {"if": {"properties": {"platform": {"const": name}}}, "then": rules}
                    for name, rules in PLATFORMS.items()
                ],
            },
        },
    },
}


def problems(message: Mapping[str, Any]) -> list[str]:
    """Return why Home Assistant would refuse a discovery message, or one of its components."""
    found = [
        f"{each.json_path}: {each.message}" for each in Draft202012Validator(DISCOVERY).iter_errors(message)
    ]
    for name, component in message.get("components", {}).items():
        found += (f"{name}: {problem}" for problem in _beyond_the_schema(message, component))
    return found


def _beyond_the_schema(message: Mapping[str, Any], component: Mapping[str, Any]) -> Iterator[str]:
    if component.get("platform") in _READ and "state_topic" not in {*component, *message}:
        yield "no state_topic"
    if component.get("min", 0) >= component.get("max", 1):
        yield "min is not below max"
    for key, value in component.items():
        if key.endswith("_template"):
            try:
                ImmutableSandboxedEnvironment().from_string(value)
            except TemplateSyntaxError as error:
                yield f"{key}: {error}"
