"""Decide which tasks of an engine may start now: constraints, worker slots and resources."""
