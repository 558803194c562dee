"""The wire for connectors, which depend on nothing (:mod:`.write`); ``cascade.wire`` in cascade-runtime describes its messages."""
