"""Parts that every networked connector needs and that name no protocol and no client library.

For authors of connectors. Each part is a module of its own; import what you need from it:

- :mod:`cascade.transport.connector`: ``NetworkConnector``, the base of a connector; it makes all of the following.
- :mod:`cascade.transport.lifecycle`, :mod:`cascade.transport.session`: from ``connect`` to ``disconnect``, one link after another.
- :mod:`cascade.transport.link`: ``Link``, the base of one link, and ``LinkClient``, what it needs of a client library.
- :mod:`cascade.transport.queue_link`: ``QueueLink``, the base on a network on which each queue is subscribed by itself.
- :mod:`cascade.transport.answers`: ``AnsweredClient``, the calls of a client that wait for an answer.
- :mod:`cascade.transport.settings`, :mod:`cascade.transport.network`: settings and their checks, and the URLs of one network.
- :mod:`cascade.transport.faults`: why a link failed.
- :mod:`cascade.transport.outbox`: ``Outbox``, the messages that wait or are in flight, with its control lane.
- :mod:`cascade.transport.senders`: ``Senders``, the tasks that send them over one link.
- :mod:`cascade.transport.store_sender`: ``StoreSender``, send to a store of the network again until it answers.
- :mod:`cascade.transport.drain`: ``Drain``, wait until they are sent or dropped.
- :mod:`cascade.transport.patience`: ``Patience``, seconds that count only while this process can read.
- :mod:`cascade.transport.errors`: ``LinkLost`` and ``MessageRejected``, which a client port raises.
- :mod:`cascade.transport.delivery`: queues for callbacks and watches, the dispatcher that fills them, and ``RetainedFeed``, which
  orders what a queue gets where the network marks the end of the retained messages.
- :mod:`cascade.transport.backoff`: ``Backoff``, the pauses between attempts to connect.
- :mod:`cascade.transport.presence`: ``Presence``, the will, the birth and the offline message.
- :mod:`cascade.transport.retained_set`, :mod:`cascade.transport.known_topics`: know when the retained messages have
  arrived, and which of them are gone.
- :mod:`cascade.transport.state_log`: ``StateLog``, log a failure once, until it works again.
- :mod:`cascade.transport.yielding`: ``LoopBudget``, yield after 5 ms of work.
- :mod:`cascade.transport.event_loop`: ``watches_sockets`` and ``AutoResetEvent``.
- :mod:`cascade.transport.fork`: ``inert_in_children``, for connectors in forked processes.
"""
