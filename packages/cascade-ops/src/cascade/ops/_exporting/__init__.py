"""The state of all engines of a broker as metrics for Prometheus."""
