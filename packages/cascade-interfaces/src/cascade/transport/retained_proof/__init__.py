"""The proof that a retained set is complete: only for networks that do not mark the end of the retained set.

MQTT is one. Where the network marks the end, as NATS does, a connector needs only ``RetainedFeed`` of ``cascade.transport.incoming``.
"""
