"""Observers of the event bus that show a run to the person who started it."""
