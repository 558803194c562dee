"""The sections of the connector's contract suite; ``cascade.testkit.connector`` puts them together."""
