"""Pages of the API: every public name on the page of the module from which a user imports it."""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType
from typing import TypeVar

from website.described import described
from website.docstrings import markdown

MODULES = {
    "cascade": "the SDK: declare tasks, run them",
    "cascade.testing": "test workflows",
    "cascade.runtime": "the engine and its parts",
    "cascade.runtime.starting": "the parts of a service",
    "cascade.connectors.mqtt": "the connector for MQTT brokers",
    "cascade.connectors.nats": "the connector for NATS servers",
    "cascade.executors.dask": "the executor for Dask clusters",
    "cascade.observers.otel": "the observer for OpenTelemetry",
    "cascade.interfaces": "what connectors, executors and observers implement",
    "cascade.interfaces.observer": "what observers implement",
    "cascade.interfaces.topics": "topics of the wire",
    "cascade.interfaces.control_messages": "messages that steer",
    "cascade.interfaces.broker_programs": "start the brokers of this machine",
    "cascade.spec": "what a user declares",
    "cascade.transport": "what every networked connector needs beside its client",
    "cascade.wire": "the messages of the wire",
    "cascade.cli": "commands of your own",
    "cascade.web": "the page for a browser",
    "cascade.testkit": "contract suites, and real brokers for tests",
    "cascade.testkit.brokers": "real brokers",
    "cascade.testkit.connector": "the contract of a connector",
    "cascade.testkit.executor": "the contract of an executor",
    "cascade.testkit.state": "the contract of a state backend",
}
"""Modules with a public interface, in the order in which one of them gets a name that several export."""

INDEX = "reference/names.md"
"""The page that lists every public name."""


def homes() -> dict[str, dict[str, str]]:
    """Return for each module its public names, each with the module on whose page it is described."""
    first: dict[tuple[str, int], str] = {}
    found: dict[str, dict[str, str]] = {}
    for path in MODULES:
        module = importlib.import_module(path)
        found[path] = {
            name: first.setdefault((name, id(getattr(module, name))), path) for name in exported(module)
        }
    return found


def exported(module: ModuleType) -> list[str]:
    """Return the names that a module exports, or else defines, without other modules of the namespace."""
    names = getattr(module, "__all__", None) or _defined(module)
    return [name for name in names if not isinstance(getattr(module, name), (ModuleType, TypeVar))]


def _defined(module: ModuleType) -> list[str]:
    found = re.findall(
        r"^(?:(?:async )?def |class )?([a-zA-Z]\w*)(?:\(|:| =)", inspect.getsource(module), re.MULTILINE
    )
    return [name for name in dict.fromkeys(found) if hasattr(module, name)]


def api_pages() -> dict[str, str]:
    """Return the pages of the API, by their place in the site."""
    all_homes = homes()
    made = {page_of(path): _page(path, names) for path, names in all_homes.items()}
    return {**made, INDEX: _index(all_homes)}


def page_of(module: str) -> str:
    """Return the place of a module's page."""
    return f"reference/api/{module}.md"


def _page(path: str, names: dict[str, str]) -> str:
    own = sorted((name for name, home in names.items() if home == path), key=str.lower)
    others = sorted((name for name, home in names.items() if home != path), key=str.lower)
    module = importlib.import_module(path)
    parts = [f"# {path}", markdown(module.__doc__ or "")]
    if others:
        parts.append(
            "Described on another page: " + ", ".join(_link(each, names[each]) for each in others) + "."
        )
    return "\n\n".join([*parts, *(described(name, getattr(module, name), path) for name in own)]) + "\n"


def _index(all_homes: dict[str, dict[str, str]]) -> str:
    modules: dict[tuple[str, str], list[str]] = {}
    for path, names in all_homes.items():
        for name, home in names.items():
            modules.setdefault((name, home), []).append(path)
    rows = [
        f"| {_link(name, home, 'api/')} | {', '.join(f'`{path}`' for path in paths)} |"
        for (name, home), paths in sorted(modules.items(), key=lambda row: (row[0][0].lower(), row[0]))
    ]
    top = "# Every public name\n\nA name with several modules can be imported from each.\n"
    listed = [f"- [`{path}`](api/{path}.md): {what}" for path, what in MODULES.items()]
    return "\n".join([top, *listed, "", "| name | import it from |", "|---|---|", *rows]) + "\n"


def _link(name: str, home: str, folder: str = "") -> str:
    return f"[`{name}`]({folder}{home}.md#{home}.{name})"
