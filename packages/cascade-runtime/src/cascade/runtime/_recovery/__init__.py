"""Runs that are recorded: what is written to their journal, and what a resume takes from it."""
