"""Checks of services: who may start their workflows, and whether they get what asks for that. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from cascade.interfaces.topics import encode_level
from cascade.ops._doctor.facts import Ask, Facts
from cascade.ops._doctor.finding import Finding, some
from cascade.ops._doctor.rights_checks import PRESENCE


def service_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with services."""
    yield from _deaf(facts)
    yield from _open(facts)
    if facts.kept_requests:
        yield Finding(
            "retained_requests",
            f"the broker keeps {len(facts.kept_requests):,} requests to start a workflow: {some(facts.kept_requests)}",
            "a service gets them again at each connection and refuses them, so they start nothing any more",
            "publish requests without retain, and clear these",
            tuple(f"mosquitto_pub -r -n -t '{topic}'" for topic in sorted(facts.kept_requests)[:3]),
            warning=True,
        )


def offers_of(facts: Facts) -> dict[str, list[str]]:
    """Return the workflows that live services offer, by source."""
    return {
        source: [row.name for row in report.workflows] for source, report in sorted(facts.services.items())
    }


def shown(offers: Mapping[str, list[str]]) -> str:
    """Return ``audit, clean of press; audit of oven``."""
    return "; ".join(f"{', '.join(names)} of {source}" for source, names in offers.items())


def starters(facts: Facts) -> Iterator[str]:
    """Yield lines of who may start what, as far as it is known."""
    of_client: dict[Ask, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (source, workflow), ask in facts.asked.items():
        of_client[ask][source].append(workflow)
    for ask, words in ((Ask.ANSWERED, "may start"), (Ask.DENIED, "may not start")):
        if ask in of_client:
            yield f"this client {words}: {shown(of_client[ask])}"
    if facts.starters is None:
        return
    users: dict[str, list[str]] = defaultdict(list)
    for source, names in offers_of(facts).items():
        for name in names:
            permitted = facts.starters.of(f"cascade/requests/{encode_level(source)}/{encode_level(name)}")
            users[", ".join(permitted) or "nobody"].append(f"{name} of {source}")
    for who, what in users.items():
        yield f"by the broker's configuration {who} may start: {', '.join(what)}"


def _deaf(facts: Facts) -> Iterator[Finding]:
    """Find services that do not get their requests: the broker has refused the subscription, or they answer nothing."""
    refused = {source for source, report in facts.services.items() if report.problem}
    silent = {source for (source, _), ask in facts.asked.items() if ask is Ask.SILENT}
    silent -= {source for (source, _), ask in facts.asked.items() if ask is Ask.ANSWERED}
    if found := refused | silent:
        said = "may not read its requests" if refused >= found else "does not answer a request"
        rules = (f"cascade/requests/{encode_level(each)}/+" for each in sorted(found))
        yield Finding(
            "requests_unheard",
            f"{some(found)} offers workflows and {said}",
            "they cannot be started; or this client may not ask, or not read the answer, and the broker does not say so",
            "let the service read its requests and write its responses, as cascade acl --engine does",
            (
                *(f"topic read {each}" for each in rules),
                "cascade acl --engine NAME --requester NAME=WORKFLOW",
            ),
        )


def _open(facts: Facts) -> Iterator[Finding]:
    """Find workflows that everybody may start who reaches the broker."""
    anyone = {
        source: [name for name in names if _is_open(facts, source, name)]
        for source, names in offers_of(facts).items()
    }
    if anyone := {source: names for source, names in anyone.items() if names}:
        yield Finding(
            "open_start",
            f"everybody who reaches the broker may start {shown(anyone)}",
            "a message of any client starts a run on that machine",
            "give each client a user, and name who may start what",
            ("cascade acl --engine NAME --requester NAME=WORKFLOW... --config FOLDER",),
            warning=True,
        )


def _is_open(facts: Facts, source: str, workflow: str) -> bool:
    asked = facts.asked.get((source, workflow))
    if asked is Ask.ANSWERED and not facts.target.user:
        return True
    if facts.starters is not None:
        topic = f"cascade/requests/{encode_level(source)}/{encode_level(workflow)}"
        return facts.starters.anyone(topic)
    rules = facts.rights.get(PRESENCE)
    return asked is None and not facts.target.user and rules is not None and rules.returned
