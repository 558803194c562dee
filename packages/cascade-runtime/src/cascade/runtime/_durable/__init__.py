"""Recorded runs in a folder: one SQLite file for each run, one process for each file."""
