"""The modules with a public interface."""

MODULES = (
    "cascade",
    "cascade.connectors.mqtt",
    "cascade.connectors.nats",
    "cascade.executors.dask",
    "cascade.interfaces",
    "cascade.runtime",
    "cascade.runtime.starting",
    "cascade.spec",
    "cascade.testing",
    "cascade.testkit",
    "cascade.web",
)
