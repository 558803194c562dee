"""An audit of a folder of Python files, as a user of Cascade would write it."""
