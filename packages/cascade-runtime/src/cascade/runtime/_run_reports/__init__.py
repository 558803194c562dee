"""Runs as reports show them to watchers: active ones, those that have ended, and the bodies of the reports. No I/O."""
