"""Resources of a run: opened when a task first needs them, closed in reverse order."""
