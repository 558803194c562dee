"""Delivery of arriving messages: to callbacks, each with a queue of its own, and to watches.

- :mod:`cascade.transport.incoming.message`: one arriving message, decoded at most once; the counters.
- :mod:`cascade.transport.incoming.callbacks`: a callback, its queue and the task that calls it.
- :mod:`cascade.transport.incoming.watches`: one ordered, undecoded stream over several filters.
- :mod:`cascade.transport.incoming.dispatcher`: find the queues whose filters match a topic; begin and end subscriptions and watches.
"""
