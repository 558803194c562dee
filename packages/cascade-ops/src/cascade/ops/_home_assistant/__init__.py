"""Engines as devices of Home Assistant."""
