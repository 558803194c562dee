"""The contract suite of connectors: subclass it, state how to make yours, and run pytest.

    class TestMine(ConnectorContract):
        abilities = frozenset({Ability.DELIVERY, Ability.RETAINED})

        async def make(self):
            return MyConnector("somewhere")

A test of an ability that is not declared is skipped, with the ability as its reason. Those
that show in the connector's type (``watch``, ``flush``, ...) must be declared as they are.
Each section, such as :class:`Publishing`, can be run alone: ``ConnectorContract`` is all of them.
"""

from __future__ import annotations

from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.completing import Completing
from cascade.testkit._contract.harness import Answers, Harness, Inbox, Observer
from cascade.testkit._contract.keeping import Keeping
from cascade.testkit._contract.life import Life
from cascade.testkit._contract.linking import Linking
from cascade.testkit._contract.presence import Presence
from cascade.testkit._contract.publishing import Publishing
from cascade.testkit._contract.replying import Replying
from cascade.testkit._contract.retaining import Retaining
from cascade.testkit._contract.sending_now import SendingNow
from cascade.testkit._contract.settling import Settling
from cascade.testkit._contract.subscribing import Subscribing
from cascade.testkit._contract.through_proxy import ThroughProxy
from cascade.testkit._contract.watching import Watching

__all__ = [
    "Ability",
    "Answers",
    "Completing",
    "ConnectorContract",
    "Harness",
    "Inbox",
    "Keeping",
    "Life",
    "Linking",
    "Observer",
    "Presence",
    "Publishing",
    "Replying",
    "Retaining",
    "SendingNow",
    "Settling",
    "Subscribing",
    "ThroughProxy",
    "Watching",
]


class ConnectorContract(
    Life,
    Publishing,
    Settling,
    SendingNow,
    Subscribing,
    Keeping,
    Retaining,
    Watching,
    Replying,
    Completing,
    Linking,
    Presence,
):
    """Every section of the contract. Give ``make`` and ``abilities``; see :class:`Harness` for the other hooks."""
