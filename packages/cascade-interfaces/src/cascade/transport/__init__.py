"""Parts that every networked connector needs and that name no protocol and no client library.

For authors of connectors: the names that ``CONNECTOR.md`` of cascade-testkit uses can be imported from here. Each part is a
module of its own:

- :mod:`cascade.transport.connector`: ``NetworkConnector``, the base of a connector; it makes all of the following.
- :mod:`cascade.transport.lifecycle`, :mod:`cascade.transport.session`: from ``connect`` to ``disconnect``, one link after another.
- :mod:`cascade.transport.link`: ``Link``, the base of one link, and ``LinkClient``, what it needs of a client library.
- :mod:`cascade.transport.queue_link`: ``QueueLink``, the base on a network on which each queue is subscribed by itself.
- :mod:`cascade.transport.pending_calls`: ``PendingCalls``, the calls of a client that wait for an answer.
- :mod:`cascade.transport.settings`: settings and their checks; ``Network``, what distinguishes those of one network.
- :mod:`cascade.transport.faults`: why a link failed, and ``LinkLost`` and ``MessageRejected``, which a client port raises.
- :mod:`cascade.transport.outbox`: ``Outbox``, the messages that wait or are in flight, with its control lane.
- :mod:`cascade.transport.senders`: ``Senders``, the tasks that send them over one link.
- :mod:`cascade.transport.store_sender`: ``StoreSender``, send to a store of the network again until it answers.
- :mod:`cascade.transport.waiting`: ``Drain``, wait until they are sent or dropped; ``Progress``, wait until something moves;
  ``AwakeTimeout``, seconds that count only while this process can read.
- :mod:`cascade.transport.incoming`: queues for callbacks and watches, the dispatcher that fills them, and ``RetainedFeed``, which
  orders what a queue gets where the network marks the end of the retained messages.
- :mod:`cascade.transport.backoff`: ``Backoff``, the pauses between attempts to connect.
- :mod:`cascade.transport.presence`: ``Presence``, the will, the birth and the offline message.
- :mod:`cascade.transport.retained_proof`: know when the retained messages have arrived, and which of them are gone.
- :mod:`cascade.transport.state_log`: ``StateLog``, log a failure once, until it works again.
- :mod:`cascade.transport.event_loop`: ``LoopBudget``, yield after 5 ms of work; ``watches_sockets``; ``AutoResetEvent``;
  ``inert_in_children``, for connectors in forked processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.interfaces.on_demand import on_demand

if TYPE_CHECKING:
    from cascade.transport.connector import NetworkConnector as NetworkConnector
    from cascade.transport.event_loop import close_copy as close_copy
    from cascade.transport.faults import Fault as Fault
    from cascade.transport.faults import Kind as Kind
    from cascade.transport.faults import LinkLost as LinkLost
    from cascade.transport.faults import MessageRejected as MessageRejected
    from cascade.transport.faults import MessageTooLarge as MessageTooLarge
    from cascade.transport.faults import system_fault as system_fault
    from cascade.transport.incoming.dispatcher import Queue as Queue
    from cascade.transport.incoming.message import DeliveryCounts as DeliveryCounts
    from cascade.transport.incoming.message import IncomingMessage as IncomingMessage
    from cascade.transport.incoming.retained_feed import RetainedFeed as RetainedFeed
    from cascade.transport.link import Link as Link
    from cascade.transport.link import LinkClient as LinkClient
    from cascade.transport.link import LinkParts as LinkParts
    from cascade.transport.outbox import Outgoing as Outgoing
    from cascade.transport.pending_calls import PendingCalls as PendingCalls
    from cascade.transport.queue_link import QueueLink as QueueLink
    from cascade.transport.retained_proof.checks import RetainedChecks as RetainedChecks
    from cascade.transport.retained_proof.retained_set import RetainedSet as RetainedSet
    from cascade.transport.settings import ConnectorSettings as ConnectorSettings
    from cascade.transport.settings import check_settings as check_settings

_MODULES = {
    "connector": """NetworkConnector""",
    "incoming.dispatcher": """Queue""",
    "incoming.message": """DeliveryCounts IncomingMessage""",
    "incoming.retained_feed": """RetainedFeed""",
    "event_loop": """close_copy""",
    "faults": """Fault Kind LinkLost MessageRejected MessageTooLarge system_fault""",
    "link": """Link LinkClient LinkParts""",
    "outbox": """Outgoing""",
    "pending_calls": """PendingCalls""",
    "queue_link": """QueueLink""",
    "retained_proof.checks": """RetainedChecks""",
    "retained_proof.retained_set": """RetainedSet""",
    "settings": """ConnectorSettings check_settings""",
}

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = on_demand(__name__, _MODULES)
