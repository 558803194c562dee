"""The message by which Home Assistant discovers one engine as a device. No I/O.

The keys are those of Home Assistant's MQTT device discovery. The wire stays as it is: what Home Assistant
publishes **is** a register, and what it shows comes from the engine's reports.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from cascade.interfaces.control_messages import constraint_id
from cascade.interfaces.events import ENDED_STATES
from cascade.interfaces.gates import is_gate
from cascade.interfaces.topics import constraint_topic, request_topic, state_topic, status_topic
from cascade.wire import EffectiveEntry, OfferedWorkflow

PREFIX = "homeassistant/device/cascade_"
SUFFIX = "/config"
FILTER = "homeassistant/device/+/config"
RULE = "topic readwrite homeassistant/device/#"
"""What the access rules of a broker must permit to a user who adds and removes devices."""
LIMIT = 1000
"""The highest number that the limit's field accepts."""

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")
_ERROR_CHARACTERS = 255
"""Characters that the state of a sensor may have."""

Component: TypeAlias = dict[str, Any]


def device_topic(source: str) -> str:
    """Return the topic of an engine's discovery message.

    >>> device_topic("press-line-3")
    'homeassistant/device/cascade_press-line-3/config'
    """
    return f"{PREFIX}{device_id(source)}{SUFFIX}"


def is_device_topic(topic: str) -> bool:
    """Return whether a topic is that of an engine's discovery message."""
    return topic.startswith(PREFIX) and topic.endswith(SUFFIX)


def device_id(source: str) -> str:
    """Return a source as an id: other characters become ``_``, and a digest keeps such sources apart.

    >>> device_id("pi.local/line 3")
    'pi_local_line_3_5a184c'
    """
    text = _ILLEGAL.sub("_", source)
    if text == source:
        return text
    return f"{text}_{hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def device(
    source: str,
    version: str,
    *,
    last_run: str = "",
    offers: Iterable[OfferedWorkflow] = (),
    constraints: Iterable[EffectiveEntry] = (),
) -> dict[str, Any]:
    """Return the discovery message of an engine.

    :param source: its source id.
    :param version: Cascade's version, which Home Assistant shows as the message's origin.
    :param last_run: the id of the latest run that has ended already: it makes no event.
    :param offers: the workflows that it starts.
    :param constraints: what it obeys; each gate gets an entity.
    """
    key = f"cascade_{device_id(source)}"
    components = {**_controls(source), **_sensors(), **_runs(source, last_run)}
    for offer in offers:
        # any client may have written the report
        if offer.name.isascii() and offer.name.isidentifier():
            components |= _workflow(source, offer)
    for row in constraints:
        if is_gate(row.type):
            components |= _gate(source, row)
    return {
        "device": {"identifiers": [key], "name": source, "manufacturer": "Cascade", "model": "Engine"},
        "origin": {"name": "Cascade", "sw_version": version},
        "availability": [{"topic": status_topic(source), "value_template": "{{ value_json.status }}"}],
        "state_topic": state_topic(source, "summary"),
        "qos": 1,
        "components": {
            name: {**component, "unique_id": f"{key}_{name}"} for name, component in components.items()
        },
    }


def _controls(source: str) -> dict[str, Component]:
    """Return what steers: each publishes a register or clears it, and shows what the engine says of that register."""
    limit = constraint_topic(f"source:{source}", "concurrency")
    return {
        "pause": _pause(source),
        "limit": _limit(source, limit),
        "lift_limit": {
            "platform": "button",
            "name": "Lift the limit",
            "icon": "mdi:speedometer-slow",
            "command_topic": limit,
            "payload_press": "",
            "retain": True,
        },
    }


def _pause(source: str) -> Component:
    topic = constraint_topic(f"source:{source}", "pause")
    own = f"(value_json.applied | default({{}})).get({_literal(topic)})"
    return {
        "platform": "switch",
        "name": "Pause",
        "icon": "mdi:pause",
        "command_topic": topic,
        "payload_on": _register(source, "pause", "{}"),
        "payload_off": "",
        "retain": True,
        "state_topic": state_topic(source, "constraints"),
        "value_template": f"{{% set own = {own} %}}{{{{ 'ON' if own and own.status == 'applied' else 'OFF' }}}}",
        "state_on": "ON",
        "state_off": "OFF",
    }


