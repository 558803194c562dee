"""Keeping the events of all engines in a file."""
