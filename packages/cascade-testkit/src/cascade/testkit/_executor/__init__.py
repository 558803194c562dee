"""The sections of the executor's contract suite; ``cascade.testkit.executor`` puts them together."""