def _limit(source: str, topic: str) -> Component:
    limits = f"value_json.effective | default([]) | selectattr('topic', 'eq', {_literal(topic)}) | list"
    return {
        "platform": "number",
        "name": "Limit of running tasks",
        "icon": "mdi:speedometer",
        "command_topic": topic,
        "command_template": _register(source, "concurrency", '{"limit": {{ value | int }} }'),
        "retain": True,
        "state_topic": state_topic(source, "constraints"),
        "value_template": f"{{% set own = {limits} %}}{{{{ own[0].params.limit if own else 'None' }}}}",
        "min": 0,
        "max": LIMIT,
        "mode": "box",
    }


def _sensors() -> dict[str, Component]:
    """Return what the engine's summary shows: scalars only."""
    state = (
        "{{ 'ended' if not value_json.up else 'paused' if value_json.paused"
        " else 'running' if value_json.runs else 'idle' }}"
    )
    return {
        "state": {
            "platform": "sensor",
            "name": "State",
            "device_class": "enum",
            "options": ["idle", "running", "paused", "ended"],
            "value_template": state,
        },
        "paused": {
            "platform": "binary_sensor",
            "name": "Paused",
            "value_template": "{{ 'ON' if value_json.paused else 'OFF' }}",
        },
        "running": _number("Running tasks", "{{ value_json.running }}"),
        "waiting": _number("Waiting tasks", "{{ value_json.waiting }}"),
    }


def _runs(source: str, last_run: str) -> dict[str, Component]:
    """Return what the report of runs shows: of the oldest run that is active, and of the latest that ended."""
    topic = state_topic(source, "runs")
    components = {**_active_run(), **_held(topic), **_ended_runs(topic, last_run)}
    return {name: {**component, "state_topic": topic} for name, component in components.items()}


def _active_run() -> dict[str, Component]:
    run = "{% set run = value_json.runs | default([]) | first %}"
    ended = (
        "(run.counts.items() | selectattr(0, 'in', "
        + repr([*map(str, ENDED_STATES)])
        + ") | map(attribute=1) | sum)"
    )
    progress = (
        f"{{{{ [100 * {ended} // run.known, 99] | min if run and run.known and not run.open else 'None' }}}}"
    )
    time_left = "{{ run.eta_s if run and run.eta_s is defined else 'None' }}"
    return {
        "progress": _number("Progress", run + progress, unit="%"),
        "time_left": {**_number("Time left", run + time_left, unit="s"), "device_class": "duration"},
    }


def _held(topic: str) -> dict[str, Component]:
    """Return whether tasks wait for a gate, with the reasons: of every gate, also one that comes later."""
    texts = (
        "{% set texts = value_json.runs | default([]) | map(attribute='waiting', default=[]) | sum(start=[])"
        " | selectattr('text', 'defined') | map(attribute='text') | list %}"
    )
    return {
        "held": {
            "platform": "binary_sensor",
            "name": "Held by a gate",
            "icon": "mdi:gate",
            "value_template": texts + "{{ 'ON' if texts else 'OFF' }}",
            "json_attributes_topic": topic,
            "json_attributes_template": texts + "{{ {'reasons': texts} | tojson }}",
        }
    }


def _ended_runs(topic: str, last_run: str) -> dict[str, Component]:
    last = "{% set last = value_json.recent | default([]) | first %}"
    cut = f"(last.error | default('', true))[:{_ERROR_CHARACTERS}]"
    error = (
        "{% set errors = value_json.recent | default([]) | selectattr('status', 'in', ['Failed', 'Lost'])"
        " | map(attribute='error') | select | list %}"
        f"{{{{ errors[0][:{_ERROR_CHARACTERS}] if errors else 'None' }}}}"
    )
    end = (
        "{% set known = (this.attributes if this is defined and this else {}).get('run_id') or "
        f"{_literal(last_run)} %}}"
        "{% if last and last.run_id != known %}{{ {'event_type': last.status | lower, 'run_id': last.run_id,"
        f" 'target': last.target, 'error': {cut}, 'by': last.by | default('')}} | tojson }}}}{{% endif %}}"
    )
    return {
        "last_error": {
            "platform": "sensor",
            "name": "Last error",
            "icon": "mdi:alert-circle-outline",
            "value_template": error,
        },
        "last_run": {
            "platform": "sensor",
            "name": "Last run",
            "value_template": last + f"{{{{ last.status[:{_ERROR_CHARACTERS}] if last else 'None' }}}}",
            "json_attributes_topic": topic,
            "json_attributes_template": last
            + f"{{{{ (dict(last, error={cut}) if last else {{}}) | tojson }}}}",
        },
        "run_ended": {
            "platform": "event",
            "name": "Run ended",
            "event_types": ["succeeded", "failed", "cancelled", "lost"],
            "value_template": last + end,
        },
    }


