"""Messages that wait on disk until the other side has them: one SQLite file for each sender."""
