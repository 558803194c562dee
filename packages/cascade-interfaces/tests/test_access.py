"""Who may read and write which topic, by role."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.interfaces import ConfigurationError
from cascade.interfaces.access import Roles, permits, rules
from cascade.interfaces.topics import (
    STORE_TOPIC,
    ack_topic,
    canary_topic,
    constraint_topic,
    request_topic,
    response_topic,
    state_topic,
    status_topic,
    sync_filter,
    sync_topic,
    telemetry_topic,
)

ROLES = Roles(
    engines={"press": "hall/2", "other": "lab"},
    operators=("ada",),
    leads={"eve": "hall/2"},
    observers=("wall",),
    collectors=("store",),
    requesters={"hmi": ("audit", "calibrate")},
    gates=("site/power",),
    org_id="acme",
)
RULES = rules(ROLES)
USERS = ["press", "other", "ada", "eve", "wall", "store", "hmi"]

TOPICS = [
    # topic, who reads it, who writes it
    (telemetry_topic("acme", "hall/2", "r"), "ada eve wall store", "press"),
    (telemetry_topic("acme", "hall/2", "r", "logs"), "ada eve wall store", "press"),
    (telemetry_topic("acme", "lab", "r"), "ada wall store", "other"),
    (telemetry_topic("local", "hall/2", "r"), "ada wall store", ""),
    (status_topic("press"), "press ada eve wall store hmi", "press"),
    (status_topic("wall"), "ada eve wall store hmi", ""),
    (state_topic("press", "runs"), "press ada eve wall store", "press"),
    (state_topic("other", "runs"), "other ada eve wall store", "other"),
    (ack_topic("press"), "press ada eve wall store", "store"),
    (ack_topic("other"), "other ada eve wall store", "store"),
    (constraint_topic("project:hall/2", "pause"), "press other ada eve wall store", "ada eve"),
    (constraint_topic("project:lab", "pause"), "press other ada eve wall store", "ada"),
    (constraint_topic("global", "pause"), "press other ada eve wall store", "ada"),
    (STORE_TOPIC, "press other ada eve wall store", "ada"),
    (sync_topic("press", "1"), "press ada", "press"),
    (canary_topic("wall"), "ada wall", "wall"),
    (sync_topic("nobody", "1"), "ada", ""),
    (state_topic("press", "workflows"), "press ada eve wall store hmi", "press"),
    (request_topic("press", "audit"), "press ada", "hmi"),
    (request_topic(None, "calibrate"), "press other ada", "hmi"),
    (request_topic("press", "other"), "press ada", ""),
    (response_topic("press", "7"), "ada hmi", "press"),
    (response_topic("press", "7") + "/hmi", "ada hmi", "press"),
    ("site/power", "press other", ""),
    ("cascade/elsewhere", "ada", ""),
    ("elsewhere", "", ""),
]


@pytest.mark.parametrize(("topic", "readers", "writers"), TOPICS, ids=[topic for topic, _, _ in TOPICS])
def test_each_role_reads_and_writes_what_it_needs(topic: str, readers: str, writers: str) -> None:
    """And nothing else: an engine no other engine's topics, a lead no other project, an observer nothing but its sync."""
    assert [user for user in USERS if permits(RULES, user, "read", topic)] == readers.split()
    assert [user for user in USERS if permits(RULES, user, "write", topic)] == writers.split()


def test_a_user_of_several_roles_may_do_what_each_of_them_may() -> None:
    """Its rules stand together, and each of them once; users stand in the order of the roles."""
    both = Roles(
        engines={"ada": "lab"}, operators=("zoe", "ada"), observers=("ada", "wall"), collectors=("ada",)
    )
    assert both.users == ["ada", "zoe", "wall"]
    made = rules(both)
    assert len(set(made)) == len(made)
    users = [rule.user for rule in made]
    assert users == sorted(users, key=["ada", "zoe", "wall"].index)
    single = [Roles(engines={"ada": "lab"}), Roles(operators=("ada",)), Roles(collectors=("ada",))]
    assert {rule for rule in made if rule.user == "ada"} == {
        rule for roles in single for rule in rules(roles)
    }
    assert ("ada", "read", sync_filter("ada")) in made


@pytest.mark.parametrize("name", ["", "a b", "a/b", "+", "ü", "x" * 65, "a\n", "a.b"])
@pytest.mark.parametrize("role", ["engines", "operators", "leads", "observers", "collectors"])
def test_a_name_that_an_access_list_cannot_hold_is_refused(role: str, name: str) -> None:
    """Whatever the role: a wildcard in a name would permit more than was meant."""
    users = {name: "p"} if role in ("engines", "leads") else (name,)
    with pytest.raises(ConfigurationError, match=r"is not a user name; write 1 to 64 of the characters"):
        Roles(**{role: users})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["+", "prüfen"])
def test_a_workflow_that_is_no_name_is_refused(name: str) -> None:
    """A wildcard would permit more than was meant, and no service has a name with other letters."""
    with pytest.raises(ConfigurationError, match="is not the name of a workflow"):
        Roles(requesters={"hmi": (name,)})


@pytest.mark.parametrize("topic", ["site/#", "+", "cascade/status/press", "$SYS/uptime", "", "a\nb", "a ", 3])
def test_a_gate_s_topic_that_permits_more_than_one_value_is_refused(topic: Any) -> None:
    """As where a gate is declared; a space at an end is lost in an access list."""
    with pytest.raises(ConfigurationError, match="the topic of a gate"):
        Roles(engines={"press": "lab"}, gates=(topic,))


def test_an_engine_of_no_organisation_publishes_where_an_engine_does_by_default() -> None:
    """Without a setting, both belong to the organisation ``local``, and no user has a role."""
    given = rules(Roles(engines={"press": "lab"}, leads={"eve": "lab"}))
    topic = telemetry_topic("local", "lab", "r")
    assert permits(given, "press", "write", topic)
    assert permits(given, "eve", "read", topic)
    assert not permits(given, "press", "read", topic)
    assert (rules(Roles()), Roles().users) == ([], [])