def _workflow(source: str, offer: OfferedWorkflow) -> dict[str, Component]:
    """Return the button that starts a workflow, how its last run ended, and when it starts next if it has a schedule.

    A button sends no values: a workflow that needs some has none.
    """
    topic, name = state_topic(source, "workflows"), offer.name
    row = (
        f"{{% set rows = value_json.workflows | default([]) | selectattr('name', 'eq', {_literal(name)}) | list %}}"
        "{% set row = rows[0] if rows else {} %}{% set last = row.last | default({}, true) %}"
    )
    found: dict[str, Component] = {
        f"ended_{name}": {
            "platform": "sensor",
            "name": f"Last {name}",
            "value_template": row + "{{ last.status if last else 'None' }}",
            "json_attributes_topic": topic,
            "json_attributes_template": row + "{{ dict(last) | tojson }}",
            "state_topic": topic,
        }
    }
    if not offer.params.get("required"):
        found[f"start_{name}"] = {
            "platform": "button",
            "name": f"Start {name}",
            "icon": "mdi:play",
            "command_topic": request_topic(source, name),
            "payload_press": '{"by": "Home Assistant"}',
        }
    if offer.schedule is not None:
        found[f"next_{name}"] = {
            "platform": "sensor",
            "name": f"Next {name}",
            "device_class": "timestamp",
            "value_template": row + "{{ (row.schedule | default({}, true)).next | default('None', true) }}",
            "state_topic": topic,
        }
    return found


def _gate(source: str, row: EffectiveEntry) -> dict[str, Component]:
    """Return what one gate says: open, closed or unknown, with its value and the reason in words."""
    topic = state_topic(source, "constraints")
    name = _ILLEGAL.sub("_", row.type.partition(".")[2])
    # gates of several scopes may have one name
    key = f"gate_{name}_{hashlib.sha256(row.topic.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    rows = f"value_json.effective | default([]) | selectattr('topic', 'eq', {_literal(row.topic)})"
    gate = f"{{% set gate = {rows} | selectattr('gate', 'defined') | map(attribute='gate') | first | default({{}}) %}}"
    return {
        key: {
            "platform": "binary_sensor",
            "name": f"Gate {name}" if row.scope == f"source:{source}" else f"Gate {name} of {row.scope}",
            "device_class": "opening",
            "value_template": gate + "{{ {'open': 'ON', 'closed': 'OFF'}.get(gate.state, 'None') }}",
            "state_topic": topic,
            "json_attributes_topic": topic,
            "json_attributes_template": gate + "{{ dict(gate) | tojson }}",
        }
    }


def _number(name: str, template: str, *, unit: str = "tasks") -> Component:
    return {
        "platform": "sensor",
        "name": name,
        "value_template": template,
        "unit_of_measurement": unit,
        "state_class": "measurement",
    }


def _register(source: str, kind: str, params: str) -> str:
    """Return a register's message as JSON in which Home Assistant finds no template but that in ``params``."""
    scope = f"source:{source}"
    name, where = _literal(constraint_id(scope, kind)), _literal(scope)
    return (
        f'{{"id": {name}, "scope": {where}, "type": "{kind}", "params": {params}, "expires_at": null,'
        ' "by": "Home Assistant"}'
    )


def _literal(text: str) -> str:
    """Return a text as a literal of both JSON and Jinja that begins and ends no template."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(f"\\u{ord(char):04x}" if char in "{}%#" else char for char in quoted)
